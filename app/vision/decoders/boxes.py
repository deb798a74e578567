"""Answers whose boxes and scores are outputs of their own."""

import numpy as np

from app.errors import EngineFailure
from app.vision.decoders.base import (
    Array,
    Candidates,
    OutputDecoder,
    class_numbers,
    corners,
    refuse_nan,
    select,
    select_classes,
    softmax,
)
from app.vision.detection_spec import DetectionSpec
from app.vision.image import Size


class BoxesScores(OutputDecoder):
    """Boxes [M, 4] and scores [M, C]: SSD, UltraFace, RetinaNet, DETR, RT-DETR."""

    def classes(self, spec: DetectionSpec, *outputs: Array) -> int | None:
        boxes, scores = outputs
        if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.ndim not in (1, 2) or len(scores) != len(boxes):
            return None
        classes = (1 if scores.ndim == 1 else scores.shape[1]) - bool(spec.background)
        return classes if classes > 0 else None

    def candidates(self, spec: DetectionSpec, model_size: Size, threshold: float, *outputs: Array) -> Candidates:
        boxes, scores = outputs
        table = scores[:, None] if scores.ndim == 1 else scores
        if spec.apply_softmax:
            refuse_nan(table)
            table = softmax(table)
        if spec.background:
            table = table[:, :-1] if spec.background == "last" else table[:, 1:]
        rows, class_ids, kept = select_classes(table, spec, threshold)
        return Candidates(corners(boxes[rows], spec, model_size), kept, class_ids, rows)


class BoxesScoresLabels(OutputDecoder):
    """Boxes [M, 4], scores [M], labels [M] and perhaps how many of them count: graphs that end in their own
    suppression, such as torchvision's, TF Object Detection's and TensorRT's EfficientNMS.
    """

    dimensions = (2, 1, 1, 0)

    def classes(self, spec: DetectionSpec, *outputs: Array) -> int | None:
        boxes, scores, labels, *count = outputs
        fits = boxes.ndim == 2 and boxes.shape[1] == 4 and scores.shape == labels.shape == (len(boxes),)
        return 0 if fits and all(one.size == 1 for one in count) else None

    def candidates(self, spec: DetectionSpec, model_size: Size, threshold: float, *outputs: Array) -> Candidates:
        boxes, scores, labels, *count = outputs
        for most in count:
            scores = scores[: _whole(most)]
        rows, kept = select(scores, spec, threshold)
        class_ids = class_numbers(labels[rows], spec.label_offset)
        found = Candidates(corners(boxes[rows], spec, model_size), kept, class_ids, rows)
        return found.take(np.flatnonzero(class_ids >= 0))  # below the first label: the background


class BoxesScoresIndices(OutputDecoder):
    """Boxes [M, 4], scores [C, M] and what ONNX's NonMaxSuppression chose of them: [K, 3] (picture, class, box)."""

    def classes(self, spec: DetectionSpec, *outputs: Array) -> int | None:
        boxes, scores, chosen = outputs
        fits = boxes.ndim == scores.ndim == chosen.ndim == 2 and boxes.shape[1] == 4 and chosen.shape[1] == 3
        return scores.shape[0] if fits and scores.shape[1] == len(boxes) else None

    def hint(self, spec: DetectionSpec, *outputs: Array) -> str:
        return "; where the indices [K, 3] have no batch dimension, set batching: {batch_dimension: false}"

    def candidates(self, spec: DetectionSpec, model_size: Size, threshold: float, *outputs: Array) -> Candidates:
        boxes, scores, chosen = outputs
        chosen = chosen[(chosen >= 0).all(axis=1)].astype(np.int64)
        if (chosen[:, 1] >= len(scores)).any() or (chosen[:, 2] >= len(boxes)).any():
            raise EngineFailure("The model's answer for this picture chooses boxes that there are not.")
        rows, kept = select(scores[chosen[:, 1], chosen[:, 2]], spec, threshold)
        places = chosen[rows, 2]
        return Candidates(corners(boxes[places], spec, model_size), kept, chosen[rows, 1], places)


def _whole(count: Array) -> int:
    """How many of the rows count; raises `EngineFailure` where that is no number."""
    number = float(count.reshape(-1)[0])
    if not np.isfinite(number) or number < 0:
        raise EngineFailure("The model's answer for this picture holds a count that is no number.")
    return int(number)
