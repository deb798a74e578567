"""Instance segmentation: which parts of a picture belong to each of a detector's boxes."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import EngineFailure, InvalidManifest
from app.vision import mask_formats
from app.vision.decoders.base import sigmoid
from app.vision.header import Size
from app.vision.mask_formats import Mask, MaskFile, Ring, Rle
from app.vision.mask_spec import MaskSpec
from app.vision.preprocessing import Placement
from app.vision.tasks import MaskFormat, Outputs

Array = NDArray[Any]
_Part = Callable[[tuple[slice, slice]], Array]
Told = tuple[Ring, ...] | Rle | MaskFile

GRID_PIXELS, GRID_SIDE = 2**20, 8192
"""A mask's grid has the picture's pixels, or so many cells and so many a side: a model sees no more."""
ALL_PIXELS = 2**24
"""Cells of all of an answer's masks together: where large boxes are many, the grid is coarser."""
_SMOOTH = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP


@dataclass(frozen=True, slots=True)
class Masks:
    """A mask for each of some detections, in their order, on a grid over the whole upright picture; `told` says each
    as it was asked for: its outlines in pixels of the picture, its run lengths, or a file.
    """

    grid: Size
    masks: tuple[Mask, ...]
    told: tuple[Told, ...]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Detections whose masks are wanted: their `rows` among the candidates, each one's further numbers (`extras`
    [n, K]), and their boxes float32 [n, 4] in pixels of the input and, within the picture, of the picture.
    """

    rows: NDArray[np.intp]
    extras: Array
    input_boxes: NDArray[np.float32]
    boxes: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Lie:
    """Where masks lie on a picture: its point x is at x * step + start among a mask's cells, counted from the middle of
    the first; `steps` and `starts` float64 [n, 2]. Nothing is looked for outside of `boxes`, in pixels of the picture,
    nor outside of the mask's cells `seen` (x0, y0, x1, y1): what a model makes of its padding says nothing.
    """

    steps: NDArray[np.float64]
    starts: NDArray[np.float64]
    boxes: NDArray[np.floating[Any]]
    seen: tuple[int, int, int, int]

    def on_grid(self, grid: Size, size: Size) -> "_Lie":
        """The same for the middles of a grid's cells, and boxes in cells."""
        cell = np.array(size, np.float64) / grid
        return _Lie(self.steps * cell, self.starts + 0.5 * self.steps * cell, self.boxes / np.tile(cell, 2), self.seen)


def check(spec: MaskSpec, outputs: Outputs, extras: int, candidates: int) -> None:
    """Check one picture's output at warm-up, where each of so many candidates has so many further numbers.

    Raises `InvalidManifest` where there is no such output, or it is no mask for each of them.
    """
    if spec.output not in outputs:
        raise InvalidManifest(f"masks.output: the model has no {spec.output!r}; it has {', '.join(outputs)}")
    shape, planes = list(outputs[spec.output].shape), _planes(outputs[spec.output])
    if planes.ndim != 3 or not all(planes.shape[1:]):
        wanted = "[K, h, w]" if spec.kind == "prototypes" else "[M, h, w]"
        raise InvalidManifest(f"masks: {spec.kind} are {wanted} a picture, but {spec.output} is {shape}")
    if spec.kind == "prototypes" and len(planes) != extras:
        raise InvalidManifest(
            f"masks: {spec.output} is {len(planes)} prototypes, but each candidate has {extras} coefficients; set "
            f"detection.extras to {len(planes)}, or name another output"
        )
    if spec.kind != "prototypes" and len(planes) != candidates:
        raise InvalidManifest(
            f"masks: {spec.output} is {len(planes)} masks, but there are {candidates} candidates; name another output"
        )


def read(spec: MaskSpec, told: MaskFormat, outputs: Outputs, chosen: Chosen, placement: Placement) -> Masks:
    """The masks of these detections; raises `EngineFailure` where they are not finite numbers."""
    planes, size = _planes(outputs[spec.output]), placement.size
    if spec.kind == "crops":
        lie = _over_boxes(planes.shape, chosen.input_boxes, placement)
    else:
        lie = _over_input(planes.shape, chosen.boxes, placement)
    grid = grid_of(size, lie.boxes)
    ways = _ways(lie.on_grid(grid, size), grid)
    found = tuple(
        Mask(left, top, _over_threshold(spec, source, lie.seen, (width, height), way))
        for source, ((left, top, width, height), way) in zip(_sources(spec, planes, chosen), ways, strict=True)
    )
    return Masks(grid, found, _told(found, told, grid, size))


def grid_of(size: Size, boxes: NDArray[np.floating[Any]]) -> Size:
    """How finely a picture of this size is divided, so that masks in all of these boxes take bounded memory."""
    area = float(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1, dtype=np.float64).sum())
    pixels = size.width * size.height
    share = min(1.0, (GRID_PIXELS / pixels) ** 0.5, (ALL_PIXELS / max(area, 1.0)) ** 0.5, GRID_SIDE / max(size))
    return size if share == 1 else Size(max(1, round(size.width * share)), max(1, round(size.height * share)))


def _planes(output: Array) -> Array:
    """[M, h, w], where that was [M, 1, h, w]."""
    return output[:, 0] if output.ndim == 4 and output.shape[1] == 1 else output


