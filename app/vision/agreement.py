"""How far two answers to the same picture are the same: of one network in two precisions, say."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from app.vision.classification import Classification
from app.vision.detection import Detections
from app.vision.embedding import Embedding
from app.vision.instance_masks import Masks
from app.vision.maps import Maps
from app.vision.mask_formats import whole
from app.vision.oriented_boxes import OrientedBoxes, intersection_over_union
from app.vision.segmentation import Segmentation
from app.vision.text_detection import TextDetection
from app.vision.text_recognition import TextRecognition

OVERLAP = 0.5
"""Boxes of one class whose intersection is at least this part of their union are one detection, if their masks are so
too, where both have some, and their keypoints are as alike (see `_likeness`). Turned boxes overlap as they lie.
"""
NEAR = 0.1
"""The tolerance of every keypoint, as a share of the square root of its box's area; COCO's are 0.05 (eyes) to 0.21
(hips).
"""
COSINE = 0.99
"""Embeddings at least so near are alike."""
NUMBERS_APART = 0.05
"""Numbers of a map that are less apart, as a part of the first map's range, are alike."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """What two answers share, `compared` things in all: the best label, each label of a model with several, each
    detection, each place of a map, a vector.

    `same` of them are alike; `lost` are only in the first answer, `gained` only in the second, where either can be;
    `changed` are pairs of these two in one place, whose class alone is another. `shifts` are the differences of the
    scores of what is alike, of vectors what their cosine is less than 1.
    """

    compared: int = 0
    same: int = 0
    lost: int = 0
    gained: int = 0
    shifts: tuple[float, ...] = ()
    changed: int = 0

    def __add__(self, other: "Agreement") -> "Agreement":
        return Agreement(
            self.compared + other.compared,
            self.same + other.same,
            self.lost + other.lost,
            self.gained + other.gained,
            self.shifts + other.shifts,
            self.changed + other.changed,
        )

    @property
    def share(self) -> float:
        """The part that is alike, 0 to 1; 0 where there was nothing to compare."""
        return self.same / self.compared if self.compared else 0.0

    @property
    def kinds(self) -> dict[str, int]:
        """How many things are alike, have changed their class, and are only in the first or the second answer."""
        return {
            "same": self.same,
            "changed": self.changed,
            "lost": max(0, self.lost - self.changed),
            "gained": max(0, self.gained - self.changed),
        }

    @property
    def largest_shift(self) -> float:
        """The largest difference of two scores, 0 where there are none."""
        return max(self.shifts, default=0.0)


def compare(first: Any, second: Any) -> Agreement:
    """Compare two predictions of one task."""
    if isinstance(first, Detections):
        return _detections(first, second)
    if isinstance(first, Segmentation):
        if first.class_map.shape != second.class_map.shape:
            return Agreement(first.class_map.size)
        alike = int(np.count_nonzero(first.class_map == second.class_map))
        return Agreement(first.class_map.size, alike)
    if isinstance(first, Embedding):
        return _embeddings(first, second)
    if isinstance(first, Maps):
        return _maps(first, second)
    if isinstance(first, TextRecognition):
        same = int(first.text == second.text)
        return Agreement(1, same, shifts=(abs(first.score - second.score),), changed=1 - same)
    if isinstance(first, TextDetection):
        return _lines(first, second)
    return _several(first, second) if first.multi_label else _classifications(first, second)


def _embeddings(first: Embedding, second: Embedding) -> Agreement:
    if first.vector.shape != second.vector.shape:
        return Agreement(1)
    one, other = first.vector.astype(np.float64), second.vector.astype(np.float64)
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    cosine = min(1.0, float(one @ other) / lengths) if lengths else float((one == other).all())
    return Agreement(1, int(cosine >= COSINE), shifts=(1 - cosine,))


def _maps(first: Maps, second: Maps) -> Agreement:
    if first.planes.shape != second.planes.shape:
        return Agreement(first.planes.size)
    far = NUMBERS_APART * np.ptp(first.planes.astype(np.float64), axis=(1, 2), keepdims=True)
    apart = np.abs(first.planes.astype(np.float64) - second.planes)
    return Agreement(first.planes.size, int(np.count_nonzero(apart <= far)))


def _several(first: Classification, second: Classification) -> Agreement:
    """Each label that either has."""
    scores = dict(zip(second.class_ids.tolist(), second.scores.tolist(), strict=True))
    both = [
        abs(score - scores[class_id])
        for class_id, score in zip(first.class_ids.tolist(), first.scores.tolist(), strict=True)
        if class_id in scores
    ]
    same = len(both)
    lost, gained = len(first.class_ids) - same, len(second.class_ids) - same
    return Agreement(same + lost + gained, same, lost, gained, tuple(both))


def _lines(first: TextDetection, second: TextDetection) -> Agreement:
    """Lines are alike where the upright boxes around them are."""
    pairs = _pairs(_overlaps(_around(first.quads), _around(second.quads)))
    same = len(pairs)
    lost, gained = len(first.scores) - same, len(second.scores) - same
    shifts = tuple(abs(float(first.scores[one]) - float(second.scores[other])) for one, other in pairs)
    return Agreement(same + lost + gained, same, lost, gained, shifts)


def _around(quads: np.ndarray) -> np.ndarray:
    return np.concatenate((quads.min(axis=1), quads.max(axis=1)), axis=1)


def _classifications(first: Classification, second: Classification) -> Agreement:
    if not len(first.class_ids) or not len(second.class_ids):
        return Agreement(int(len(first.class_ids) != len(second.class_ids)))
    scores = dict(zip(second.class_ids.tolist(), second.scores.tolist(), strict=True))
    best = int(first.class_ids[0])
    shift = abs(float(first.scores[0]) - scores.get(best, 0.0))
    same = int(best == second.class_ids[0])
    return Agreement(1, same, shifts=(shift,), changed=1 - same)


def partners(first: Detections, second: Detections) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Which detections, by their places in both answers, are alike, and which are in one place with another class."""
    overlaps = _overlaps(first.boxes, second.boxes)
    if first.oriented is not None and second.oriented is not None:
        overlaps = _turned_overlaps(first.oriented, second.oriented, overlaps)
    alike = _pairs(np.where(first.class_ids[:, None] == second.class_ids[None], overlaps, 0))
    for one, other in alike:
        overlaps[one], overlaps[:, other] = 0, 0
    if first.masks is not None and second.masks is not None:
        alike = [pair for pair in alike if _mask_overlap(first.masks, second.masks, pair) >= OVERLAP]
    if first.keypoints is not None and second.keypoints is not None:
        alike = [pair for pair in alike if _likeness(first, second, pair) >= OVERLAP]
    return alike, _pairs(overlaps)


