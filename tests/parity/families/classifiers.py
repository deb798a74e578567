"""Classifiers by their own packages' transforms; what they share."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from tests.parity import weights
from tests.parity.families.base import samples, to_onnx
from tests.parity.pictures import opened


@dataclass(frozen=True)
class Classifier:
    """As `Family`, but `reference` gives every class's score."""

    name: str
    export: Callable[[Path], None]
    options: str
    reference: Callable[[bytes], list[float]]
    source: str
    classes: int = 1000
    task: ClassVar[str] = "classification"


def settled(model: nn.Module, last: nn.Linear) -> nn.Module:
    """With weights whose answers differ."""
    pictures = (samples((224, 224), 8) - 0.45) / 0.225
    forward = partial(model, pictures)
    model.eval()
    weights.settle(model, forward, calm=0.5)
    weights.spread([last], forward, 0.0, 2.0)
    return model


def classifier(name: str, options: str, model: nn.Module, transform: Any, source: str) -> Classifier:
    """A network of 224 x 224 behind its package's own transform."""

    def scores(data: bytes) -> list[float]:
        with torch.no_grad():
            logits = model(transform(opened(data))[None])[0]
        return list(logits.softmax(0).tolist())

    def export(path: Path) -> None:
        to_onnx(model, (torch.zeros(1, 3, 224, 224),), path, ["images"], ["logits"])

    return Classifier(name, export, options, scores, source)
