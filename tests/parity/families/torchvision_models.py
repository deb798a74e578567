"""torchvision's SSD by its own transform, network and suppression, its classifiers by their weights' own presets."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import ResNet18_Weights, ResNet50_Weights, resnet18
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.transforms.functional import to_tensor

from tests.parity import weights
from tests.parity.agreement import Found
from tests.parity.families.base import SLACK, Family, found, samples, to_onnx
from tests.parity.pictures import opened

CLASSES, THRESHOLD = 10, 0.3


@cache
def ssdlite() -> nn.Module:
    """SSDlite with random weights, of ten classes and the background."""
    torch.manual_seed(5)
    model = ssdlite320_mobilenet_v3_large(
        weights=None, weights_backbone=None, num_classes=CLASSES + 1, score_thresh=THRESHOLD - SLACK
    ).eval()
    pictures = list(samples((320, 320)))

    def forward() -> object:
        return model(pictures)

    weights.settle(model, forward)
    last = [block[1] for block in model.head.classification_head.module_list]
    weights.spread(last, forward, 0.0, 1.6)
    for layer in last:
        layer.bias.data[:: CLASSES + 1] += 6  # the background, which most places are
    return model


def ssdlite_reference(data: bytes) -> list[Found]:
    """The model on a picture of any size, as torchvision's documentation has it."""
    with torch.no_grad():
        (result,) = ssdlite()([to_tensor(opened(data))])
    return found(result["boxes"], result["scores"], result["labels"] - 1)


class _OnePicture(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        (result,) = self.model([images[0]])
        return result["boxes"], result["scores"], result["labels"]


def export_ssdlite(path: Path) -> None:
    """PyTorch's export of the model with all that belongs to it."""
    example = samples((320, 320), 1)
    to_onnx(_OnePicture(ssdlite()).eval(), (example,), path, ["images"], ["boxes", "scores", "labels"], batch=False)


@cache
def classifier() -> nn.Module:
    """A resnet18 with random weights."""
    torch.manual_seed(6)
    model = resnet18(weights=None).eval()
    pictures = (samples((224, 224), 8) - 0.45) / 0.225

    def forward() -> object:
        return model(pictures)

    weights.settle(model, forward)
    weights.spread([model.fc], forward, 0.0, 2.0)
    return model


def export_classifier(path: Path) -> None:
    """PyTorch's export."""
    to_onnx(classifier(), (torch.zeros(1, 3, 224, 224),), path, ["images"], ["logits"])


def scores_by(preset: Any) -> Callable[[bytes], list[float]]:
    """The probabilities of a file's picture, prepared by a torchvision preset."""

    def scores(data: bytes) -> list[float]:
        with torch.no_grad():
            logits = classifier()(preset(opened(data))[None])[0]
        return list(logits.softmax(0).tolist())

    return scores


def families() -> list[Family]:
    """The detector. Its transform stretches a picture, as the manifest says."""
    section = {"size": [320, 320], "resize": "stretch"}
    manifest = {"task": "detection", "like": "torchvision", "input": section, "detection": {"max_detections": 300}}
    return [
        Family("torchvision-ssdlite", export_ssdlite, manifest, ssdlite_reference, classes=CLASSES, threshold=THRESHOLD)
    ]


def classifiers() -> dict[str, tuple[dict[str, Any], Callable[[bytes], list[float]]]]:
    """Fields of a manifest's input, and what they are compared with."""
    return {
        "torchvision-256-224": ({}, scores_by(ResNet18_Weights.IMAGENET1K_V1.transforms(antialias=True))),
        "torchvision-232-224": (
            {"resize_to": 232}, scores_by(ResNet50_Weights.IMAGENET1K_V2.transforms(antialias=True))),
    }  # fmt: skip
