"""Which detection is which object: pairs, the confusion matrix, F1 and the threshold that is best by it."""

from typing import Any

import numpy as np

from models.shelf.training.arrays import CLASSES
from models.shelf.training.detect import Detections

Note = dict[str, Any]
"""A COCO annotation."""


def match(notes: list[Note], found: Detections) -> tuple[list[tuple[int, int]], list[int], list[int]]:
    """Pairs detections with asked objects by overlap of at least 0.5, whatever the class.

    Returns (true class, detected class) pairs, classes of objects missed, and classes of detections that hit nothing
    (those that lie mostly on something to be ignored are left out).
    """
    asked = [note for note in notes if not note["iscrowd"]]
    ignored = np.array([corners(note) for note in notes if note["iscrowd"]], np.float32).reshape(-1, 4)
    boxes = np.array([corners(note) for note in asked], np.float32).reshape(-1, 4)
    kinds = np.array([note["category_id"] - 1 for note in asked], int)
    pairs, extra, free = [], [], np.ones(len(asked), bool)
    for box, kind in zip(found.boxes, found.kinds, strict=True):
        iou, _ = _shares(box, boxes)
        score = np.where(free, iou + 0.3 * (kinds == kind) * (iou >= 0.5), 0)
        best = int(score.argmax()) if len(score) else -1
        if best >= 0 and free[best] and iou[best] >= 0.5:
            free[best] = False
            pairs.append((int(kinds[best]), int(kind)))
        elif not (len(ignored) and _shares(box, ignored)[1].max() > 0.5):
            extra.append(int(kind))
    return pairs, [int(kind) for kind in kinds[free]], extra


def corners(note: Note) -> list[float]:
    """Its box as x1, y1, x2, y2."""
    x, y, width, height = note["bbox"]
    return [x, y, x + width, y + height]


def _shares(box: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """IoU of a box with others, and the share of the box inside each."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low, 0, None).prod(1)
    area = float((box[2] - box[0]) * (box[3] - box[1]))
    return shared / (area + (others[:, 2:] - others[:, :2]).prod(1) - shared + 1e-6), shared / (area + 1e-6)


def confusion(truth: dict[int, list[Note]], found: dict[int, Detections], threshold: float) -> np.ndarray:
    """Counts int64 [C + 1, C + 1] over pictures, given annotations and detections by image id.

    Rows are true classes, columns detected ones, the last of each is nothing.
    """
    table = np.zeros((len(CLASSES) + 1, len(CLASSES) + 1), int)
    for ident, notes in truth.items():
        pairs, missed, extra = match(notes, found[ident].above(threshold))
        for true, said in pairs:
            table[true, said] += 1
        for true in missed:
            table[true, -1] += 1
        for said in extra:
            table[-1, said] += 1
    return table


def f1(table: np.ndarray) -> float:
    """Harmonic mean of precision and recall over all classes, from a confusion table."""
    return float(2 * np.trace(table[:-1, :-1]) / max(1, table[:-1].sum() + table[:, :-1].sum()))


def best_threshold(truth: dict[int, list[Note]], found: dict[int, Detections]) -> float:
    """The lowest score threshold whose F1 over all classes is within 0.01 of the best, in steps of 0.025.

    A label that is no label costs an attempt at reading, one that is missed costs its text: so low rather than high.
    """
    options = np.arange(0.1, 0.7, 0.025)
    scores = [f1(confusion(truth, found, float(threshold))) for threshold in options]
    return round(float(options[int(np.argmax(np.array(scores) >= max(scores) - 0.01))]), 3)
