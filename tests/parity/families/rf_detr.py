"""RF-DETR by its own package: `predict`, and `export` to a file."""

from functools import cache, partial
from pathlib import Path

import torch
from rfdetr import RFDETR, RFDETRNano

from tests.parity import weights
from tests.parity.agreement import Found
from tests.parity.families.base import SLACK, Family, found, samples
from tests.parity.pictures import opened

SIZE, CLASSES, THRESHOLD = 384, 20, 0.5


@cache
def model() -> RFDETR:
    """RF-DETR Nano with random weights."""
    torch.manual_seed(4)
    built = RFDETRNano(pretrain_weights=None, num_classes=CLASSES, device="cpu")
    network = built.model.model.eval()
    pictures = (samples((SIZE, SIZE), 2) - 0.45) / 0.225
    forward = partial(network, pictures)
    weights.spread([network.transformer.enc_out_class_embed[0]], forward, -2.0, 1.0)
    weights.spread([network.class_embed], forward, 0.0, 1.5)
    weights.thin([network.class_embed], forward, 0.1, THRESHOLD)
    return built


def reference(data: bytes) -> list[Found]:
    """`RFDETR.predict`."""
    detections = model().predict(opened(data), threshold=THRESHOLD - SLACK, include_source_image=False)
    return found(detections.xyxy, detections.confidence, detections.class_id)


def export(path: Path) -> None:
    """`RFDETR.export`."""
    written = model().export(output_dir=str(path.parent / "export"), verbose=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    Path(written).rename(path)


def families() -> list[Family]:
    """One network."""
    return [Family("rf-detr", export, "--like rf-detr", reference, "rfdetr 1.11", CLASSES + 1, THRESHOLD)]