def _over_input(shape: tuple[int, ...], boxes: NDArray[np.float32], placement: Placement) -> _Lie:
    """Of masks over the model's whole input, which are cut off at the boxes."""
    cells = np.array((shape[2], shape[1])) / placement.model_size
    steps = np.array((placement.scale_x, placement.scale_y)) * cells
    starts = np.array((placement.offset_x, placement.offset_y)) * cells - 0.5
    # Rounded as Ultralytics does it (utils/ops.py, scale_masks): a half belongs to the picture.
    ends = np.array(placement.visible) * np.tile(cells, 2)
    x0, y0 = np.round(ends[:2] - 0.1).astype(int).tolist()
    x1, y1 = np.round(ends[2:] + 0.1).astype(int).tolist()
    seen = x0, y0, max(x0 + 1, x1), max(y0 + 1, y1)
    return _Lie(np.tile(steps, (len(boxes), 1)), np.tile(starts, (len(boxes), 1)), boxes, seen)


def _over_boxes(shape: tuple[int, ...], input_boxes: NDArray[np.float32], placement: Placement) -> _Lie:
    """Of masks over boxes, as torchvision pastes them (models/detection/roi_heads.py, paste_masks_in_image): with a
    cell of nothing around each, and between whole pixels.
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
    return _Lie(steps, -first * steps - 1.5, boxes, (0, 0, shape[2], shape[1]))


def _ways(lie: _Lie, grid: Size) -> list[tuple[tuple[int, int, int, int], tuple[float, float, float, float]]]:
    """Of each mask the cells to fill, as left, top, width, height, and where the first lies, and how far the next."""
    # As YOLACT and Ultralytics cut masks off (crop_mask): those cells of which the upper left corner is in the box. One
    # between two corners has a cell all the same.
    ends = np.array(grid)
    first = np.clip(np.ceil(lie.boxes[:, :2]), 0, ends - 1)
    last = np.clip(np.ceil(lie.boxes[:, 2:]), first + 1, ends)
    cells = np.concatenate((first, last - first), axis=1).astype(np.int64).tolist()
    places = np.concatenate((lie.starts + first * lie.steps, lie.steps), axis=1).tolist()
    return [((x, y, w, h), (a, b, c, d)) for (x, y, w, h), (a, b, c, d) in zip(cells, places, strict=True)]


def _sources(spec: MaskSpec, planes: Array, chosen: Chosen) -> Iterator[_Part]:
    """What gives each mask's own cells, as many of them as are asked for."""
    if spec.kind != "prototypes":
        return (planes[row].__getitem__ for row in chosen.rows.tolist())
    # What belongs to one cell lies together: a mask is the product of a few rows of memory, wherever its box is.
    flat = cv2.transpose(planes.reshape(len(planes), -1).astype(np.float32, copy=False))
    cells = np.asarray(flat).reshape(*planes.shape[1:], len(planes))
    return (partial(_weighed, cells, weights) for weights in chosen.extras)


def _weighed(cells: Array, weights: Array, where: tuple[slice, slice]) -> Array:
    return np.asarray(cells[where] @ weights)


def _over_threshold(
    spec: MaskSpec,
    source: _Part,
    seen: tuple[int, int, int, int],
    cells: tuple[int, int],
    way: tuple[float, float, float, float],
) -> NDArray[np.uint8]:
    """The bits of one mask, of which these cells of its own are seen, in so many cells of the grid."""
    (width, height), (x, y, step_x, step_y) = cells, way
    columns, rows = _span(x, step_x, width, seen[0], seen[2]), _span(y, step_y, height, seen[1], seen[3])
    part, cut = np.ascontiguousarray(source((rows, columns)), np.float32), spec.threshold
    if not math.isfinite(float(part.sum())):
        raise EngineFailure("The model's answer for this picture holds masks that are not finite.")
    if spec.kind == "prototypes" or (spec.apply_sigmoid and spec.kind == "planes"):
        cut = math.log(cut / (1 - cut))  # logits are interpolated as they are
    elif spec.apply_sigmoid:
        part = sigmoid(part)
    edge = cv2.BORDER_CONSTANT if spec.kind == "crops" else cv2.BORDER_REPLICATE
    matrix = np.array(((step_x, 0, x - columns.start), (0, step_y, y - rows.start)))
    values = cv2.warpAffine(part, matrix, (width, height), flags=_SMOOTH, borderMode=edge, borderValue=0)
    return (np.asarray(values) > cut).view(np.uint8)


def _span(start: float, step: float, count: int, least: int, end: int) -> slice:
    """Which of the cells from `least` to `end` are looked at from `start` on in so many steps."""
    first = min(max(math.floor(start), least), end - 1)
    return slice(first, max(first + 1, min(math.ceil(start + step * (count - 1)) + 1, end)))


def _told(found: Sequence[Mask], told: MaskFormat, grid: Size, size: Size) -> tuple[Told, ...]:
    if told == "polygon":
        return mask_formats.outlines(found, grid, size)
    if told == "png":
        return tuple(mask_formats.file(mask, grid, size) for mask in found)
    counts = [mask_formats.runs(mask, grid) for mask in found]
    if told == "uncompressed_rle":
        return tuple(Rle(grid, one.tolist()) for one in counts)
    return tuple(Rle(grid, text) for text in mask_formats.compressed(counts))
