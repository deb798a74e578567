"""Heads exported without their own decoding: NanoDet-Plus, PicoDet, FastestDet, each documented (see `ways`)."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from tests.parity.agreement import Found
from tests.parity.families.base import Family, to_onnx
from tests.parity.families.network import CLASSES, IMAGENET, PLAIN, SIZE, STRIDES, cells, network
from tests.parity.families.ways import (
    IMAGENET_LEVELS,
    SOURCE,
    THRESHOLD,
    Tensor,
    best_class,
    corners,
    every_class,
    placed,
    stretched,
    suppressed,
)
from tests.parity.pictures import as_opencv


def _distances(name: str, offset: float, prepare: Any, parts: bool) -> Family:
    """NanoDet-Plus and PicoDet: scores and distributions of 8 numbers for each side."""
    built = network(32, IMAGENET)
    places, strides = cells()

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.built = built

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            raw = self.built(images)
            scores, sides = raw[..., 32:].sigmoid(), raw[..., :32]
            if not parts:
                return (torch.cat((scores, sides), -1),)
            counts = [(SIZE // stride) ** 2 for stride in STRIDES]
            return (*scores.split(counts, 1), *sides.split(counts, 1))

    outputs = [f"{part}{stride}" for part in ("scores", "sides") for stride in STRIDES] if parts else ["output"]

    def export(path: Path) -> None:
        to_onnx(Head().eval(), (torch.rand(1, 3, SIZE, SIZE),), path, ["images"], outputs)

    def reference(data: bytes) -> list[Found]:
        image = as_opencv(data)
        prepared, back = prepare(image)
        with torch.no_grad():
            raw = built(prepared)[0]
        distances = (raw[:, :32].reshape(-1, 4, 8).softmax(-1) * torch.arange(8)).sum(-1) * strides
        points = (places + offset) * strides
        boxes = torch.cat((points - distances[:, :2], points + distances[:, 2:]), -1)
        return placed(suppressed(every_class(boxes, raw[:, 32:].sigmoid()), 0.6), back, image)

    return Family(name, export, f"--like {name}", reference, SOURCE, CLASSES, THRESHOLD)


def _fastest_det() -> Family:
    """One grid: objectness, tanh and sigmoid of a box, classes; `handle_preds` of its utils/tool.py."""
    built = network(5, PLAIN)
    side = SIZE // 16
    first = (SIZE // 8) ** 2

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.built = built

        def forward(self, images: Tensor) -> Tensor:
            raw = self.built(images)[:, first : first + side * side]
            joined = torch.cat((torch.sigmoid(raw[..., :1] + 2), raw[..., 1:5], raw[..., 5:].softmax(-1)), -1)
            return joined.transpose(1, 2).reshape(-1, 5 + CLASSES, side, side)

    def export(path: Path) -> None:
        to_onnx(Head().eval(), (torch.rand(1, 3, SIZE, SIZE),), path, ["images"], ["output"])

    def reference(data: bytes) -> list[Found]:
        image = as_opencv(data)
        prepared, back = stretched(rgb=False)(image)
        with torch.no_grad():
            raw = Head()(prepared)[0].permute(1, 2, 0)
        lines, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        middle = (raw[..., 1:3].tanh() + torch.stack((columns, lines), -1)) / side
        boxes = corners(torch.cat((middle, raw[..., 3:5].sigmoid()), -1).reshape(-1, 4)) * SIZE
        scores = raw[..., :1] ** 0.6 * raw[..., 5:] ** 0.4
        candidates = best_class(boxes, scores.reshape(-1, CLASSES))
        return placed(suppressed(candidates, 0.45), back, image)

    return Family("fastestdet", export, "--like fastestdet", reference, SOURCE, CLASSES, THRESHOLD)


def families() -> list[Family]:
    """All of them."""
    mean, std = [103.53, 116.28, 123.675], [57.375, 57.12, 58.395]
    return [
        _distances("nanodet", 0.0, stretched(mean, std, 1.0, rgb=False), parts=False),
        _distances("picodet", 0.5, stretched(*IMAGENET_LEVELS, cubic=True), parts=True),
        _fastest_det(),
    ]
