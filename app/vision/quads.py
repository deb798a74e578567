"""Quadrilaterals around lines of text: their corners' order, their lines' order, and what lies within them."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Quads = NDArray[np.float32]
"""[n, 4, 2]: n times four corners (x, y) in pixels, clockwise from a line's top left one."""

_UPRIGHT_FROM = 1.5  # a crop this many times as high as wide holds a line that runs down or up: PP-OCR's own limit
_ARC_TOLERANCE = 0.25  # pixels, Clipper's own
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


def smallest_quad(points: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
    """The corners float32 [4, 2] of the smallest rectangle around points [n, 1, 2] or [n, 2], clockwise from the top
    left, and the length of its shorter side.
    """
    rectangle = cv2.minAreaRect(points)
    return ordered_corners(np.asarray(cv2.boxPoints(rectangle), np.float32)), float(min(rectangle[1]))


def grown(quad: NDArray[np.float32], ratio: float) -> NDArray[np.int32]:
    """Points int32 [n, 2] around a convex quad, moved out by its area over its circumference times `ratio`, with round
    corners: differentiable binarization's unclipping (https://arxiv.org/abs/1911.08947, 3.5).

    In whole pixels as the Clipper library (http://www.angusj.com/delphi/clipper.php), by which the models were judged,
    computes it: the corners are cut down, the arcs made of steps that miss them by a quarter of a pixel at most.
    """
    distance = _area(quad) * ratio / float(np.linalg.norm(quad - np.roll(quad, -1, axis=0), axis=1).sum())
    corners = quad.astype(np.int64)
    corners = corners[np.any(corners != np.roll(corners, 1, axis=0), axis=1)]
    if len(corners) < 3 or distance <= 0:
        return quad.astype(np.int32)
    edges = np.roll(corners, -1, axis=0) - corners
    normals = np.stack((edges[:, 1], -edges[:, 0]), axis=1) / np.linalg.norm(edges, axis=1, keepdims=True)
    points: list[NDArray[np.float64]] = []
    for corner, before, after in zip(corners, np.roll(normals, 1, axis=0), normals, strict=True):
        points.extend(corner + distance * normal for normal in _arc(before, after, distance))
    return np.asarray(np.floor(np.array(points) + 0.5), np.int32)


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


def _area(quad: NDArray[np.float32]) -> float:
    x, y = quad.astype(np.float64).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _arc(before: NDArray[np.float64], after: NDArray[np.float64], distance: float) -> list[NDArray[np.float64]]:
    """Unit vectors from one edge's normal to the next one's."""
    turn = float(np.arctan2(before[0] * after[1] - before[1] * after[0], before @ after))
    missed = min(_ARC_TOLERANCE, distance * _ARC_TOLERANCE)
    a_circle = min(np.pi / np.arccos(1 - missed / distance), distance * np.pi)
    steps = max(1, int(a_circle / (2 * np.pi) * abs(turn) + 0.5))
    angles = np.sign(turn) * np.arange(steps) * (2 * np.pi / a_circle)
    cos, sin = np.cos(angles), np.sin(angles)
    turned = np.stack((before[0] * cos - before[1] * sin, before[0] * sin + before[1] * cos), axis=1)
    return [*turned, after]
