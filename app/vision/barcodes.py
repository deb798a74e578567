"""Barcodes on detected labels, read from the picture at its full size."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import zxingcpp
from numpy.typing import NDArray

from app.vision.image import Picture
from app.vision.symbologies import Barcode, Reading

__all__ = ["Barcode", "Reading", "read_barcodes"]

LARGEST_CROP = 2**23
"""Most pixels in which codes are sought at once; a larger crop is made smaller."""
LARGEST_AGAIN = 2**20
"""Pixels above which a crop is not looked at again, larger or turned: its bars are wide enough as they are."""

_MARGIN = 0.12
"""Share of a box's longer side that is read around it: codes want a quiet zone, and boxes are not exact."""
_SMALLEST = 8
_TURNABLE = 40
"""Shorter side in pixels from which a crop is worth turning: a smaller one that stands askew has no bars to be read."""
_ASKEW = 8.0
"""Degrees from the nearest axis below which a code is read as it stands."""
_COHERENT = 0.15
"""How much edges must agree on a direction (0 to 1) for a crop to be turned by it."""
_WORK = 3
"""Pixels that are read at the most, as a multiple of the picture's: overlapping boxes must not cost without end."""

_EVERYTHING = Reading()

Grey = NDArray[np.uint8]
Matrix = NDArray[np.float64]
"""An affine map [2, 3] between pixels."""
Edges = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class _Crop:
    """What is read for a box, and where in the picture its upper left corner is."""

    pixels: Grey
    left: int
    top: int


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
            for one in _read(crop, place, formats, reading):
                _add(one, found)
    return _shared_out(found, places)


def _crop(grey: Grey, place: Sequence[float]) -> _Crop:
    x1, y1, x2, y2 = place
    margin = _MARGIN * max(x2 - x1, y2 - y1) + 2
    left, top = max(0, int(x1 - margin)), max(0, int(y1 - margin))
    return _Crop(grey[top : int(y2 + margin) + 1, left : int(x2 + margin) + 1], left, top)


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


def _read(crop: _Crop, place: Sequence[float], formats: zxingcpp.BarcodeFormats, reading: Reading) -> list[_Found]:
    """The codes in a crop; where none lies in the box that it was made for, it is looked at once more."""
    found: list[_Found] = []
    for pixels, matrix in _views(crop.pixels):
        for one in zxingcpp.read_barcodes(pixels, formats=formats, text_mode=zxingcpp.TextMode.Plain):
            code = reading.barcode(one)
            if code is not None:
                found.append(_Found(code, _edges(one.position, matrix, crop)))
        if any(_holds(place, one) for one in found):
            break
    return found


def _views(crop: Grey) -> Iterator[tuple[Grey, Matrix]]:
    """A crop in the ways in which it is looked at, and how to come back from their pixels to the crop's."""
    if crop.size > LARGEST_CROP:
        factor = math.ceil(math.sqrt(crop.size / LARGEST_CROP))
        size = crop.shape[1] // factor, crop.shape[0] // factor
        smaller = cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
        yield np.asarray(smaller, np.uint8), _scaling(crop.shape[1] / size[0], crop.shape[0] / size[1])
        return
    yield crop, _scaling(1, 1)
    if crop.size <= LARGEST_AGAIN:
        # Narrow bars are read better at twice the size.
        yield (
            np.asarray(cv2.resize(crop, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8),
            _scaling(0.5, 0.5),
        )
        if (turned := _turned(crop)) is not None:
            yield turned


def _scaling(x: float, y: float) -> Matrix:
    return np.array([[x, 0, 0], [0, y, 0]], np.float64)


def _edges(position: Any, matrix: Matrix, crop: _Crop) -> Edges:
    corners = (position.top_left, position.top_right, position.bottom_right, position.bottom_left)
    points = np.array([(corner.x, corner.y, 1) for corner in corners], np.float64) @ matrix.T + (crop.left, crop.top)
    (x1, y1), (x2, y2) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return x1, y1, x2, y2


def _turned(crop: Grey) -> tuple[Grey, Matrix] | None:
    """The crop turned so that its edges lie along rows and columns, along which alone bars are sought.

    Whole, with its border repeated around it; None where it is too small, or stands straight, or has no one direction.
    """
    if min(crop.shape) < _TURNABLE:
        return None
    angle, coherence = _direction(crop)
    if coherence < _COHERENT or abs((angle + 45) % 90 - 45) < _ASKEW:
        return None
    height, width = crop.shape
    cosine, sine = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    size = int(width * cosine + height * sine) + 1, int(width * sine + height * cosine) + 1
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    turned = cv2.warpAffine(crop, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(turned, np.uint8), np.asarray(cv2.invertAffineTransform(matrix), np.float64)


def _direction(crop: Grey) -> tuple[float, float]:
    """The direction in which brightness changes most, in degrees, and how much edges agree on it, 0 to 1.

    From the structure tensor (Bigün and Granlund, "Optimal orientation detection of linear symmetry", ICCV 1987).
    """
    across, down = cv2.Sobel(crop, cv2.CV_32F, 1, 0), cv2.Sobel(crop, cv2.CV_32F, 0, 1)
    xx, yy, xy = (float(np.vdot(a, b)) for a, b in ((across, across), (down, down), (across, down)))
    angle = math.degrees(math.atan2(2 * xy, xx - yy)) / 2
    return angle, math.hypot(xx - yy, 2 * xy) / max(xx + yy, 1e-9)
