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
from app.vision import mask_formats, mask_places
from app.vision.decoders.base import sigmoid
from app.vision.header import Size
from app.vision.mask_formats import Mask, MaskFile, Ring, Rle
from app.vision.mask_places import Cut
from app.vision.mask_spec import MaskSpec
from app.vision.preprocessing import Placement
from app.vision.region import Region
from app.vision.tasks import MaskFormat, Outputs

Array = NDArray[Any]
_Part = Callable[[tuple[slice, slice]], Array]
_NEARLY = 1e-6
"""Of a cell, by which a middle may be off an edge for want of digits."""
Told = tuple[Ring, ...] | Rle | MaskFile


@dataclass(frozen=True, slots=True)
class Masks:
    """A mask for each of some detections, in their order, on a grid over the whole upright picture; `told` says each
    as it was asked for: its outlines in pixels of the picture, its run lengths, or a file.
    """

    grid: Size
    masks: tuple[Mask, ...]
    told: tuple[Told, ...]

    def take(self, order: Sequence[int]) -> "Masks":
        """Those of them, in that order."""
        told = tuple(self.told[index] for index in order) if self.told else ()
        return Masks(self.grid, tuple(self.masks[index] for index in order), told)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Detections whose masks are wanted: their `rows` among the candidates, each one's further numbers (`extras`
    [n, K]), and their boxes float32 [n, 4] in pixels of the input and, within the picture, of the picture.
    """

    rows: NDArray[np.intp]
    extras: Array
    input_boxes: NDArray[np.float32]
    boxes: NDArray[np.float32]


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
        lie = mask_places.over_boxes(planes.shape, chosen.input_boxes, placement)
    else:
        lie = mask_places.over_input(planes.shape, chosen.boxes, placement)
    grid = mask_places.grid_of(size, lie.boxes)
    cuts = mask_places.cuts(lie, grid, size)
    found = tuple(
        Mask(cut.left, cut.top, _over_threshold(spec, source((cut.rows, cut.columns)), cut))
        for source, cut in zip(_sources(spec, planes, chosen), cuts, strict=True)
    )
    return Masks(grid, found, _told(found, told, grid, size))


def moved(found: Masks, region: Region, whole: Size, grid: Size | None = None) -> Masks:
    """Masks of a part of a picture on a grid over the whole; its cells are as large as theirs where none is given."""
    if grid is None:
        across, down = region.size.width / found.grid.width, region.size.height / found.grid.height
        grid = Size(max(1, round(whole.width / across)), max(1, round(whole.height / down)))
    masks = tuple(_on_grid(mask, found.grid, region, grid, whole) for mask in found.masks)
    told = tuple(_told_elsewhere(one, mask, grid, region) for one, mask in zip(found.told, masks, strict=True))
    return Masks(grid, masks, told)


def joined(found: Masks, members: Sequence[Sequence[int]], size: Size) -> Masks:
    """A mask of each group of them, of a picture of that size: all that belongs to any of the group."""
    masks, told = [], []
    for group in members:
        mask, one = found.masks[group[0]], found.told[group[0]]
        if len(group) > 1:
            mask = _united([found.masks[place] for place in group])
            (one,) = _told([mask], _format_of(one), found.grid, size)
        masks.append(mask)
        told.append(one)
    return Masks(found.grid, tuple(masks), tuple(told))


def _united(masks: Sequence[Mask]) -> Mask:
    left, top = min(mask.left for mask in masks), min(mask.top for mask in masks)
    right = max(mask.left + mask.bits.shape[1] for mask in masks)
    bottom = max(mask.top + mask.bits.shape[0] for mask in masks)
    bits = np.zeros((bottom - top, right - left), np.uint8)
    for mask in masks:
        height, width = mask.bits.shape
        bits[mask.top - top :, mask.left - left :][:height, :width] |= mask.bits
    return Mask(left, top, bits)


def _format_of(told: Told) -> MaskFormat:
    if isinstance(told, Rle):
        return "rle" if isinstance(told.counts, str) else "uncompressed_rle"
    return "png" if isinstance(told, MaskFile) else "polygon"


def _on_grid(mask: Mask, own: Size, region: Region, grid: Size, whole: Size) -> Mask:
    """For each cell what the part's own mask has under its middle."""
    height, width = mask.bits.shape
    left, columns = _cells_under(mask.left, width, own.width, region.left, region.size.width, grid.width, whole.width)
    top, rows = _cells_under(mask.top, height, own.height, region.top, region.size.height, grid.height, whole.height)
    return Mask(left, top, np.ascontiguousarray(mask.bits[np.ix_(rows, columns)]))


def _cells_under(
    first: int, count: int, own: int, start: int, length: int, cells: int, whole: int
) -> tuple[int, NDArray[np.intp]]:
    """Of `own` cells over `length` pixels from `start` on, those `count` from `first` on: which of `cells` over `whole`
    pixels they begin at, and which of them lies under the middle of each from there on; at least one.
    """
    own_cell, cell = length / own, whole / cells
    begin = max(0, math.ceil((start + first * own_cell) / cell - 0.5 - _NEARLY))
    end = min(cells, math.ceil((start + (first + count) * own_cell) / cell - 0.5 - _NEARLY))
    begin = min(begin, cells - 1)
    middles = (np.arange(begin, max(end, begin + 1)) + 0.5) * cell
    return begin, np.clip(((middles - start) / own_cell).astype(np.intp) - first, 0, count - 1)


def _told_elsewhere(told: Told, mask: Mask, grid: Size, region: Region) -> Told:
    """Outlines and files keep their shape; run lengths are of the whole grid."""
    if isinstance(told, Rle):
        counts = mask_formats.runs(mask, grid)
        return Rle(grid, counts.tolist() if isinstance(told.counts, list) else mask_formats.compressed([counts])[0])
    if isinstance(told, MaskFile):
        x0, y0, x1, y1 = told.box
        return MaskFile(told.png, (x0 + region.left, y0 + region.top, x1 + region.left, y1 + region.top))
    return tuple(ring + np.array((region.left, region.top)) for ring in told)


def _planes(output: Array) -> Array:
    """[M, h, w], where that was [M, 1, h, w]."""
    return output[:, 0] if output.ndim == 4 and output.shape[1] == 1 else output


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


def _over_threshold(spec: MaskSpec, part: Array, cut: Cut) -> NDArray[np.uint8]:
    """The bits of one mask in the cells of the grid, of the part of its own cells that they lie on."""
    part, least = np.ascontiguousarray(part, np.float32), spec.threshold
    if not math.isfinite(float(part.sum())):
        raise EngineFailure("The model's answer for this picture holds masks that are not finite.")
    if spec.kind == "prototypes" or (spec.apply_sigmoid and spec.kind == "planes"):
        least = math.log(least / (1 - least))  # logits are interpolated as they are
    elif spec.apply_sigmoid:
        part = sigmoid(part)
    return (cut.of(part, cv2.BORDER_CONSTANT if spec.kind == "crops" else cv2.BORDER_REPLICATE) > least).view(np.uint8)


def _told(found: Sequence[Mask], told: MaskFormat, grid: Size, size: Size) -> tuple[Told, ...]:
    if told == "polygon":
        return mask_formats.outlines(found, grid, size)
    if told == "png":
        return tuple(mask_formats.file(mask, grid, size) for mask in found)
    counts = [mask_formats.runs(mask, grid) for mask in found]
    if told == "uncompressed_rle":
        return tuple(Rle(grid, one.tolist()) for one in counts)
    return tuple(Rle(grid, text) for text in mask_formats.compressed(counts))
