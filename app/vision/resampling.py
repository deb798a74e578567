"""Resizing as Pillow does it, and any part of a resized picture without the rest.

Each pixel of the result is a weighted mean of those that lie under a filter of two (linear) or four (cubic) pixels'
width. With `antialias`, as in Pillow, torchvision and transformers, the filter grows with the reduction, so that no
pixel is overlooked. Pillow rounds its weights to 22 bits behind the point, and what its first pass gives to whole
levels before the second (src/libImaging/Resample.c): to the bit what is made here. Without `antialias`, as in OpenCV,
neither is done, and the result is within one level of 255 of OpenCV's.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.vision.image import Size

_STRIP_VALUES = 2**20
"""About how many values are worked on at once."""
_ONE = 2.0**22
"""1 in Pillow's fixed-point numbers (`PRECISION_BITS`)."""


class Window(NamedTuple):
    """Columns `left` to `right` and rows `top` to `bottom` of a resized picture, the ends not included."""

    left: int
    top: int
    right: int
    bottom: int


class Taps(NamedTuple):
    """The source pixels from `start` on that make one pixel, and their weights float [n], which sum up to 1."""

    start: int
    weights: NDArray[Any]

    @property
    def end(self) -> int:
        """The source pixel behind the last."""
        return self.start + len(self.weights)


class Resampling(NamedTuple):
    """How pixels are resized: `linear` or `cubic`; with Pillow's filter that grows with the reduction (`antialias`) or
    OpenCV's; to whole levels of 255 (`rounded`) or with their fractions, as PyTorch resizes tensors; and, where it
    matters, whether the width is always resized first (`horizontal`) or as Pillow 13 chooses (`auto`).
    """

    kind: Literal["linear", "cubic"]
    antialias: bool
    rounded: bool = True
    first_pass: Literal["auto", "horizontal"] = "auto"

    @property
    def is_pillows(self) -> bool:
        """Whether weights and what comes between the passes are rounded."""
        return self.antialias and self.rounded


def resample(pixels: NDArray[np.uint8], target: Size, window: Window, how: Resampling) -> NDArray[Any]:
    """The part `window` of `pixels`, uint8 [height, width, channels], resized to `target`: uint8 or, if not rounded,
    float32.
    """
    height, width, channels = pixels.shape
    rows = taps(height, target.height, (window.top, window.bottom), how)
    columns = taps(width, target.width, (window.left, window.right), how)
    left, right = columns[0].start, max(tap.end for tap in columns)
    columns = _moved(columns, left)
    axes = (0, 1) if how.first_pass == "auto" and _rows_first(Size(width, height), target) else (1, 0)
    out = np.empty((len(rows), len(columns), channels), np.uint8 if how.rounded else np.float32)
    step = max(1, _STRIP_VALUES // (max(right - left, len(columns)) * channels * -(-height // target.height)))
    for first in range(0, len(rows), step):
        wanted = rows[first : first + step]
        top, bottom = wanted[0].start, max(tap.end for tap in wanted)
        passes = _moved(wanted, top), columns
        strip = _resized(pixels[top:bottom, left:right], axes[0], passes[axes[0]], how.is_pillows)
        out[first : first + step] = _resized(strip, axes[1], passes[axes[1]], how.rounded)
    return out


def _rows_first(size: Size, target: Size) -> bool:
    """Pillow's choice since version 13: where the height loses more than twice the pixels that the width loses."""
    lost = size.height - target.height
    return lost > 0 and lost > 2 * (size.width - target.width)


def taps(source: int, target: int, span: tuple[int, int], how: Resampling) -> list[Taps]:
    """What the pixels `span` (from, to) of a side resized from `source` to `target` pixels are made of."""
    scale = source / target
    stretch = max(1.0, scale) if how.antialias else 1.0
    # Pillow's cubic is Keys' of a = -0.5 and OpenCV's of -0.75.
    filter_, radius = (_triangle, 1.0) if how.kind == "linear" else (_cubic(-0.5 if how.antialias else -0.75), 2.0)
    found = []
    for place in range(*span):
        centre = (place + 0.5) * scale
        start, end = int(np.floor(centre - radius * stretch + 0.5)), int(np.floor(centre + radius * stretch + 0.5))
        pixels = np.arange(start, max(end, start + 1))
        weights = filter_(np.abs((pixels + 0.5 - centre) / stretch))
        inside = np.clip(pixels, 0, source - 1)
        if how.antialias:  # Pillow looks at nothing outside, OpenCV repeats the edge there
            weights = np.where(inside == pixels, weights, 0.0)
        summed = np.bincount(inside - inside[0], weights).astype(np.float64)
        summed /= summed.sum()
        found.append(Taps(int(inside[0]), _fixed_point(summed) if how.is_pillows else summed.astype(np.float32)))
    return found


def _fixed_point(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights as Pillow keeps them; products with whole levels and their sums are exact in 64 bits."""
    return np.asarray(np.trunc(weights * _ONE + np.copysign(0.5, weights)) / _ONE)


def _moved(wanted: list[Taps], start: int) -> list[Taps]:
    return [Taps(tap.start - start, tap.weights) for tap in wanted]


def _resized(block: NDArray[Any], axis: int, wanted: list[Taps], rounded: bool) -> NDArray[Any]:
    """One pass: the side `axis` of [height, width, channels] as `wanted`."""
    lines = np.ascontiguousarray(block.swapaxes(0, axis))
    made = _weighted(lines, wanted)
    return np.ascontiguousarray((_rounded(made) if rounded else made).swapaxes(0, axis))


def _weighted(lines: NDArray[Any], wanted: list[Taps]) -> NDArray[Any]:
    """Weighted means of the lines of [n, …]: as the weights [len(wanted), …]."""
    dtype = wanted[0].weights.dtype
    out = np.empty((len(wanted), *lines.shape[1:]), dtype)
    for index, (start, weights) in enumerate(wanted):
        block = lines[start : start + len(weights)].reshape(len(weights), -1)
        np.dot(weights, block.astype(dtype, copy=False), out=out[index].reshape(-1))
    return out


def _rounded(values: NDArray[Any]) -> NDArray[Any]:
    """To whole values of 0 to 255, halves up as in Pillow."""
    values += 0.5
    np.floor(values, out=values)
    return np.clip(values, 0, 255, out=values)


def _triangle(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(1 - distance, 0, None)


def _cubic(a: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Keys' cubic convolution (1981, IEEE Transactions on Acoustics, Speech and Signal Processing 29)."""

    def weigh(x: NDArray[np.float64]) -> NDArray[np.float64]:
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * a
        return np.where(x < 1, near, np.where(x < 2, far, 0.0))

    return weigh
