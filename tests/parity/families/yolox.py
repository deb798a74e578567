"""YOLOX by its own package: `tools/demo.py`'s way from a picture to boxes, `tools/export_onnx.py`'s way to a file."""

from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from yolox.data.data_augment import ValTransform
from yolox.models import YOLOPAFPN, YOLOX, YOLOXHead
from yolox.models.network_blocks import SiLU
from yolox.utils import postprocess, replace_module

from tests.parity import weights
from tests.parity.agreement import Found
from tests.parity.families.base import SLACK, Family, found, samples, to_onnx
from tests.parity.pictures import as_opencv

SIZE, CLASSES, THRESHOLD, NMS = 416, 80, 0.3, 0.45


@cache
def model() -> YOLOX:
    """YOLOX-Nano with random weights."""
    torch.manual_seed(0)
    channels = [256, 512, 1024]
    built = YOLOX(
        YOLOPAFPN(0.33, 0.25, in_channels=channels, depthwise=True),
        YOLOXHead(CLASSES, 0.25, in_channels=channels, depthwise=True),
    ).eval()
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps, module.momentum = 1e-3, 0.03
    pictures = samples((SIZE, SIZE), 12) * 255
    forward = partial(built, pictures)
    weights.settle(built, forward, calm=0.3)
    head = built.head
    weights.spread(head.cls_preds, forward, 0.0, 0.6)
    weights.spread(head.obj_preds, forward, 0.0, 0.6)
    weights.thin(list(head.obj_preds), forward, 0.03, 0.45)
    weights.spread(head.reg_preds, forward, 0.8, 0.3)
    return built


def reference(data: bytes) -> list[Found]:
    """`Predictor.inference` and `visual` of tools/demo.py."""
    image = as_opencv(data)
    ratio = min(SIZE / image.shape[0], SIZE / image.shape[1])
    prepared, _ = ValTransform(legacy=False)(image, None, (SIZE, SIZE))
    head = model().head
    head.decode_in_inference = True
    with torch.no_grad():
        outputs = model()(torch.from_numpy(prepared)[None].float())
    # One threshold for the suppression as well: what is below must not suppress more here than in the service.
    (rows,) = postprocess(outputs, CLASSES, THRESHOLD - SLACK, NMS, class_agnostic=True)
    if rows is None:
        return []
    height, width = image.shape[:2]
    boxes = np.clip(rows[:, :4].numpy() / ratio, 0, [width, height, width, height])
    return found(boxes, rows[:, 4] * rows[:, 5], rows[:, 6])


def export(path: Path, decode: bool) -> None:
    """tools/export_onnx.py, with `--decode_in_inference` or without."""
    exported = replace_module(model(), nn.SiLU, SiLU)
    exported.head.decode_in_inference = decode
    to_onnx(exported, (torch.zeros(1, 3, SIZE, SIZE),), path, ["images"], ["output"])


def families() -> list[Family]:
    """Raw heads and decoded ones."""
    options = {"reference": reference, "source": "yolox 0.3", "classes": CLASSES, "threshold": THRESHOLD, "most": 1000}
    decoded = "--like yolox --decoder yolo_objectness"
    return [
        Family("yolox", lambda path: export(path, False), "--like yolox", **options),
        Family("yolox-decoded", lambda path: export(path, True), decoded, **options),
    ]
