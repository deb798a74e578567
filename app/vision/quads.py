"""Quadrilaterals around lines of text: their corners' order, their lines' order, and what lies within them."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Quads = NDArray[np.float32]
"""[n, 4, 2]: n times four corners (x, y) in pixels, clockwise from a line's top left one."""

_UPRIGHT_FROM = 1.5  # a crop this many times as high as wide holds a line that runs down or up: PP-OCR's own limit
_LINE_STEP = 10  # pixels between the tops of two lines, PP-OCR's own limit


def quad_crop(pixels: NDArray[Any], quad: NDArray[np.float32]) -> NDArray[Any]:
    """What lies within `quad` float32 [4, 2] of a picture [height, width] or [height, width, channels], straightened.

    As PP-OCR does it: as wide and high as the longer of two opposite sides, in whole pixels (at least one), cubic, with
    the picture's edge repeated beyond it. A crop at least 1.5 times as high as wide is turned a quarter against the
    clock, so that a line that runs down reads from the left. Returns its own memory.
    """
    width = _whole(np.linalg.norm(quad[0] - quad[1]), np.linalg.norm(quad[2] - quad[3]))
    height = _whole(np.linalg.norm(quad[0] - quad[3]), np.linalg.norm(quad[1] - quad[2]))
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    way = cv2.getPerspectiveTransform(np.asarray(quad, np.float32), target)
    crop = cv2.warpPerspective(pixels, way, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    if height / width >= _UPRIGHT_FROM:
        crop = cv2.rotate(crop, cv2.ROTATE_90_COUNTERCLOCKWISE)
    return np.asarray(crop)


def ordered_corners(corners: NDArray[np.float32]) -> NDArray[np.float32]:
    """Four corners [4, 2] in any order as top left, top right, bottom right, bottom left."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left = by_x[:2][np.argsort(by_x[:2, 1], kind="stable")]
    right = by_x[2:][np.argsort(by_x[2:, 1], kind="stable")]
    return np.array([left[0], right[0], right[1], left[1]], np.float32)


def reading_order(quads: Quads) -> NDArray[np.intp]:
    """The order in which the lines are read, int [n]: rows from the top, each from the left.

    As PP-OCR does it: a row ends where the next line's top left corner is 10 pixels or more below.
    """
    from_top = np.argsort(quads[:, 0, 1], kind="stable")
    rows = np.cumsum(np.diff(quads[from_top, 0, 1], prepend=-np.inf) >= _LINE_STEP)
    return from_top[np.lexsort((quads[from_top, 0, 0], rows))]


def _whole(one: Any, other: Any) -> int:
    return max(1, int(max(one, other)))
