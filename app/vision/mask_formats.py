"""Masks as polygons, as COCO's run lengths and as PNG, and back.

A grid divides a whole upright picture into cells: its pixels or, in a large picture, larger parts of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import cv2
import numpy as np
from numpy.typing import NDArray

from app.vision.header import Size

Bits = NDArray[np.uint8]
Ring = NDArray[np.float64]

MOST_RINGS, MOST_POINTS = 32, 500
"""Of a mask as polygons: so many parts, the largest ones; and so many points of each, at most."""
_TOLERANCE = 0.6
"""How far a polygon may be from the cells' edges, in cells: the stairs of a slanting edge go, its place stays."""
_CORNERS = np.ones((2, 2), np.uint8)
_RUNS_AT_ONCE = 2**12
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)


@dataclass(frozen=True, slots=True)
class Mask:
    """What belongs to an object: `bits` uint8 [h, w] of 0 and 1, whose upper left cell is (`left`, `top`) of a grid."""

    left: int
    top: int
    bits: Bits


@dataclass(frozen=True, slots=True)
class Rle:
    """COCO's run lengths of a grid, column by column, first of what is outside: as `counts` or compressed."""

    grid: Size
    counts: str | list[int]


@dataclass(frozen=True, slots=True)
class MaskFile:
    """A grey PNG of 0 and 255 that lies on `box`, x0, y0, x1, y1 in pixels of the picture."""

    png: bytes
    box: tuple[float, float, float, float]


def outlines(masks: Sequence[Mask], grid: Size, size: Size) -> tuple[tuple[Ring, ...], ...]:
    """For each mask the outlines of its parts, the largest first: each float64 [n, 2] of x, y in pixels of a picture of
    this size. Holes are part of it.
    """
    found = [_rings(mask.bits) for mask in masks]
    lengths = [len(ring) for parts in found for ring in parts]
    if not lengths:
        return ((),) * len(masks)
    # All points at once: masks are many, and each has few.
    corners = np.repeat([(mask.left, mask.top) for mask in masks], [sum(map(len, parts)) for parts in found], axis=0)
    cell = np.array(size, np.float64) / grid
    points = (np.concatenate([ring for parts in found for ring in parts])[:, 0] + corners) * cell
    ends = np.cumsum(lengths).tolist()
    rings = iter([points[start:end] for start, end in zip([0, *ends], ends, strict=False)])
    return tuple(tuple(islice(rings, len(parts))) for parts in found)


def _rings(bits: Bits) -> list[NDArray[np.int32]]:
    # A cell's corners, not its middle: otherwise a polygon has half a cell less all around.
    larger = cv2.copyMakeBorder(bits, 0, 1, 0, 1, cv2.BORDER_CONSTANT, value=0)
    found, _ = cv2.findContours(cv2.dilate(larger, _CORNERS), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if len(found) > 1:
        found = sorted(found, key=cv2.contourArea, reverse=True)[:MOST_RINGS]
    return [_simplified(np.asarray(ring, np.int32)) for ring in found]


def _simplified(ring: NDArray[np.int32]) -> NDArray[np.int32]:
    tolerance = _TOLERANCE
    found = np.asarray(cv2.approxPolyDP(ring, tolerance, True), np.int32)
    while len(found) > MOST_POINTS:
        tolerance *= 2
        found = np.asarray(cv2.approxPolyDP(ring, tolerance, True), np.int32)
    return found if len(found) > 2 else ring


def runs(mask: Mask, grid: Size) -> NDArray[np.int64]:
    """COCO's run lengths of the whole grid: int64 [n], what is outside first."""
    # A cell of nothing above and below each column, so that every run starts and ends in its own.
    columns = cv2.transpose(cv2.copyMakeBorder(mask.bits, 1, 1, 0, 0, cv2.BORDER_CONSTANT, value=0)).reshape(-1)
    column, row = np.divmod(np.flatnonzero(columns[1:] != columns[:-1]), mask.bits.shape[0] + 2)
    edges = (mask.left + column) * grid.height + mask.top + row  # where a run starts, then where it ends
    if len(edges) > 2:  # a run to the bottom goes on at the next column's top
        apart = edges[1:-1].reshape(-1, 2)
        kept = apart[apart[:, 0] != apart[:, 1]].reshape(-1)
        edges = np.concatenate((edges[:1], kept, edges[-1:]))
    lengths = np.diff(edges, prepend=0, append=grid.width * grid.height)
    return lengths if lengths[-1] else lengths[:-1]


def whole(mask: Mask, grid: Size) -> Bits:
    """A mask's whole grid uint8 [h, w] of 0 and 1."""
    bits = np.zeros((grid.height, grid.width), np.uint8)
    height, width = mask.bits.shape
    bits[mask.top : mask.top + height, mask.left : mask.left + width] = mask.bits
    return bits


def of_runs(counts: list[int] | NDArray[np.int64], grid: Size) -> Bits:
    """A whole grid uint8 [h, w] of 0 and 1; raises `ValueError` where the runs are not as long as that."""
    lengths = np.asarray(counts, np.int64)
    if (lengths < 0).any() or lengths.sum() != grid.width * grid.height:
        raise ValueError(f"its run lengths are not those of {grid.width} x {grid.height}")
    inside = (np.arange(len(lengths)) % 2).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(inside, lengths).reshape(grid.width, grid.height).T)


