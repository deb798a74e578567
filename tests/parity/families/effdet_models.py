"""EfficientDet by effdet: its own transform of pictures and its own bench, of which the file is traced.

The package has no exporter. Its bench is what people trace: network, anchors and suppression of one picture.
"""

from functools import cache, partial
from pathlib import Path
from typing import Any

import effdet.bench
import torch
from effdet import DetBenchPredict, EfficientDet, get_efficientdet_config
from effdet.anchors import generate_detections
from effdet.data import resolve_input_config
from effdet.data.transforms import ResizePad, resolve_fill_color
from torchvision.transforms.functional import normalize, to_tensor

from tests.parity import weights
from tests.parity.agreement import Found
from tests.parity.families.base import SLACK, Family, found, samples, to_onnx
from tests.parity.pictures import opened

SIZE, CLASSES, THRESHOLD = 256, 12, 0.4


@cache
def bench() -> DetBenchPredict:
    """EfficientDet-D0 with random weights."""
    torch.manual_seed(21)
    config = get_efficientdet_config("efficientdet_d0")
    config.image_size, config.num_classes = (SIZE, SIZE), CLASSES
    network = EfficientDet(config, pretrained_backbone=False).eval()
    scenes = (samples((SIZE, SIZE), 10) - 0.45) / 0.225
    # With noise among them, which `models add` tries too: the box coder's exponentials would go over.
    weights.settle(network, partial(network, torch.cat((scenes, torch.randn(2, 3, SIZE, SIZE)))), calm=0.5)
    forward = partial(network, scenes)
    classes, boxes = network.class_net.predict.conv_pw, network.box_net.predict.conv_pw
    weights.spread([classes], forward, 0.0, 1.2)
    weights.spread([boxes], forward, 0.0, 0.4)
    weights.thin([classes], forward, 0.03, THRESHOLD)
    return DetBenchPredict(network).eval()


def reference(data: bytes) -> list[Found]:
    """`ResizePad` as `resolve_input_config` sets it up, and the bench."""
    image = opened(data)
    config = resolve_input_config({}, bench().config)
    resize = ResizePad(SIZE, config["interpolation"], resolve_fill_color(config["fill_color"], config["mean"]))
    resized, places = resize(image, {})
    with torch.no_grad():
        rows = bench()(normalize(to_tensor(resized), config["mean"], config["std"])[None])[0]
    rows = rows[rows[:, 4] >= THRESHOLD - SLACK]
    boxes = (rows[:, :4] * places["img_scale"]).clamp(min=0).minimum(torch.tensor([image.width, image.height] * 2))
    return found(boxes, rows[:, 4], rows[:, 5] - 1)


def export(path: Path) -> None:
    """A trace of the bench, whose last part is otherwise a script that PyTorch cannot export."""
    scripted = effdet.bench._batch_detection
    effdet.bench._batch_detection = _one_picture
    try:
        to_onnx(bench(), (samples((SIZE, SIZE), 1),), path, ["images"], ["detections"], batch=False)
    finally:
        effdet.bench._batch_detection = scripted


def _one_picture(
    count: int, scores: Any, boxes: Any, anchors: Any, indices: Any, classes: Any, *_: Any, **options: Any
):  # type: ignore[no-untyped-def]
    one = (part[0] for part in (scores, boxes))
    return generate_detections(*one, anchors, indices[0], classes[0], None, None, **options)[None]


def families() -> list[Family]:
    """One network."""
    return [Family("effdet", export, "--like effdet", reference, "effdet 0.4", CLASSES, THRESHOLD)]
