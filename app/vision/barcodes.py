"""Barcodes on detected labels, read from the picture at its full size."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import zxingcpp
from numpy.typing import NDArray

_MARGIN = 0.12
"""Share of a box's longer side that is read around it: codes want a quiet zone, and boxes are not exact."""
_SMALLEST = 8
_TURNABLE = 40
"""Shorter side in pixels from which a crop is worth turning: a smaller one that stands askew has no bars to be read."""
_ASKEW = 8.0
"""Degrees from the nearest axis below which a code is read as it stands."""
_COHERENT = 0.15
"""How much edges must agree on a direction (0 to 1) for a crop to be turned by it."""
_LARGEST_AGAIN = 2**20
"""Pixels above which a crop is not looked at again, larger or turned: its bars are wide enough as they are."""
_WORK = 3
"""Pixels that are read at the most, as a multiple of the picture's: overlapping boxes must not cost without end."""


@dataclass(frozen=True, slots=True)
class Barcode:
    """What a code says, and its kind as ZXing names it, for example `Code 128` or `QR Code`."""

    text: str
    format: str


def read_barcodes(grey: NDArray[np.uint8], boxes: Iterable[NDArray[np.float32]]) -> Iterator[Barcode | None]:
    """One answer a box, in their order: the first code that can be read in it, or None.

    `grey` is uint8 [height, width]; a box is float32 [4], x1, y1, x2, y2 in its pixels. Put the boxes that matter most
    first: where they add up to several times the picture, the last are left unread.
    """
    budget = _WORK * grey.size
    for box in boxes:
        crop = _crop(grey, box)
        budget -= crop.size
        yield _read(crop) if budget >= 0 and min(crop.shape) >= _SMALLEST else None


def _crop(grey: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.uint8]:
    x1, y1, x2, y2 = box.tolist()
    margin = _MARGIN * max(x2 - x1, y2 - y1) + 2
    left, top = max(0, int(x1 - margin)), max(0, int(y1 - margin))
    return grey[top : int(y2 + margin) + 1, left : int(x2 + margin) + 1]


def _read(crop: NDArray[np.uint8]) -> Barcode | None:
    found = zxingcpp.read_barcode(crop)
    if found is None and crop.size <= _LARGEST_AGAIN:
        found = _read_larger(crop) or _read_turned(crop)
    return None if found is None else Barcode(found.text, str(found.format))


def _read_larger(crop: NDArray[np.uint8]) -> zxingcpp.Barcode | None:
    """Narrow bars are read better at twice the size."""
    return zxingcpp.read_barcode(cv2.resize(crop, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC))


def _read_turned(crop: NDArray[np.uint8]) -> zxingcpp.Barcode | None:
    """Bars are sought along rows and columns only; a crop whose edges point elsewhere is turned there."""
    if min(crop.shape) < _TURNABLE:
        return None
    angle, coherence = _direction(crop)
    askew = abs((angle + 45) % 90 - 45)
    return zxingcpp.read_barcode(_turned(crop, angle)) if coherence >= _COHERENT and askew >= _ASKEW else None


def _direction(crop: NDArray[np.uint8]) -> tuple[float, float]:
    """The direction in which brightness changes most, in degrees, and how much edges agree on it, 0 to 1.

    From the structure tensor (Bigün and Granlund, "Optimal orientation detection of linear symmetry", ICCV 1987).
    """
    across, down = cv2.Sobel(crop, cv2.CV_32F, 1, 0), cv2.Sobel(crop, cv2.CV_32F, 0, 1)
    xx, yy, xy = (float(np.vdot(a, b)) for a, b in ((across, across), (down, down), (across, down)))
    angle = math.degrees(math.atan2(2 * xy, xx - yy)) / 2
    return angle, math.hypot(xx - yy, 2 * xy) / max(xx + yy, 1e-9)


def _turned(crop: NDArray[np.uint8], angle: float) -> NDArray[np.uint8]:
    """The crop turned by so many degrees, whole, with its border repeated around it."""
    height, width = crop.shape
    cosine, sine = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    size = int(width * cosine + height * sine) + 1, int(width * sine + height * cosine) + 1
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    return np.asarray(cv2.warpAffine(crop, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)
