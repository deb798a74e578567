"""How far two lists of detections, or two rows of scores, are the same."""

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

IOU, SCORE, SIDE = 0.95, 0.01, 0.1
"""Two detections are the same where they have one class, overlap so much, and score so nearly the same. An answer's
sides are rounded to tenths of a pixel, which is much of a box of a pixel: there all four must be that near.
"""


@dataclass(frozen=True)
class Found:
    """One detection: x0, y0, x1, y1 in pixels of the picture, its score, its class from 0, and, if any, its mask, bool
    [height, width] of the picture, its keypoints [K, 2 or 3] as x, y and score, and the corners [4, 2] of a turned box.
    """

    box: tuple[float, float, float, float]
    score: float
    class_id: int
    mask: Array | None = field(default=None, repr=False, compare=False)
    points: Array | None = field(default=None, repr=False, compare=False)
    corners: Array | None = field(default=None, repr=False, compare=False)


@dataclass
class Agreement:
    """Over many pictures: how many of both sides' detections have their like on the other side."""

    compared: int = 0
    alike: int = 0
    differences: list[str] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Of all that were compared."""
        return self.alike / self.compared if self.compared else 0.0

    def __str__(self) -> str:
        return f"{100 * self.share:6.2f} % of {self.compared}"

    def add(self, picture: str, theirs: list[Found], ours: list[Found], threshold: float, pixel: float = 1.0) -> None:
        """Compare one picture's detections. `theirs` reach a little below the threshold, so that what lies just above
        it on one side and just below on the other is not missed; what scores within `SCORE` of it counts for neither.
        Keypoints may be one pixel of the input apart, which is `pixel` of the picture.
        """
        overlaps = _overlaps(theirs, ours)
        alike = ((overlaps >= IOU) | _near(theirs, ours)) & _same(theirs, ours)
        for one, other in np.argwhere(alike):
            pair = theirs[one], ours[other]
            alike[one, other] = _mask_overlap(*pair) >= IOU and _apart(*pair) <= pixel + SIDE and _turned_alike(*pair)
        self._add(f"{picture}: only theirs", theirs, ours, alike, overlaps, threshold)
        self._add(f"{picture}: only ours", ours, theirs, alike.T, overlaps.T, threshold)

    def _add(
        self, words: str, side: list[Found], other: list[Found], alike: Array, overlaps: Array, threshold: float
    ) -> None:
        for index, one in enumerate(side):
            if one.score < threshold + SCORE:
                continue
            self.compared += 1
            if alike[index].any():
                self.alike += 1
            else:
                near = other[overlaps[index].argmax()] if other else None
                self.differences.append(f"{words}: {one}; nearest {near}{'' if near is None else _more(one, near)}")


Figures = dict[str, tuple[Agreement, Agreement]]
"""By family: as its manifest says, and with `reduce: auto`."""


def _same(first: list[Found], second: list[Found]) -> Array:
    """Which have one class and nearly one score: [n, m]."""
    classes = [np.array([one.class_id for one in side]) for side in (first, second)]
    scores = [np.array([one.score for one in side]) for side in (first, second)]
    return (classes[0][:, None] == classes[1]) & (np.abs(scores[0][:, None] - scores[1]) <= SCORE)


def _near(first: list[Found], second: list[Found]) -> Array:
    """Which have all four sides within what an answer is rounded to: [n, m]."""
    a, b = (np.array([one.box for one in side], np.float64).reshape(-1, 4) for side in (first, second))
    return np.asarray((np.abs(a[:, None] - b) <= SIDE).all(-1))


def _mask_overlap(first: Found, second: Found) -> float:
    """IoU; 1 where neither has a mask, or both are empty."""
    if first.mask is None or second.mask is None:
        return float(first.mask is second.mask)
    union = np.count_nonzero(first.mask | second.mask)
    return np.count_nonzero(first.mask & second.mask) / union if union else 1.0


def _apart(first: Found, second: Found) -> float:
    """How far keypoints are from each other at most: 0 where neither has some, and much where scores differ."""
    if first.points is None or second.points is None or first.points.shape != second.points.shape:
        return 0.0 if first.points is second.points else np.inf
    if (np.abs(first.points - second.points)[:, 2:] > SCORE).any():
        return np.inf
    return float(np.linalg.norm((first.points - second.points)[:, :2], axis=1).max())


def _turned_alike(first: Found, second: Found) -> bool:
    """Whether turned boxes overlap as they must or, where they are tiny, have the same corners but for rounding."""
    if first.corners is None or second.corners is None:
        return first.corners is second.corners
    near = np.linalg.norm(first.corners[:, None] - second.corners, axis=-1).min(axis=1).max() <= 2 * SIDE
    return bool(near or _turned_overlap(first, second) >= IOU)


def _turned_overlap(first: Found, second: Found) -> float:
    a, b = np.float32(first.corners), np.float32(second.corners)
    shared = float(cv2.intersectConvexConvex(a, b)[0])
    return shared / max(cv2.contourArea(a) + cv2.contourArea(b) - shared, 1e-9)


def _more(one: Found, near: Found) -> str:
    """How alike they are beside their boxes, in words."""
    mask = f", its mask by {_mask_overlap(one, near):.3f}" if one.mask is not None else ""
    points = f", its points {_apart(one, near):.2f} apart" if one.points is not None else ""
    turned = one.corners is not None and near.corners is not None
    return mask + points + (f", turned by {_turned_overlap(one, near):.3f}" if turned else "")


def _overlaps(first: list[Found], second: list[Found]) -> Array:
    """Each one's IoU with each other: [n, m]."""
    a, b = (np.array([one.box for one in side], np.float64).reshape(-1, 4) for side in (first, second))
    shared = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])
    both = np.clip(shared, 0, None).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b)]
    return both / np.maximum(areas[0][:, None] + areas[1] - both, 1e-9)
