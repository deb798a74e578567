"""What is drawn of detections: boxes, turned boxes, and keypoints with the lines between them."""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.vision.keypoints import Keypoints
from app.vision.pen import INK_DARK, INK_LIGHT, Canvas, Colour, Pen, fill

_SHIFT = 4
"""OpenCV takes whole numbers: of sixteenths of a pixel, so that what is small is not crooked."""
_FARTHEST = 2.0**14
"""OpenCV's lines go wrong where their ends lie farther outside than this."""


def draw_box(canvas: Canvas, box: list[float], colour: Colour, pen: Pen) -> None:
    """An upright box x0, y0, x1, y1."""
    left, top, right, bottom = (round(edge) for edge in box)
    halo = max(1, pen.line // 2)
    _frame(canvas, left - halo, top - halo, right + halo, bottom + halo, halo, INK_DARK)
    _frame(canvas, left, top, max(right, left + 1), max(bottom, top + 1), pen.line, colour)


def _frame(canvas: Canvas, left: int, top: int, right: int, bottom: int, line: int, colour: Colour) -> None:
    """A frame inside these edges; `right` and `bottom` are the first pixels outside."""
    inner_x, inner_y = max(left, right - line), max(top, bottom - line)
    fill(canvas, left, top, right, min(top + line, bottom), colour)
    fill(canvas, left, inner_y, right, bottom, colour)
    fill(canvas, left, top, min(left + line, right), bottom, colour)
    fill(canvas, inner_x, top, right, bottom, colour)


def draw_polygon(canvas: Canvas, polygon: NDArray[np.float32], colour: Colour, pen: Pen) -> None:
    """A closed line through points [k, 2]."""
    points = [_in_parts(polygon)]
    halo = pen.line + 2 * max(1, pen.line // 2)
    for width, ink in ((halo, INK_DARK), (pen.line, colour)):
        cv2.polylines(canvas, points, True, ink, width, cv2.LINE_AA, _SHIFT)


def draw_keypoints(canvas: Canvas, found: Keypoints, index: int, colour: Colour, pen: Pen) -> None:
    """One detection's points that are seen, and the lines between them."""
    seen, points = found.seen[index], _in_parts(found.points[index])
    links = [(points[one], points[other]) for one, other in found.links if seen[one] and seen[other]]
    for width, ink in ((pen.line + 2 * max(1, pen.line // 2), INK_DARK), (pen.line, colour)):
        for one, other in links:
            cv2.line(canvas, _pair(one), _pair(other), ink, width, cv2.LINE_AA, _SHIFT)
    radius = round((1.2 * pen.line + 1) * 2**_SHIFT)
    ring = max(1, pen.line // 2) << _SHIFT
    for point in points[seen]:
        for extra, ink in ((2 * ring, INK_DARK), (ring, INK_LIGHT), (0, colour)):
            cv2.circle(canvas, _pair(point), radius + extra, ink, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _in_parts(points: NDArray[np.float32]) -> NDArray[np.int32]:
    """From pixels' edges, where coordinates begin, to their centres, where OpenCV's do."""
    return np.asarray(np.rint((np.clip(points, -_FARTHEST, _FARTHEST) - 0.5) * 2**_SHIFT), np.int32)


def _pair(point: NDArray[np.int32]) -> tuple[int, int]:
    x, y = point.tolist()
    return x, y
