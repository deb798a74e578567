"""Answers that are one table: a row or a column for each candidate."""

import numpy as np

from app.vision.decoders.base import (
    Array,
    Candidates,
    OutputDecoder,
    Rows,
    class_numbers,
    corners,
    select,
    select_classes,
    sigmoid,
    strongest,
)
from app.vision.detection_spec import DetectionSpec
from app.vision.image import Size
from app.vision.tasks import Outputs


class Yolo(OutputDecoder):
    """[4 + C + extras, M], or transposed: Ultralytics' YOLOv8 and later, their RT-DETR, and others."""

    def classes(self, spec: DetectionSpec, *outputs: Array) -> int | None:
        if outputs[0].ndim != 2:
            return None
        features = outputs[0].shape[1 if spec.transposed else 0]
        return features - 4 - spec.extras if features > 4 + spec.extras else None

    def candidates(self, spec: DetectionSpec, model_size: Size, threshold: float, *outputs: Array) -> Candidates:
        table = outputs[0].T if spec.transposed else outputs[0]
        scores = table[4 : len(table) - spec.extras]
        if spec.multi_label:
            rows, class_ids, kept = select_classes(scores.T, spec, threshold)
        else:
            rows, kept = select(scores.max(axis=0), spec, threshold)
            class_ids = scores[:, rows].argmax(axis=0).astype(np.int64)
        chosen = table[:, rows]
        if spec.rotated:
            return Candidates.of_turned(chosen[[0, 1, 2, 3, -1]].T, kept, class_ids, rows)
        return Candidates(corners(chosen[:4].T, spec, model_size), kept, class_ids, rows)

    def extras(self, spec: DetectionSpec, outputs: Outputs, rows: Rows) -> Array:
        table = self.choose(spec, outputs)[0]
        table = table.T if spec.transposed else table
        return np.asarray(table[len(table) - spec.extras :, rows].T, np.float32)

    def count(self, spec: DetectionSpec, outputs: Outputs) -> int:
        table = self.choose(spec, outputs)[0]
        return int(table.shape[0 if spec.transposed else 1])


class YoloObjectness(OutputDecoder):
    """[M, 5 + C + extras]: box, objectness, classes, already in pixels: YOLOv5, YOLOX exported with its decoding."""

    def classes(self, spec: DetectionSpec, *outputs: Array) -> int | None:
        shape, others = outputs[0].shape, 5 + spec.extras
        return shape[1] - others if len(shape) == 2 and shape[1] > others else None

    def candidates(self, spec: DetectionSpec, model_size: Size, threshold: float, *outputs: Array) -> Candidates:
        predictions = outputs[0]
        # No class score is above 1, so what is no object can be no candidate: few rows are left to look through.
        rows, objectness = select(predictions[:, 4], spec, threshold, most=len(predictions))
        classes = predictions[rows, 5 : predictions.shape[1] - spec.extras]
        best_class = classes.argmax(axis=1)
        best = np.take_along_axis(classes, best_class[:, None], axis=1)[:, 0].astype(np.float32)
        scores = objectness * (sigmoid(best) if spec.apply_sigmoid else best)
        kept = strongest(scores, threshold, spec.max_candidates)
        rows = rows[kept]
        boxes = corners(self._boxes(predictions, rows, spec, model_size), spec, model_size)
        return Candidates(boxes, scores[kept], best_class[kept].astype(np.int64), rows)

    def _boxes(self, predictions: Array, rows: Rows, spec: DetectionSpec, model_size: Size) -> Array:
        return predictions[rows, :4]


class EndToEnd(OutputDecoder):
    """[N, 6 + extras] and the like, a row for each detection, as `columns` says: YOLOv10, YOLO26, graphs exported with
    their suppression, Caffe's DetectionOutput.
    """

    def classes(self, spec: DetectionSpec, *outputs: Array) -> int | None:
        width = sum(4 if column == "box" else 1 for column in spec.columns) + spec.extras
        return 0 if outputs[0].ndim == 2 and outputs[0].shape[1] == width else None

    def hint(self, spec: DetectionSpec, *outputs: Array) -> str:
        return f" or correct `columns`, which are [{', '.join(spec.columns)}], and `extras`, {spec.extras}"

    def candidates(self, spec: DetectionSpec, model_size: Size, threshold: float, *outputs: Array) -> Candidates:
        table, places, width = outputs[0], {}, 0
        for column in spec.columns:
            places[column] = width
            width += 4 if column == "box" else 1
        rows, kept = select(table[:, places["score"]], spec, threshold)
        chosen = table[rows]
        class_ids = class_numbers(chosen[:, places["class"]], spec.label_offset)
        boxes = chosen[:, places["box"] : places["box"] + 4]
        there = class_ids >= 0
        if "image" in places:  # DetectionOutput ends with a row of picture -1
            there &= chosen[:, places["image"]] >= 0
        if spec.rotated:
            found = Candidates.of_turned(np.hstack((boxes, chosen[:, -1:])), kept, class_ids, rows)
        else:
            found = Candidates(corners(boxes, spec, model_size), kept, class_ids, rows)
        return found.take(np.flatnonzero(there))
