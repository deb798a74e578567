"""What can be read on a label at all, at any price: the measure of what the service reads of it."""

from typing import Any

import cv2
import numpy as np
import zxingcpp

from app.vision import code_looks
from app.vision.code_looks import Matrix
from app.vision.symbologies import Family, Reading
from models.shelf.training.arrays import F32, F64, U8

_MARGIN = 0.12
_READING = Reading()


def read_box(picture: U8, box: F32) -> str | None:
    """The text in one box [4] (x1, y1, x2, y2) of an RGB picture, if zxing-cpp can read it.

    As it is, at twice the size, and turned to where its edges point; each with all that zxing-cpp can try.
    """
    x1, y1, x2, y2 = (float(edge) for edge in box)
    margin = _MARGIN * max(x2 - x1, y2 - y1) + 2
    left, top = max(0, int(x1 - margin)), max(0, int(y1 - margin))
    crop = np.asarray(
        cv2.cvtColor(picture[top : int(y2 + margin) + 1, left : int(x2 + margin) + 1], cv2.COLOR_RGB2GRAY)
    )
    for pixels, matrix in (
        code_looks.as_it_is(crop),
        code_looks.enlarged(crop),
        code_looks.turned(crop) or (None, None),
    ):
        for text, (x, y) in _codes(pixels, matrix):
            if x1 <= x + left <= x2 and y1 <= y + top <= y2:
                return text
    return None


def _codes(pixels: U8 | None, matrix: Matrix | None) -> list[tuple[str, F64]]:
    """Text of each code, and where its middle is."""
    if pixels is None or matrix is None:
        return []
    formats = _READING.wanted()[Family.EVERYTHING]
    found = []
    for one in zxingcpp.read_barcodes(pixels, formats=formats, text_mode=zxingcpp.TextMode.Plain):
        code = _READING.barcode(one)
        if code is not None:
            found.append((code.text, matrix @ (*_middle(one.position), 1)))
    return found


def _middle(position: Any) -> tuple[float, float]:
    corners = (position.top_left, position.top_right, position.bottom_right, position.bottom_left)
    xs, ys = [corner.x for corner in corners], [corner.y for corner in corners]
    return (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
