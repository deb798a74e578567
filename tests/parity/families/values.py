"""Embeddings, maps and several labels by their own packages' processors; what they share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tests.parity.families.base import to_onnx
from tests.parity.pictures import opened

Prepare = Callable[[bytes], torch.Tensor]
"""A file's pixels as the network takes them: float32 [1, 3, height, width]."""


@dataclass(frozen=True)
class Values:
    """As `Family`; `reference` gives a file's vector [D], its map [height, width] at the picture's size, or the
    probability of each class [C].
    """

    name: str
    task: Literal["embedding", "maps", "classification"]
    export: Callable[[Path], None]
    options: str
    reference: Callable[[bytes], NDArray[np.float32]]
    source: str
    classes: int = 0


class First(nn.Module):
    """Of a network's outputs these, by name, in a row."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        found = self.model(pixel_values=pixel_values)
        return tuple(getattr(found, name) for name in self.names)


def export_of(model: nn.Module, size: tuple[int, int], outputs: list[str]) -> Callable[[Path], None]:
    """PyTorch's own export; `size` is width and height."""

    def export(path: Path) -> None:
        to_onnx(model, (torch.zeros(1, 3, size[1], size[0]),), path, ["pixel_values"], outputs)

    return export


def processed(processor: Callable[..., dict[str, torch.Tensor]]) -> Prepare:
    """By transformers' image processor."""
    return lambda data: processor(images=opened(data), return_tensors="pt")["pixel_values"]


def vectors(model: nn.Module, prepare: Prepare, place: int = 0) -> Callable[[bytes], NDArray[np.float32]]:
    """The network's vector, its output at `place`."""

    def reference(data: bytes) -> NDArray[np.float32]:
        with torch.no_grad():
            found = model(prepare(data))
        return (found[place] if isinstance(found, tuple) else found)[0].numpy()

    return reference


def depths(model: nn.Module, processor: Any) -> Callable[[bytes], NDArray[np.float32]]:
    """The network's map as large as the picture, by the processor's own way there."""

    def reference(data: bytes) -> NDArray[np.float32]:
        image = opened(data)
        with torch.no_grad():
            found = model(pixel_values=processed(processor)(data))
        (result,) = processor.post_process_depth_estimation(found, target_sizes=[(image.height, image.width)])
        return result["predicted_depth"].numpy()

    return reference
