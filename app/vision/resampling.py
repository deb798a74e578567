"""Resizing as Pillow does it, and any part of a resized picture without the rest.

Each pixel of the result is a weighted mean of those that lie under a filter of two (linear) or four (cubic) pixels'
width. With `antialias`, as in Pillow, torchvision and transformers, the filter grows with the reduction, so that no
pixel is overlooked; without, as in OpenCV, it does not. Pillow rounds between its two passes, here only the result is
rounded: both are within one level of 255.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from app.vision.image import Size

_STRIP_VALUES = 2**20
"""Values of a strip of rows that are worked on at once."""


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


def resample(
    pixels: NDArray[np.uint8], target: Size, window: Window, kind: Literal["linear", "cubic"], antialias: bool
) -> NDArray[np.uint8]:
    """The part `window` of `pixels`, uint8 [height, width, channels], resized to `target`."""
    height, width, channels = pixels.shape
    rows = taps(height, target.height, (window.top, window.bottom), kind, antialias)
    columns = taps(width, target.width, (window.left, window.right), kind, antialias)
    first, last = columns[0].start, max(tap.start + len(tap.weights) for tap in columns)
    columns = [Taps(tap.start - first, tap.weights) for tap in columns]
    source = pixels[:, first:last]
    out = np.empty((len(rows), len(columns), channels), np.uint8)
    step = max(1, _STRIP_VALUES // ((last - first) * channels))
    for top in range(0, len(rows), step):
        strip = _weighted(source, rows[top : top + step])
        turned = np.ascontiguousarray(strip.transpose(1, 0, 2))
        made = _weighted(turned, columns).transpose(1, 0, 2)
        out[top : top + step] = np.clip(np.rint(made), 0, 255)
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


def _triangle(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.clip(1 - distance, 0, None)


def _cubic(a: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Keys' cubic convolution (1981, IEEE Transactions on Acoustics, Speech and Signal Processing 29)."""

    def weigh(x: NDArray[np.float64]) -> NDArray[np.float64]:
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * a
        return np.where(x < 1, near, np.where(x < 2, far, 0.0))

    return weigh