def _detections(first: Detections, second: Detections) -> Agreement:
    alike, changed = partners(first, second)
    same = len(alike)
    lost, gained = len(first.scores) - same, len(second.scores) - same
    shifts = tuple(abs(float(first.scores[one]) - float(second.scores[other])) for one, other in alike)
    return Agreement(same + lost + gained, same, lost, gained, shifts, len(changed))


def _pairs(overlaps: np.ndarray) -> list[tuple[int, int]]:
    """Who belongs to whom, made greedily, the largest overlap first."""
    left, found = overlaps.copy(), []
    while left.size and left.max() >= OVERLAP:
        one, other = map(int, np.unravel_index(int(left.argmax()), left.shape))
        found.append((one, other))
        left[one], left[:, other] = 0, 0
    return found


def _mask_overlap(some: Masks, others: Masks, pair: tuple[int, int]) -> float:
    """Intersection over union of two masks, on the first one's grid; 1 where both are empty."""
    first, second = some.masks[pair[0]], others.masks[pair[1]]
    ours, theirs = whole(first, some.grid), whole(second, others.grid)
    if others.grid != some.grid:
        theirs = np.asarray(cv2.resize(theirs, some.grid, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    union = np.count_nonzero(ours | theirs)
    return np.count_nonzero(ours & theirs) / union if union else 1.0


def _likeness(some: Detections, others: Detections, pair: tuple[int, int]) -> float:
    """The similarity of two detections' keypoints (OKS, https://cocodataset.org/#keypoints-eval), 0 to 1, with one
    tolerance for all points, of those that either has seen; 1 where neither has seen any, or these are other points.
    """
    first, second = some.keypoints, others.keypoints
    if first is None or second is None or first.names != second.names:
        return 1.0
    one, other = pair
    seen = first.seen[one] | second.seen[other]
    if not seen.any():
        return 1.0
    x0, y0, x1, y1 = some.boxes[one].astype(np.float64)
    apart = ((first.points[one] - second.points[other]).astype(np.float64) ** 2).sum(axis=1)[seen]
    return float(np.exp(-apart / (2 * max(1.0, (x1 - x0) * (y1 - y0)) * NEAR**2)).mean())


def _turned_overlaps(some: OrientedBoxes, others: OrientedBoxes, upright: np.ndarray) -> np.ndarray:
    """Intersection over union of turned boxes, where the upright ones around them touch: float64 [n, m]."""
    found = np.zeros_like(upright)
    for one, other in np.argwhere(upright > 0):
        found[one, other] = intersection_over_union(some.polygons[one], others.polygons[other])
    return found


def _overlaps(some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [n, 4] and [m, 4]: float64 [n, m]."""
    some, others = some.astype(np.float64)[:, None], others.astype(np.float64)[None]
    sides = np.minimum(some[..., 2:], others[..., 2:]) - np.maximum(some[..., :2], others[..., :2])
    shared = np.prod(np.maximum(sides, 0), axis=-1)
    areas = np.prod(some[..., 2:] - some[..., :2], axis=-1) + np.prod(others[..., 2:] - others[..., :2], axis=-1)
    return np.asarray(shared / np.maximum(areas - shared, 1e-9))
