"""How far two lists of detections, or two rows of scores, are the same."""

from dataclasses import dataclass, field

import numpy as np

IOU, SCORE = 0.95, 0.01
"""Two detections are the same where they have one class, overlap so much, and score so nearly the same."""


@dataclass(frozen=True)
class Found:
    """One detection: x0, y0, x1, y1 in pixels of the picture, its score, its class from 0."""

    box: tuple[float, float, float, float]
    score: float
    class_id: int


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
        self._add(picture, "only theirs", [one for one in theirs if one.score >= threshold + SCORE], ours)
        self._add(picture, "only ours", [one for one in ours if one.score >= threshold + SCORE], theirs)

    def _add(self, picture: str, words: str, wanted: list[Found], there: list[Found]) -> None:
        for one in wanted:
            self.compared += 1
            if any(_alike(one, other) for other in there):
                self.alike += 1
            else:
                near = max(there, key=lambda other: _iou(one, other), default=None)
                self.differences.append(f"{picture}: {words}: {one}; nearest {near}")


Figures = dict[str, tuple[Agreement, Agreement]]
"""By family: as its manifest says, and with `reduce: auto`."""


def _alike(one: Found, other: Found) -> bool:
    return one.class_id == other.class_id and abs(one.score - other.score) <= SCORE and _iou(one, other) >= IOU


def _iou(one: Found, other: Found) -> float:
    a, b = np.array(one.box), np.array(other.box)
    shared = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None))
    union = np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared
    return float(shared / union) if union > 0 else 0.0
