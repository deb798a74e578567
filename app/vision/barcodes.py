"""Barcodes on detected labels, read from the picture at its full size."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import zxingcpp
from numpy.typing import NDArray

_MARGIN = 0.12
"""Share of a box's longer side that is read around it: codes want a quiet zone, and boxes are not exact."""
_SMALLEST = 8
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
    if found is None:  # narrow bars: twice the size helps
        found = zxingcpp.read_barcode(cv2.resize(crop, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC))
    return None if found is None else Barcode(found.text, str(found.format))
