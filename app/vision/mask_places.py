"""Where a model's masks lie on a picture, and what of them is sampled for each of a grid's cells."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from app.vision.header import Size
from app.vision.preprocessing import Placement

Array = NDArray[Any]

GRID_PIXELS, GRID_SIDE = 2**20, 8192
"""A mask's grid has the picture's pixels, or so many cells and so many a side: a model sees no more."""
ALL_PIXELS = 2**24
"""Cells of all of an answer's masks together: where large boxes are many, the grid is coarser."""
_SMOOTH = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_NEAR = 1e-4
"""Of a cell: less makes no difference to a bit."""


@dataclass(frozen=True, slots=True)
class Lie:
    """Where masks lie on a picture: its point x is at x * step + start among a mask's cells, counted from the middle of
    the first; `steps` and `starts` float64 [n, 2]. Nothing is looked for outside of `boxes`, in pixels of the picture,
    nor outside of the mask's cells `seen` (x0, y0, x1, y1): what a model makes of its padding says nothing.
    """

    steps: NDArray[np.float64]
    starts: NDArray[np.float64]
    boxes: NDArray[np.floating[Any]]
    seen: tuple[int, int, int, int]


class Cut(NamedTuple):
    """The cells of a grid that a mask fills, `width` x `height` from (`left`, `top`) on, and what they are sampled
    from: `rows` and `columns` of the mask's own cells. Where a cell of the grid is a whole part of one of those, these
    are made larger by whole `factors` and shifted by `shift` (x, y); else sampled at `matrix` float64 [2, 3].
    """

    left: int
    top: int
    width: int
    height: int
    columns: slice
    rows: slice
    matrix: NDArray[np.float64]
    factors: tuple[int, int] | None
    shift: tuple[int, int]

    def of(self, part: NDArray[np.float32], edge: int) -> Array:
        """The part of a mask in the grid's cells, float32 [height, width]; `edge` is OpenCV's way with what is outside.

        Resizing takes a third of the time that a transformation does, and is the same.
        """
        if self.factors is None:
            size = self.width, self.height
            return np.asarray(cv2.warpAffine(part, self.matrix, size, flags=_SMOOTH, borderMode=edge, borderValue=0))
        across, down = self.factors
        larger = cv2.resize(part, None, fx=across, fy=down, interpolation=cv2.INTER_LINEAR)
        x, y = self.shift
        return np.asarray(larger[y : y + self.height, x : x + self.width])


def grid_of(size: Size, boxes: NDArray[np.floating[Any]], most: int = GRID_PIXELS) -> Size:
    """How finely a picture of this size is divided, at most into so many cells, so that masks in all of these boxes
    take bounded memory.
    """
    area = float(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1, dtype=np.float64).sum())
    pixels = size.width * size.height
    share = min(1.0, (most / pixels) ** 0.5, (ALL_PIXELS / max(area, 1.0)) ** 0.5, GRID_SIDE / max(size))
    return size if share == 1 else Size(max(1, round(size.width * share)), max(1, round(size.height * share)))


def over_input(shape: tuple[int, ...], boxes: NDArray[np.float32], placement: Placement) -> Lie:
    """Of masks [n, h, w] over the model's whole input, which are cut off at boxes float32 [n, 4] of the picture."""
    cells = np.array((shape[2], shape[1])) / placement.model_size
    steps = np.array((placement.scale_x, placement.scale_y)) * cells
    starts = np.array((placement.offset_x, placement.offset_y)) * cells - 0.5
    # Rounded as Ultralytics does it (utils/ops.py, scale_masks): a half belongs to the picture.
    ends = np.array(placement.visible) * np.tile(cells, 2)
    x0, y0 = np.round(ends[:2] - 0.1).astype(int).tolist()
    x1, y1 = np.round(ends[2:] + 0.1).astype(int).tolist()
    seen = x0, y0, max(x0 + 1, x1), max(y0 + 1, y1)
    return Lie(np.tile(steps, (len(boxes), 1)), np.tile(starts, (len(boxes), 1)), boxes, seen)


def over_boxes(shape: tuple[int, ...], input_boxes: NDArray[np.float32], placement: Placement) -> Lie:
    """Of masks [n, h, w] over boxes float32 [n, 4] of the input, as torchvision pastes them
    (models/detection/roi_heads.py, paste_masks_in_image): with a cell of nothing around each, and between whole pixels.
    """
    scale = np.array((placement.scale_x, placement.scale_y))
    corners = (input_boxes.reshape(-1, 2, 2) - (placement.offset_x, placement.offset_y)) / scale
    cells = np.array((shape[2], shape[1]))
    middle, half = corners.mean(axis=1), (corners[:, 1] - corners[:, 0]) / 2 * ((cells + 2) / cells)
    first, last = np.trunc(middle - half), np.trunc(middle + half)
    sides = np.maximum(last - first + 1, 1)
    steps = (cells + 2) / sides
    whole = np.concatenate((first, first + sides), axis=1)
    boxes = np.clip(whole, 0, np.tile(placement.size, 2))
    return Lie(steps, -first * steps - 1.5, boxes, (0, 0, shape[2], shape[1]))


def cuts(lie: Lie, grid: Size, size: Size) -> list[Cut]:
    """Of each mask what fills the grid's cells on a picture of this size."""
    cell, ends = np.array(size, np.float64) / grid, np.array(grid)
    # As YOLACT and Ultralytics cut masks off (crop_mask): those cells of which the upper left corner is in the box. One
    # between two corners has a cell all the same.
    first = np.clip(np.ceil(lie.boxes[:, :2] / cell), 0, ends - 1)
    sides = np.clip(np.ceil(lie.boxes[:, 2:] / cell), first + 1, ends) - first
    steps = lie.steps * cell
    starts = lie.starts + 0.5 * steps + first * steps
    least, most = np.array(lie.seen[:2]), np.array(lie.seen[2:])
    begin = np.clip(np.floor(starts), least, most - 1)
    end = np.clip(np.ceil(starts + steps * (sides - 1)) + 1, begin + 1, most)
    matrices = np.zeros((len(first), 2, 3))
    matrices[:, (0, 1), (0, 1)], matrices[:, :, 2] = steps, starts - begin
    factors, shifts = _whole(steps, starts - begin, sides, end - begin)
    rows = np.concatenate((first, sides, begin, end, shifts), axis=1).astype(np.int64).tolist()
    return [
        Cut(left, top, width, height, slice(x0, x1), slice(y0, y1), matrix, factors, (x, y))
        for (left, top, width, height, x0, y0, x1, y1, x, y), matrix in zip(rows, matrices, strict=True)
    ]


def _whole(steps: Array, starts: Array, sides: Array, cells: Array) -> tuple[tuple[int, int] | None, Array]:
    """By which whole factors all masks are enlarged, if they are, and the cells [n, 2] that are then left out."""
    shifts = (starts + 0.5) / steps - 0.5
    factors, whole = np.round(1 / steps), np.round(shifts)
    exact = (np.abs(1 / steps - factors) < _NEAR).all() and (np.abs(shifts - whole) < _NEAR).all()
    inside = (whole >= 0).all() and (whole + sides <= cells * factors).all()
    if not (len(steps) and exact and inside and (factors == factors[0]).all()):
        return None, np.zeros_like(whole)
    return (int(factors[0, 0]), int(factors[0, 1])), whole
