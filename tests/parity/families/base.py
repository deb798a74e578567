"""What every family gives."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from tests.parity.agreement import Found
from tests.parity.pictures import drawn, few_pictures

SLACK = 0.02
"""By how much a reference's threshold is lower than the service's."""


@dataclass(frozen=True)
class Family:
    """A model and its own code. `export` writes the ONNX file, `options` is what docs/models.md gives `models add` for
    it beside the task and the labels, and `reference` is a file's detections down to `threshold - SLACK`, by the
    family's own code, and `source` says whose code that is. `most` is how many a request asks for; `pictures` are what
    both sides are asked about; `masks` says whether their detections have some. `size` is the longer side of the input.
    """

    name: str
    export: Callable[[Path], None]
    options: str
    reference: Callable[[bytes], list[Found]]
    source: str
    classes: int = 80
    threshold: float = 0.3
    most: int = 300
    pictures: Callable[[], dict[str, bytes]] = few_pictures
    masks: bool = False
    size: int = 320
    task: ClassVar[str] = "detection"


def samples(size: tuple[int, int], count: int = 4) -> torch.Tensor:
    """Some pictures of the scenes' kind: float32 [count, 3, height, width] of 0 to 1."""
    width, height = size
    stacked = np.stack([drawn(width, height, index) for index in range(count)])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).float() / 255


def to_onnx(
    model: nn.Module, inputs: tuple[Any, ...], path: Path, names: list[str], outputs: list[str], batch: bool = True
) -> None:
    """PyTorch's own export, with a dynamic batch where asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = {name: {0: "batch"} for name in (*names, *outputs)} if batch else None
    with torch.no_grad():
        torch.onnx.export(
            model, inputs, path, input_names=names, output_names=outputs, dynamic_axes=axes, dynamo=False,
            opset_version=17,
        )  # fmt: skip


def found(
    boxes: Any, scores: Any, class_ids: Any, masks: Any = None, points: Any = None, corners: Any = None
) -> list[Found]:
    """Arrays or tensors [n, 4], [n], [n] and perhaps [n, height, width], [n, K, 3] and [n, 4, 2] as detections; a box
    without area on the picture is none here.
    """
    rows = zip(np.asarray(boxes).tolist(), np.asarray(scores).tolist(), np.asarray(class_ids).tolist(), strict=True)
    nothing = [None] * len(boxes)
    more = zip(
        nothing if masks is None else list(np.asarray(masks) > 0),
        nothing if points is None else list(np.asarray(points)),
        nothing if corners is None else list(np.asarray(corners)),
        strict=True,
    )
    return [
        Found(tuple(box), score, int(number), *each)
        for (box, score, number), each in zip(rows, more, strict=True)
        if box[0] < box[2] and box[1] < box[3]
    ]
