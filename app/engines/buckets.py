"""Fixed batch sizes for devices that want them: kernels are chosen, and graphs captured, for one shape each."""

from typing import TYPE_CHECKING

import numpy as np

from app.engines.base import Array

if TYPE_CHECKING:
    import torch


def bucket(count: int, most: int) -> int:
    """The least power of two that is at least `count`, or `most` where that is less."""
    return min(most, 1 << (count - 1).bit_length()) if count <= most else count


def padded(batch: Array, size: int) -> Array:
    """`batch` with its last row repeated up to `size` rows; itself where it has them already."""
    missing = size - len(batch)
    return np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch


def padded_on_device(batch: "torch.Tensor", size: int) -> "torch.Tensor":
    """`padded` for a batch on a device, which stays there."""
    import torch

    missing = size - len(batch)
    return torch.cat([batch, batch[-1:].expand(missing, *batch.shape[1:])]) if missing else batch
