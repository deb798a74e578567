"""Barcodes on detected labels, read from the picture at its full size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zxingcpp
from numpy.typing import NDArray

from app.vision import code_looks
from app.vision.code_looks import Look, Matrix
from app.vision.code_texture import Grey, texture
from app.vision.image import Picture
from app.vision.symbologies import Barcode, Formats, Reading

__all__ = ["Barcode", "Reading", "read_barcodes"]

_MARGIN = 0.12
"""Share of a box's longer side that is read around it: codes want a quiet zone, and boxes are not exact."""
_SMALLEST = 8
_WORK = 3
"""Pixels that are read at the most, as a multiple of the picture's: overlapping boxes must not cost without end."""

_EVERYTHING = Reading()

Edges = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class _Crop:
    """What is read for a box (`place`), and where in the picture its upper left corner is."""

    pixels: Grey
    left: int
    top: int
    place: Sequence[float]

    def inner(self) -> Grey:
        """What lies in the box itself; everything, where that is next to nothing."""
        x1, y1, x2, y2 = (int(edge) for edge in self.place)
        box = self.pixels[max(0, y1 - self.top) : y2 - self.top + 1, max(0, x1 - self.left) : x2 - self.left + 1]
        return box if min(box.shape) >= _SMALLEST else self.pixels


@dataclass(frozen=True, slots=True)
class _Found:
    """A code, and the upright box around it: x1, y1, x2, y2."""

    code: Barcode
    edges: Edges

    @property
    def middle(self) -> tuple[float, float]:
        x1, y1, x2, y2 = self.edges
        return (x1 + x2) / 2, (y1 + y2) / 2


def read_barcodes(
    grey: Picture, boxes: NDArray[np.float32], reading: Reading = _EVERYTHING
) -> tuple[tuple[Barcode, ...], ...]:
    """The codes on each box, in the boxes' order; on each from top to bottom, and from left to right.

    `grey` is uint8 [height, width]; a box is float32 [4], x1, y1, x2, y2 in pixels of the original. A code belongs to
    the smallest box that holds its middle, and to that alone. Put the boxes that matter most first: where they add up
    to several times the picture, the last are left unread.
    """
    places = grey.located(boxes).tolist()
    formats, found = reading.wanted(), list[_Found]()
    budget = _WORK * grey.pixels.size
    for place in places:
        crop = _crop(grey.pixels, place)
        budget -= crop.pixels.size
        if budget >= 0 and min(crop.pixels.shape) >= _SMALLEST:
            for one in _read(crop, formats, reading):
                _add(one, found)
    return _shared_out(found, places)


def _crop(grey: Grey, place: Sequence[float]) -> _Crop:
    x1, y1, x2, y2 = place
    margin = _MARGIN * max(x2 - x1, y2 - y1) + 2
    left, top = max(0, int(x1 - margin)), max(0, int(y1 - margin))
    return _Crop(grey[top : int(y2 + margin) + 1, left : int(x2 + margin) + 1], left, top, place)


def _add(one: _Found, found: list[_Found]) -> None:
    """A code that lies between two boxes is found from both."""
    same = (other for other in found if other.code == one.code)
    if not any(_holds(other.edges, one) or _holds(one.edges, other) for other in same):
        found.append(one)


def _shared_out(found: list[_Found], places: list[list[float]]) -> tuple[tuple[Barcode, ...], ...]:
    codes: list[list[Barcode]] = [[] for _ in places]
    for one in sorted(found, key=lambda one: (one.edges[1], one.edges[0])):
        owners = [index for index, place in enumerate(places) if _holds(place, one)]
        if owners:
            codes[min(owners, key=lambda index: _area(places[index]))].append(one.code)
    return tuple(map(tuple, codes))


def _holds(place: Sequence[float], one: _Found) -> bool:
    x, y = one.middle
    return place[0] <= x <= place[2] and place[1] <= y <= place[3]


def _area(place: Sequence[float]) -> float:
    return (place[2] - place[0]) * (place[3] - place[1])


def _read(crop: _Crop, formats: Formats, reading: Reading) -> list[_Found]:
    """The codes in a crop; where none lies in the box that it was made for, it is looked at again, if worth it."""
    pixels, to_crop = code_looks.scaled_to_fit(crop.pixels)
    seen = texture(pixels, pixels if pixels is not crop.pixels else crop.inner())
    found: list[_Found] = []
    for look in code_looks.first_looks(pixels, seen):
        found += _at(look, to_crop, crop, formats, reading)
    for look in code_looks.second_looks(pixels, seen):
        if any(_holds(crop.place, one) for one in found):
            break
        found += _at(look, to_crop, crop, formats, reading)
    return found


def _at(look: Look, to_crop: Matrix, crop: _Crop, formats: Formats, reading: Reading) -> Iterator[_Found]:
    wanted = formats[look.family]
    if wanted is None:
        return
    matrix = code_looks.joined(to_crop, look.matrix)
    for one in zxingcpp.read_barcodes(
        look.pixels,
        formats=wanted,
        try_rotate=look.thorough,
        try_downscale=look.thorough,
        try_invert=look.inverted,
        text_mode=zxingcpp.TextMode.Plain,
    ):
        code = reading.barcode(one)
        if code is not None:
            yield _Found(code, _edges(one.position, matrix, crop))


def _edges(position: Any, matrix: Matrix, crop: _Crop) -> Edges:
    corners = (position.top_left, position.top_right, position.bottom_right, position.bottom_left)
    points = np.array([(corner.x, corner.y, 1) for corner in corners], np.float64) @ matrix.T + (crop.left, crop.top)
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x1, y1, x2, y2
