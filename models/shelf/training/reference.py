"""A yardstick for timings: MobileNetV3-Large (Howard et al., 2019, arXiv:1905.02244) with random weights."""

import statistics
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.shelf.training.detect import Network, onnx_network
from models.shelf.training.manifest import SIZE
from models.shelf.training.mobilenet import BLOCKS


class _Excite(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        less = channels // 4
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, less, 1),
            nn.ReLU(),
            nn.Conv2d(less, channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        scaled: Tensor = x * self.gate(x)
        return scaled


class _Shortcut(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = x + self.body(x)
        return summed


def _block(inputs: int, kernel: int, wide: int, outputs: int, excite: bool, hard: bool, stride: int) -> nn.Module:
    def act() -> nn.Module:
        return nn.Hardswish() if hard else nn.ReLU()

    layers: list[nn.Module] = [] if wide == inputs else [nn.Conv2d(inputs, wide, 1), act()]
    layers += [nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide), act()]
    layers += [_Excite(wide)] if excite else []
    layers.append(nn.Conv2d(wide, outputs, 1))
    body = nn.Sequential(*layers)
    return _Shortcut(body) if stride == 1 and inputs == outputs else body


def mobilenet() -> nn.Sequential:
    """The network for pictures [B, 3, 224, 224]; batch normalisation is taken as folded already."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, 2, 1), nn.Hardswish()]
    inputs = 16
    for kernel, wide, outputs, excite, hard, stride in BLOCKS:
        layers.append(_block(inputs, kernel, wide, outputs, excite, hard, stride))
        inputs = outputs
    layers += [nn.Conv2d(160, 960, 1), nn.Hardswish(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    layers += [nn.Linear(960, 1280), nn.Hardswish(), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers)


class _TwoOutputs(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.body(images)
        return scores, scores.sigmoid()


def reference_network(path: Path) -> Network:
    """Writes the yardstick as ONNX to `path` and opens it with one thread."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _TwoOutputs(mobilenet()).eval(),
            (torch.zeros(1, 3, 224, 224),),
            str(path),
            input_names=["images"],
            output_names=["boxes", "scores"],
            opset_version=17,
            dynamo=False,
        )
    return onnx_network(path)


def milliseconds(model: Path, rounds: int = 60) -> dict[str, float]:
    """Median and quickest milliseconds a picture on one core, batch 1: the detector and the yardstick in turns."""
    with tempfile.TemporaryDirectory() as scratch:
        reference = reference_network(Path(scratch) / "reference.onnx")
    networks = {"detector": (onnx_network(model), SIZE), "mobilenet_v3_large_224": (reference, (224, 224))}
    taken: dict[str, list[float]] = {name: [] for name in networks}
    rng = np.random.default_rng(0)
    for turn in range(rounds + 5):
        for name, (network, (width, height)) in networks.items():
            images = rng.random((1, 3, height, width), np.float32)
            begun = time.perf_counter()
            network(images)
            if turn >= 5:
                taken[name].append(1000 * (time.perf_counter() - begun))
    medians = {name: round(statistics.median(values), 2) for name, values in taken.items()}
    return medians | {f"{name}_quickest": round(min(values), 2) for name, values in taken.items()}
