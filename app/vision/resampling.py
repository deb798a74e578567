"""Resizing as Pillow does it, and any part of a resized picture without the rest.

Each pixel of the result is a weighted mean of those that lie under a filter of two (linear) or four (cubic) pixels'
width. With `antialias`, as in Pillow, torchvision and transformers, the filter grows with the reduction, so that no
pixel is overlooked, and what is resized across is rounded before it is resized down (newer versions of Pillow choose
which comes first); without, as in OpenCV, neither. Both are within one level of 255 of the original.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.vision.image import Size

_STRIP_VALUES = 2**20
"""About how many values are worked on at once."""


class Window(NamedTuple):
    """Columns `left` to `right` and rows `top` to `bottom` of a resized picture, the ends not included."""

    left: int
    top: int
    right: int
    bottom: int


class Taps(NamedTuple):
    """The source pixels from `start` on that make one pixel, and their weights float32 [n], which sum up to 1."""

    start: int
    weights: NDArray[np.float32]

    @property
    def end(self) -> int:
        """The source pixel behind the last."""
        return self.start + len(self.weights)


def resample(
    pixels: NDArray[np.uint8],
    target: Size,
    window: Window,
    kind: Literal["linear", "cubic"],
    antialias: bool,
    rounded: bool = True,
) -> NDArray[Any]:
    """The part `window` of `pixels`, uint8 [height, width, channels], resized to `target`: uint8 or, if not `rounded`,
    float32 with its fractions, as PyTorch resizes tensors.
    """
    height, width, channels = pixels.shape
    rows = taps(height, target.height, (window.top, window.bottom), kind, antialias)
    columns = taps(width, target.width, (window.left, window.right), kind, antialias)
    left, right = columns[0].start, max(tap.end for tap in columns)
    columns = [Taps(tap.start - left, tap.weights) for tap in columns]
    out = np.empty((len(rows), len(columns), channels), np.uint8 if rounded else np.float32)
    step = max(1, _STRIP_VALUES // (max(right - left, len(columns)) * channels * -(-height // target.height)))
    for first in range(0, len(rows), step):
        wanted = rows[first : first + step]
        top, bottom = wanted[0].start, max(tap.end for tap in wanted)
        turned = np.ascontiguousarray(pixels[top:bottom, left:right].transpose(1, 0, 2))
        strip = _weighted(turned, columns)
        if antialias and rounded:
            strip = _rounded(strip)
        lines = np.ascontiguousarray(strip.transpose(1, 0, 2))
        made = _weighted(lines, [Taps(tap.start - top, tap.weights) for tap in wanted])
        out[first : first + step] = _rounded(made) if rounded else made
    return out


def taps(
    source: int, target: int, span: tuple[int, int], kind: Literal["linear", "cubic"], antialias: bool
) -> list[Taps]:
    """What the pixels `span` (from, to) of a side resized from `source` to `target` pixels are made of."""
    scale = source / target
    stretch = max(1.0, scale) if antialias else 1.0
    # Pillow's cubic is Keys' of a = -0.5 and OpenCV's of -0.75.
    filter_, radius = (_triangle, 1.0) if kind == "linear" else (_cubic(-0.5 if antialias else -0.75), 2.0)
    found = []
    for place in range(*span):
        centre = (place + 0.5) * scale
        start, end = int(np.floor(centre - radius * stretch + 0.5)), int(np.floor(centre + radius * stretch + 0.5))
        pixels = np.arange(start, max(end, start + 1))
        weights = filter_(np.abs((pixels + 0.5 - centre) / stretch))
        inside = np.clip(pixels, 0, source - 1)
        if antialias:  # Pillow looks at nothing outside, OpenCV repeats the edge there
            weights = np.where(inside == pixels, weights, 0.0)
        summed = np.bincount(inside - inside[0], weights)
        found.append(Taps(int(inside[0]), (summed / summed.sum()).astype(np.float32)))
    return found


def _weighted(lines: NDArray[Any], wanted: list[Taps]) -> NDArray[np.float32]:
    """Weighted means of the lines of [n, …]: float32 [len(wanted), …]."""
    out = np.empty((len(wanted), *lines.shape[1:]), np.float32)
    for index, (start, weights) in enumerate(wanted):
        block = lines[start : start + len(weights)].reshape(len(weights), -1)
        np.dot(weights, block.astype(np.float32, copy=False), out=out[index].reshape(-1))
    return out


def _rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """To whole values of 0 to 255, halves up as in Pillow."""
    whole: NDArray[np.float32] = np.clip(np.floor(values + np.float32(0.5)), 0, 255)
    return whole


def _triangle(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(1 - distance, 0, None)


def _cubic(a: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Keys' cubic convolution (1981, IEEE Transactions on Acoustics, Speech and Signal Processing 29)."""

    def weigh(x: NDArray[np.float64]) -> NDArray[np.float64]:
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * a
        return np.where(x < 1, near, np.where(x < 2, far, 0.0))

    return weigh
