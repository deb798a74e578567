"""torchvision's classifiers by their weights' own presets."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import ResNet18_Weights, ResNet50_Weights, resnet18

from tests.parity import weights
from tests.parity.families.base import samples, to_onnx
from tests.parity.pictures import opened


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


def classifiers() -> dict[str, tuple[dict[str, Any], Callable[[bytes], list[float]]]]:
    """Fields of a manifest's input, and what they are compared with."""
    return {
        "torchvision-256-224": ({}, scores_by(ResNet18_Weights.IMAGENET1K_V1.transforms(antialias=True))),
        "torchvision-232-224": (
            {"resize_to": 232}, scores_by(ResNet50_Weights.IMAGENET1K_V2.transforms(antialias=True))),
    }  # fmt: skip
