"""Boxes that are turned: their corners, how far two of them overlap, and the suppression of those that do."""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.vision.preprocessing import Placement

Array = NDArray[Any]
_COLUMNS = 128
"""So many boxes are compared with all better ones at once, which bounds the memory."""
_EPSILON = 1e-7
_FARTHEST = np.float32(2**24)
"""Corners are no farther outside than float32 can count pixels."""


@dataclass(frozen=True, slots=True)
class OrientedBoxes:
    """`polygons` float32 [n, 4, 2]: the corners as x, y in pixels of the upright original, not cut off at its edges,
    clockwise as one sees them, along the longer side first; `angles` float32 [n]: the direction from the first corner
    to the second, in degrees clockwise from the right, -90 to below 90.
    """

    polygons: NDArray[np.float32]
    angles: NDArray[np.float32]

    def take(self, order: Any) -> "OrientedBoxes":
        """Those boxes, in that order."""
        return OrientedBoxes(self.polygons[order], self.angles[order])


def corners(turned: Array) -> NDArray[np.float32]:
    """Of boxes [n, 5] as centre x, y, width, height and angle in radians, clockwise: float32 [n, 4, 2], from the corner
    that would be the upper left one clockwise.
    """
    turned = turned.astype(np.float64)
    cos, sin = np.cos(turned[:, 4]), np.sin(turned[:, 4])
    across = np.stack((cos, sin), axis=1) * turned[:, 2:3] / 2
    down = np.stack((-sin, cos), axis=1) * turned[:, 3:4] / 2
    centre = turned[:, :2]
    found = (centre - across - down, centre + across - down, centre + across + down, centre - across + down)
    return np.stack(found, axis=1).astype(np.float32)


def around(polygons: NDArray[np.float32]) -> NDArray[np.float32]:
    """The upright boxes [n, 4] (x0, y0, x1, y1) around polygons [n, k, 2]."""
    return np.concatenate((polygons.min(axis=1), polygons.max(axis=1)), axis=1)


def placed(turned: Array, placement: Placement) -> OrientedBoxes:
    """Boxes as `corners` takes them, in pixels of the input, as boxes on the picture."""
    with np.errstate(over="ignore"):
        polygons = placement.points_to_original(corners(turned))
    return of_polygons(np.clip(polygons, -_FARTHEST, _FARTHEST))


def of_polygons(polygons: NDArray[np.float32]) -> OrientedBoxes:
    """Rectangles by their corners [n, 4, 2], clockwise from any of them."""
    first = polygons[:, 1] - polygons[:, 0]
    second = polygons[:, 2] - polygons[:, 1]
    longer = (first**2).sum(axis=1) >= (second**2).sum(axis=1)
    along = np.where(longer[:, None], first, second)
    # Of the two opposite directions of that side, the one to the right or straight up.
    backwards = (along[:, 0] < 0) | ((along[:, 0] == 0) & (along[:, 1] > 0))
    starts = np.where(longer, 0, 1) + np.where(backwards, 2, 0)
    order = (starts[:, None] + np.arange(4)) % 4
    along = np.where(backwards[:, None], -along, along)
    angles = np.degrees(np.arctan2(along[:, 1], along[:, 0]))
    return OrientedBoxes(np.take_along_axis(polygons, order[..., None], axis=1), angles.astype(np.float32))


def survivors(turned: Array, class_ids: Array, threshold: float) -> NDArray[np.intp]:
    """Of boxes as `corners` takes them, best first, the places of those whose probabilistic IoU with every better one
    of their class is at most `threshold` (Llerena et al. 2021, arXiv 2106.06072): the fast suppression of YOLACT (Bolya
    et al. 2019, arXiv 1904.02689), in which those that are suppressed suppress as well. So do Ultralytics.
    """
    count, kept = len(turned), []
    means, spreads = turned[:, :2].astype(np.float64), _covariances(turned)
    # The overlap is 1 - sqrt(1 - exp(-distance)): of most pairs the distance of the middles alone is too much.
    farthest = -math.log(1 + _EPSILON - (1 - threshold) ** 2)
    for start in range(0, count, _COLUMNS):
        these = slice(start, min(count, start + _COLUMNS))
        apart = _apart(means[: these.stop], spreads[:, : these.stop], means[these], spreads[:, these])
        better = np.arange(these.stop)[:, None] < np.arange(start, these.stop)
        one, other = np.nonzero((apart < farthest) & better & (class_ids[: these.stop, None] == class_ids[these]))
        distances = apart[one, other] + _unlikeness(spreads[:, one], spreads[:, start + other])
        lost = other[np.maximum(distances, _EPSILON) < farthest]
        kept.append(np.setdiff1d(np.arange(start, these.stop), start + lost))
    return np.concatenate(kept) if kept else np.zeros(0, np.intp)


def intersection_over_union(first: Array, second: Array) -> float:
    """Of two convex polygons [k, 2]; 0 where neither has an area."""
    first, second = first.astype(np.float32), second.astype(np.float32)
    shared = float(cv2.intersectConvexConvex(first, second)[0])
    union = cv2.contourArea(first) + cv2.contourArea(second) - shared
    return shared / union if union > 0 else 0.0


def _covariances(turned: Array) -> NDArray[np.float64]:
    """Of the Gaussians that stand for boxes: [3, n], the variances of x and y, and their covariance."""
    across, down = turned[:, 2].astype(np.float64) ** 2 / 12, turned[:, 3].astype(np.float64) ** 2 / 12
    cos, sin = np.cos(turned[:, 4].astype(np.float64)), np.sin(turned[:, 4].astype(np.float64))
    return np.stack((across * cos**2 + down * sin**2, across * sin**2 + down * cos**2, (across - down) * cos * sin))


def _apart(some: Array, some_spreads: Array, others: Array, other_spreads: Array) -> NDArray[np.float64]:
    """The part of the Bhattacharyya distances of some Gaussians from others that their means make: [n, m]."""
    a, b, c = (one[:, None] + other for one, other in zip(some_spreads, other_spreads, strict=True))
    x, y = np.moveaxis(some[:, None] - others, -1, 0)
    return np.asarray((a * y**2 + b * x**2 - 2 * c * x * y) / (4 * (a * b - c**2 + _EPSILON)))


def _unlikeness(some_spreads: Array, other_spreads: Array) -> NDArray[np.float64]:
    """The part that their covariances make, of pairs: [n], 0 and more."""
    a, b, c = some_spreads + other_spreads
    own = [np.maximum(one[0] * one[1] - one[2] ** 2, 0) for one in (some_spreads, other_spreads)]
    return np.asarray(np.log((a * b - c**2) / (4 * np.sqrt(own[0] * own[1]) + _EPSILON) + _EPSILON) / 2)
