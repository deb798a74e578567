"""Sixteen bits and transparent pixels to three times eight bits, in the memory that they are in.

One rule for sixteen bits: from the lowest to the highest value there are 256 steps of equal size, so that a value x
becomes floor(256 * (x - low) / (high - low + 1)), and what lies outside becomes black or white. From 0 to 65535 that
is the upper eight bits, which is also what libpng makes of them while it decodes.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]
Levels = tuple[int, int]
"""The values of a 16-bit channel that are black and white."""

FULL_RANGE: Levels = (0, 65_535)
_BAND_PIXELS = 2**16
"""Pixels that are converted at once: they stay in a core's cache."""


def from_sixteen_bits(pixels: Pixels, levels: Levels) -> Pixels:
    """uint16 [h, w] or [h, w, 3] to uint8 of the same shape, at the front of the same memory."""
    table = _table(levels)
    return _in_bands(pixels, table.take, pixels.shape[2:])


def on_white(pixels: Pixels, levels: Levels) -> Pixels:
    """BGRA [h, w, 4] of 8 or 16 bits, laid on white: RGB uint8 [h, w, 3] at the front of the same memory."""
    return _in_bands(pixels, lambda band: laid_on_white(_eight_bits(band, levels)), (3,))


def with_alpha(pixels: Pixels, levels: Levels) -> Pixels:
    """BGRA [h, w, 4] of 8 or 16 bits to RGBA uint8 of the same shape, at the front of the same memory."""
    return _in_bands(pixels, lambda band: cv2.cvtColor(_eight_bits(band, levels), cv2.COLOR_BGRA2RGBA), (4,))


def grey_with_alpha(grey: Pixels, key: int | None, levels: Levels) -> Pixels:
    """Grey [h, w] of 8 or 16 bits, of which the value `key` is transparent, as RGBA uint8 [h, w, 4]."""
    table = _table(levels) if grey.dtype == np.uint16 else np.arange(256, dtype=np.uint8)

    def convert(band: Pixels) -> Pixels:
        shade = table.take(band)
        return cv2.merge([shade, shade, shade, np.where(band == key, 0, 255).astype(np.uint8)])

    return _in_bands(grey, convert, (4,))


def clear_on_white(grey: Pixels, key: int | None, levels: Levels) -> Pixels:
    """Grey [h, w] of 8 or 16 bits, of which the value `key` is transparent, on white: uint8 [h, w, 3]."""
    table = _table(levels) if grey.dtype == np.uint16 else np.arange(256, dtype=np.uint8)
    if key is not None and key < table.size:
        table = table.copy()
        table[key] = 255
    return _in_bands(grey, lambda band: cv2.cvtColor(table.take(band), cv2.COLOR_GRAY2RGB), (3,))


def grey_of(pixels: Pixels) -> Pixels:
    """RGB uint8 [h, w, 3] in grey: [h, w], at the front of the same memory."""
    return _in_bands(pixels, lambda band: cv2.cvtColor(band, cv2.COLOR_RGB2GRAY), ())


def _in_bands(pixels: Pixels, convert: Callable[[Pixels], Pixels], channels: tuple[int, ...]) -> Pixels:
    """Convert a few rows at a time; they are written over those that were read, where these have room enough."""
    height, width = pixels.shape[:2]
    row = width * int(np.prod(channels, dtype=int))
    out: NDArray[np.uint8] = np.asarray(pixels).reshape(-1).view(np.uint8)
    if out.size < height * row:
        out = np.empty(height * row, np.uint8)
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = convert(pixels[top : top + rows])
        out[top * row : top * row + band.size] = band.reshape(-1)
    return out[: height * row].reshape(height, width, *channels)


def _eight_bits(band: Pixels, levels: Levels) -> Pixels:
    if band.dtype == np.uint8:
        return band
    small = _table(levels).take(band)
    small[..., 3] = band[..., 3] >> 8  # how much a pixel covers is no brightness
    return small


def laid_on_white(pixels: Pixels) -> Pixels:
    """BGRA uint8 [h, w, 4], laid on white: RGB uint8 [h, w, 3], a new array."""
    alpha = cv2.cvtColor(cv2.extractChannel(pixels, 3), cv2.COLOR_GRAY2RGB)
    darkness = cv2.bitwise_not(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB))
    return cv2.bitwise_not(cv2.multiply(darkness, alpha, scale=1 / 255))


@lru_cache(maxsize=8)
def _table(levels: Levels) -> NDArray[np.uint8]:
    low, high = levels
    steps = (np.arange(65_536, dtype=np.int64) - low) * 256 // (high - low + 1)
    return np.clip(steps, 0, 255).astype(np.uint8)
