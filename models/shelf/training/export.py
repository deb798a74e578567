"""Checkpoint to ONNX: batch normalisation folded, boxes decoded and scores squashed in the graph."""

import copy
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from models.shelf.training.manifest import SIDE
from models.shelf.training.network import Detector, Unit

OPSET = 17


class Deployed(nn.Module):
    """The detector with scores instead of logits."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        boxes, logits, _ = self.detector(images)
        return boxes, logits.sigmoid()


def fuse(model: Detector) -> Detector:
    """A copy in evaluation mode, with every batch normalisation folded into its convolution."""
    fused = copy.deepcopy(model).eval().float().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    for unit in fused.modules():
        if isinstance(unit, Unit):
            unit[0] = fuse_conv_bn_eval(unit[0], unit[1])  # type: ignore[type-var,arg-type]
            unit[1] = nn.Identity()
    result: Detector = fused
    return result


def export(model: Detector, path: Path, side: int = SIDE) -> None:
    """Writes `model` as ONNX: `images` [batch, 3, side, side] to `boxes` [batch, N, 4] and `scores` [batch, N, 5]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Deployed(fuse(model)).eval(),
            (torch.zeros(2, 3, side, side),),
            str(path),
            input_names=["images"],
            output_names=["boxes", "scores"],
            dynamic_axes={name: {0: "batch"} for name in ("images", "boxes", "scores")},
            opset_version=OPSET,
            dynamo=False,
        )
