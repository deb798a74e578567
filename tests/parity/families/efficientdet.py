"""EfficientDet by the effdet package: its evaluation transform, network and suppression."""

import importlib
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.parity import weights
from tests.parity.agreement import Found
from tests.parity.families.base import SLACK, Family, found, samples, to_onnx
from tests.parity.pictures import opened

SIZE, CLASSES, THRESHOLD = 256, 12, 0.3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _effdet(module: str) -> ModuleType:
    """A module of effdet. What it scripts while it is imported, PyTorch's export could not follow."""
    torch.jit._state.disable()
    try:
        return importlib.import_module(module)
    finally:
        torch.jit._state.enable()


@cache
def bench() -> nn.Module:
    """A small EfficientDet that predicts."""
    torch.manual_seed(7)
    model = _effdet("effdet").create_model(
        "tf_efficientdet_lite0", bench_task="predict", num_classes=CLASSES, pretrained=False, image_size=(SIZE, SIZE),
        pretrained_backbone=False, max_det_per_image=100,
    ).eval()  # fmt: skip
    model.max_detection_points = 900  # above 1,000, torchvision's suppression takes a way that PyTorch cannot export
    pictures = (samples((SIZE, SIZE)) - 0.45) / 0.225

    def forward() -> object:
        return model.model(pictures)

    weights.settle(model, forward)
    weights.spread([model.model.class_net.predict.conv_pw], forward, -5.0, 1.6)
    weights.spread([model.model.box_net.predict.conv_pw], forward, 0.0, 0.5)
    return model


def reference(data: bytes) -> list[Found]:
    """transforms_coco_eval, DetBenchPredict."""
    image = opened(data)
    transforms = _effdet("effdet.data.transforms")
    prepared, info = transforms.ResizePad(SIZE, fill_color=transforms.resolve_fill_color("mean", MEAN))(image, {})
    pixels = (np.asarray(prepared, np.float32) / 255 - MEAN) / STD
    scale = {"img_scale": torch.tensor([info["img_scale"]]), "img_size": torch.tensor([[image.width, image.height]])}
    with torch.no_grad():
        rows = bench()(torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None], scale)[0]
    rows = rows[rows[:, 4] >= THRESHOLD - SLACK]
    return found(rows[:, :4], rows[:, 4], rows[:, 5] - 1)


class _Exported(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self.model(images)
        return rows


def families() -> list[Family]:
    """Rows of x0, y0, x1, y1, score and a class from 1."""
    manifest: dict[str, Any] = {"task": "detection", "like": "efficientdet", "input": {"size": [SIZE, SIZE]}}

    def export(path: Path) -> None:
        to_onnx(_Exported(bench()).eval(), (samples((SIZE, SIZE), 1),), path, ["images"], ["detections"], batch=False)

    return [Family("efficientdet", export, manifest, reference, classes=CLASSES, threshold=THRESHOLD)]
