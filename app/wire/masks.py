"""A detection's mask in an answer."""

from base64 import b64encode
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from app.vision.header import Size
from app.vision.instance_masks import Masks, Told
from app.vision.mask_formats import MaskFile, Rle

_PIXEL_DECIMALS, _SHARE_DECIMALS = 1, 6


class Polygons(BaseModel):
    """With `masks=polygon`: the outlines of its parts, largest first. What is a hole in it is not told."""

    polygons: list[list[float]] = Field(description="Of each part x1, y1, x2, y2, … in `coordinates`, as COCO has it.")


class RunLengths(BaseModel):
    """With `masks=rle` and `uncompressed_rle`: run lengths as COCO's tools take them."""

    size: tuple[int, int] = Field(
        description="Height and width of the grid that lies on the whole picture: its pixels or, of a large picture "
        "or where many masks are large, fewer."
    )
    counts: str | list[int] = Field(description="Compressed, or with `uncompressed_rle` as numbers.")


class MaskPng(BaseModel):
    """With `masks=png`: a grey PNG of 8 bits in base64, 255 where the object is, else 0."""

    png: str
    box: tuple[float, float, float, float] = Field(description="Where it lies: x1, y1, x2, y2 in `coordinates`.")


AnyMask = Polygons | RunLengths | MaskPng


def to_masks(found: Masks, size: Size | None) -> list[dict[str, Any]]:
    """Each mask in the shape of `AnyMask`: in pixels or, where the picture's size is given, as shares of it."""
    rings = [ring for told in found.told if isinstance(told, tuple) for ring in told]
    polygons = iter(_flat(rings, size))
    return [_to_mask(told, polygons, size) for told in found.told]


def _to_mask(told: Told, polygons: Any, size: Size | None) -> dict[str, Any]:
    if isinstance(told, Rle):
        return {"size": [told.grid.height, told.grid.width], "counts": told.counts}
    if isinstance(told, MaskFile):
        box = _in_coordinates(np.array([told.box]).reshape(-1, 2), size).reshape(-1).tolist()
        return {"png": b64encode(told.png).decode(), "box": box}
    return {"polygons": [next(polygons) for _ in told]}


def _flat(rings: list[NDArray[np.float64]], size: Size | None) -> list[list[float]]:
    """Of each ring x1, y1, x2, y2, …; all at once, because this runs on the event loop."""
    if not rings:
        return []
    numbers: list[float] = _in_coordinates(np.concatenate(rings), size).reshape(-1).tolist()
    ends = (2 * np.cumsum([len(ring) for ring in rings])).tolist()
    return [numbers[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _in_coordinates(points: NDArray[np.float64], size: Size | None) -> NDArray[np.float64]:
    return points.round(_PIXEL_DECIMALS) if size is None else (points / size).round(_SHARE_DECIMALS)