def compressed(counts: list[NDArray[np.int64]]) -> list[str]:
    """Run lengths of several masks as COCO's tools compress them (cocoapi, maskApi.c, rleToString): each as the
    difference to the one before the last, in groups of five bits of two's complement, the lowest first.
    """
    found: list[str] = []
    some: list[NDArray[np.int64]] = []
    for number, one in enumerate(counts, 1):
        some.append(one)
        if number == len(counts) or sum(map(len, some)) > _RUNS_AT_ONCE:
            found += _compressed(some)
            some = []
    return found


def _compressed(counts: list[NDArray[np.int64]]) -> list[str]:
    """Together, because masks are many and most of them have few runs."""
    differences = np.concatenate([_differences(one) for one in counts])
    groups = np.ones(len(differences), np.int64)
    for most in range(1, 7):  # a further group where five bits more, the sign's included, are needed
        half = 1 << (5 * most - 1)
        groups += (differences >= half) | (differences < -half)
    shifts = 5 * np.arange(groups.max(initial=1))
    letters = (differences[:, None] >> shifts) & 0x1F
    letters += 48 + 0x20 * (np.arange(len(shifts)) < groups[:, None] - 1)
    there = np.arange(len(shifts)) < groups[:, None]
    text = letters[there].astype(np.uint8).tobytes().decode("ascii")
    ends = np.cumsum(groups)[np.cumsum([len(one) for one in counts]) - 1].tolist()
    return [text[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _differences(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    found = counts.copy()
    found[3:] -= counts[1:-2]
    return found


def expanded(text: str) -> list[int]:
    """The run lengths that were `compressed`; raises `ValueError` where the text is something else."""
    counts: list[int] = []
    value = shift = 0
    for letter in text.encode("utf-8", "replace"):
        group = letter - 48
        if not 0 <= group < 64 or shift > 60:
            raise ValueError("its counts are no compressed run lengths")
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        value -= (1 << shift) if group & 0x10 else 0
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("its counts end early")
    return counts


def file(mask: Mask, grid: Size, size: Size) -> MaskFile:
    """A mask as a PNG that lies on a part of a picture of this size."""
    height, width = mask.bits.shape
    across, down = size.width / grid.width, size.height / grid.height
    _, png = cv2.imencode(".png", mask.bits * np.uint8(255), _PNG)
    box = mask.left * across, mask.top * down, (mask.left + width) * across, (mask.top + height) * down
    return MaskFile(png.tobytes(), box)


def of_file(png: bytes) -> Bits:
    """The bits uint8 [h, w] in a file that `file` made; raises `ValueError` where it is no such file."""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED) if png else None
    if pixels is None or pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise ValueError("it is no grey PNG of 8 bits")
    return (np.asarray(pixels) > 127).astype(np.uint8)


def of_rings(found: list[Ring], grid: Size, size: Size) -> Bits:
    """A whole grid uint8 [h, w] of 0 and 1 of what lies in outlines, in pixels of a picture of this size."""
    bits = np.zeros((grid.height, grid.width), np.uint8)
    cell = np.array((grid.width / size.width, grid.height / size.height))
    for ring in found:
        points = np.asarray(ring, np.float64).reshape(-1, 2) * cell
        # OpenCV fills the cells under the line as well: half a cell less at the right and at the bottom.
        middle = points - 0.5
        inside = middle + np.where(points > points.mean(axis=0), -0.5, 0.5)
        cv2.fillPoly(bits, [np.round(inside * 16).astype(np.int32)], (1,), shift=4)
    return bits
