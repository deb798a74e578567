"""The way of `preprocessing`, for many pictures at once and as PyTorch tensors, on whatever device holds them.

It takes the same steps with the same numbers: shrink as a scaled JPEG decode would, halve while there is twice too
much, resize, place, normalise. What differs is rounding (here only at the end, there after each step) and how a JPEG
shrinks: here by the mean of its pixels, in libjpeg by leaving out high frequencies. A triangle filter over the whole
distance (`antialias=True`) would be one step, and further away from what models are measured with: by 1.0 to 2.5 levels
of 255 on average on the bundled model's example pictures, instead of 0.2 to 0.45.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torchvision.io
from numpy.typing import NDArray
from torch.nn import functional

from app.vision.image import Size, displacement
from app.vision.preprocessing import InputSpec, Placement, geometry, halvings

_MODES = {"linear": "bilinear", "cubic": "bicubic"}


def encoded(data: bytes) -> torch.Tensor:
    """A file as `decode` takes it: a copy, because PyTorch wants memory that could be written."""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def decode(files: Sequence[torch.Tensor], device: torch.device) -> list[torch.Tensor]:
    """Decode JPEGs of which `is_plain` is true: uint8 [3, height, width] each, RGB, at full size, not turned upright.

    On CUDA that is nvJPEG, with the hardware decoder where the GPU has one; what it returns is finished. Raises
    `RuntimeError` where one of them cannot be decoded; which one is not said. Calls from several threads take turns.
    """
    found: list[torch.Tensor] = torchvision.io.decode_jpeg(list(files), mode="RGB", device=device)
    return found


class DevicePreprocessing:
    """One model's `InputSpec`, which `preprocessing.device_problem` has nothing against; its numbers on the device."""

    def __init__(self, spec: InputSpec, device: torch.device) -> None:
        self.spec = spec
        self.device = device
        self.dtype = getattr(torch, spec.dtype)
        self._factor = self._channels(spec.factors)
        self._offset = self._channels(spec.offsets)
        self._pad = self._channels(spec.padding)

    def empty_batch(self, size: int) -> torch.Tensor:
        """Uninitialised memory for `size` rows of the model's input."""
        return torch.empty((size, *self.spec.shape), dtype=self.dtype, device=self.device)

    def prepare(self, pixels: torch.Tensor, orientation: int, factor: int, out: torch.Tensor) -> Placement:
        """Prepare pictures of one size and orientation into as many rows of a batch.

        `pixels` is uint8 [n, 3, height, width] as decoded, `orientation` EXIF's, `factor` by how much a scaled decode
        would have shrunk them (`image.reduction`). Every element of `out`, `[n, …spec.shape]`, is written. The
        placement is the one that `preprocessing.prepare` finds for each of them.
        """
        height, width = pixels.shape[2:]
        original = Size(height, width) if orientation >= 5 else Size(width, height)
        shrunk = _upright(_shrunk(pixels.to(torch.float32), factor), orientation)
        offset = displacement(original, orientation, factor)
        way = geometry(Size(shrunk.shape[3], shrunk.shape[2]), original, self.spec, factor, offset)
        x0, y0, x1, y1 = way.cut
        content = _resized(shrunk[:, :, y0:y1, x0:x1], way.content, self.spec.interpolation)
        self._write(content, way.left, way.top, out)
        return way.placement

    def _write(self, content: torch.Tensor, left: int, top: int, out: torch.Tensor) -> None:
        height, width = content.shape[2:]
        planes = out if self.spec.layout == "nchw" else out.permute(0, 3, 1, 2)
        if (height, width) != planes.shape[2:]:
            planes.copy_(self._pad.expand_as(planes))
        if self.spec.channels == "bgr":
            content = content.flip(1)
        content = content.round().clamp(0, 255)  # as the CPU's, whose cubic overshoots are cut off
        if self.spec.dtype != "uint8":
            content = content * self._factor - self._offset
        planes[:, :, top : top + height, left : left + width] = content

    def _channels(self, values: NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(np.asarray(values, np.float32), device=self.device).reshape(3, 1, 1)


def _upright(pixels: torch.Tensor, orientation: int) -> torch.Tensor:
    """Undo a stored orientation (CIPA DC-008, tag 0x0112), as `image` does it."""
    if orientation >= 5:
        pixels = pixels.transpose(2, 3)
    sides = {2: (3,), 3: (2, 3), 4: (2,), 6: (3,), 7: (2, 3), 8: (2,)}.get(orientation)
    return pixels if sides is None else pixels.flip(sides)


def _shrunk(images: torch.Tensor, factor: int) -> torch.Tensor:
    return functional.avg_pool2d(images, factor, ceil_mode=True, count_include_pad=False) if factor > 1 else images


def _resized(images: torch.Tensor, size: Size, interpolation: str) -> torch.Tensor:
    sizes = [] if interpolation == "area" else halvings(Size(images.shape[3], images.shape[2]), size)
    for step in sizes:
        halved = (1 + (step.height < images.shape[2]), 1 + (step.width < images.shape[3]))
        images = functional.avg_pool2d(images, halved, ceil_mode=True, count_include_pad=False)
    if (images.shape[3], images.shape[2]) == size:
        return images
    if interpolation == "area":
        return _by_area(images, size)
    mode = _MODES[interpolation]
    return functional.interpolate(images, (size.height, size.width), mode=mode, align_corners=False)


def _by_area(images: torch.Tensor, size: Size) -> torch.Tensor:
    """Each pixel the mean of the area that it covers; where a side grows, between two neighbours, as OpenCV does it."""
    height, width = images.shape[2:]
    weights = _shares if width >= size.width and height >= size.height else _neighbours
    rows, columns = weights(height, size.height), weights(width, size.width)
    return rows.to(images) @ images @ columns.to(images).T


def _shares(source: int, target: int) -> torch.Tensor:
    """How much of each of `target` pixels each of `source` pixels covers: [target, source], rows sum up to 1."""
    edges = torch.arange(target + 1, dtype=torch.float64)[:, None] * (source / target)
    pixels = torch.arange(source, dtype=torch.float64)
    overlaps = torch.minimum(edges[1:], pixels + 1) - torch.maximum(edges[:-1], pixels)
    return overlaps.clamp(min=0) * (target / source)


def _neighbours(source: int, target: int) -> torch.Tensor:
    """Like `_shares`, where the picture grows in one direction or both: only what lies across an edge is mixed."""
    places = torch.arange(target, dtype=torch.float64)
    first = (places * (source / target)).floor()
    share = (places + 1 - (first + 1) * (target / source)).clamp(min=0)
    share -= share.floor()
    weights = torch.zeros(target, source, dtype=torch.float64)
    weights.scatter_(1, first.long()[:, None], (1 - share)[:, None])
    return weights.scatter_add_(1, (first.long() + 1).clamp(max=source - 1)[:, None], share[:, None])
