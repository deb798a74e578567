"""How far two lists of detections, or two rows of scores, are the same."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

IOU, SCORE, SIDE = 0.95, 0.01, 0.1
"""Two detections are the same where they have one class, overlap so much, and score so nearly the same. An answer's
sides are rounded to tenths of a pixel, which is much of a box of a pixel: there all four must be that near.
"""


@dataclass(frozen=True)
class Found:
    """One detection: x0, y0, x1, y1 in pixels of the picture, its score, its class from 0, and its mask, if any: bool
    [height, width] of the picture.
    """

    box: tuple[float, float, float, float]
    score: float
    class_id: int
    mask: Array | None = field(default=None, repr=False, compare=False)


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

    def add(self, picture: str, theirs: list[Found], ours: list[Found], threshold: float) -> None:
        """Compare one picture's detections. `theirs` reach a little below the threshold, so that what lies just above
        it on one side and just below on the other is not missed; what scores within `SCORE` of it counts for neither.
        """
        overlaps = _overlaps(theirs, ours)
        alike = ((overlaps >= IOU) | _near(theirs, ours)) & _same(theirs, ours)
        for one, other in np.argwhere(alike):
            alike[one, other] = _mask_overlap(theirs[one], ours[other]) >= IOU
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
                masks = "" if near is None or one.mask is None else f", its mask by {_mask_overlap(one, near):.3f}"
                self.differences.append(f"{words}: {one}; nearest {near}{masks}")


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


def _overlaps(first: list[Found], second: list[Found]) -> Array:
    """Each one's IoU with each other: [n, m]."""
    a, b = (np.array([one.box for one in side], np.float64).reshape(-1, 4) for side in (first, second))
    shared = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])
    both = np.clip(shared, 0, None).prod(-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b)]
    return both / np.maximum(areas[0][:, None] + areas[1] - both, 1e-9)
