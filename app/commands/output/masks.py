"""An answer's masks as pictures again, to be drawn and counted."""

from base64 import b64decode
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidRequest
from app.vision import mask_formats
from app.vision.header import Size
from app.vision.instance_masks import Masks
from app.vision.mask_formats import Bits, Mask
from app.vision.mask_places import grid_of
from app.wire.masks import AnyMask, Polygons, RunLengths
from app.wire.prediction import Detection

PIXELS = np.ones(2)
_TRIANGLE = 6


def to_masks(detections: Sequence[Detection], size: Size, shares: bool) -> Masks | None:
    """The masks of an answer to a picture of this size, whose coordinates are `shares` of it or pixels; None where not
    every detection has one. Raises `InvalidRequest` for masks that cannot be read.
    """
    told = [found.mask for found in detections if found.mask is not None]
    if not told or len(told) < len(detections):
        return None
    unit = np.array(size if shares else (1, 1), np.float64)
    grid = grid_of(size, np.array([found.box for found in detections]) * np.tile(unit, 2))
    return Masks(grid, tuple(_cut(cells(mask, grid, size, unit)) for mask in told), ())


def cells(mask: AnyMask, grid: Size, size: Size, unit: NDArray[np.float64]) -> Bits:
    """A mask of a picture of this size, its coordinates in units of so many pixels, on a whole grid: uint8 [h, w] of 0
    and 1. Raises `InvalidRequest` for one that cannot be read.
    """
    try:
        if isinstance(mask, Polygons):
            rings = [np.array(ring).reshape(-1, 2) * unit for ring in mask.polygons]
            return mask_formats.of_rings(rings, grid, size)
        if isinstance(mask, RunLengths):
            counts = mask_formats.expanded(mask.counts) if isinstance(mask.counts, str) else mask.counts
            return _resized(mask_formats.of_runs(counts, Size(mask.size[1], mask.size[0])), grid)
        part = mask_formats.of_file(b64decode(mask.png, validate=True))
    except ValueError as error:
        raise InvalidRequest(f"a mask in the answer cannot be read: {error}") from None
    bits = np.zeros((grid.height, grid.width), np.uint8)
    corners = np.array(mask.box).reshape(2, 2) * unit * grid / size
    (left, top), (right, bottom) = np.clip(np.round(corners), 0, grid).astype(int).tolist()
    if right > left and bottom > top:
        bits[top:bottom, left:right] = _resized(part, Size(right - left, bottom - top))
    return bits


def outlines(mask: AnyMask, size: Size) -> list[list[float]]:
    """The outlines of a mask in pixels of the picture, each x1, y1, x2, y2, …, the largest first, of three points and
    more. Raises as `cells` does.
    """
    if isinstance(mask, Polygons):
        rings = mask.polygons
    else:
        (found,) = mask_formats.outlines([_cut(cells(mask, size, size, PIXELS))], size, size)
        rings = [ring.round(1).reshape(-1).tolist() for ring in found]
    return [ring for ring in rings if len(ring) >= _TRIANGLE]


def run_lengths(mask: AnyMask, size: Size) -> tuple[dict[str, Any], int]:
    """A mask of whole pixels as COCO's tools take it, compressed, and its area. Raises as `cells` does."""
    bits = cells(mask, size, size, PIXELS)
    (counts,) = mask_formats.compressed([mask_formats.runs(Mask(0, 0, bits), size)])
    return {"size": [size.height, size.width], "counts": counts}, int(np.count_nonzero(bits))


def _resized(bits: Bits, size: Size) -> Bits:
    return np.asarray(cv2.resize(bits, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)


def _cut(bits: Bits) -> Mask:
    left, top, width, height = cv2.boundingRect(bits)
    return Mask(left, top, bits[top : top + height, left : left + width])
