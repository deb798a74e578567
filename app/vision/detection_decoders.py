"""The shapes in which detectors give their answers, one class a shape.

All of them choose candidates by score first, and only then look at their boxes: a model scores thousands of places,
and a few dozen of them are worth a second look.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import EngineFailure, InvalidManifest
from app.vision.detection_spec import ROLES, Decoder, DetectionSpec
from app.vision.image import Size
from app.vision.tasks import Outputs

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes float32 [n, 4] as x0, y0, x1, y1 in the model's pixels, scores float32 [n], class ids int64 [n]."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]

    def take(self, rows: NDArray[np.intp]) -> "Candidates":
        """Those rows, in that order."""
        return Candidates(self.boxes[rows], self.scores[rows], self.class_ids[rows])


class OutputDecoder(ABC):
    """Reads one shape of answer. It has no state: one object serves all threads."""

    def check(self, spec: DetectionSpec, outputs: Outputs, labels: int) -> None:
        """Raise `InvalidManifest` where names, shapes or the number of labels do not fit."""
        chosen = self._choose(spec, outputs)
        classes = self.classes(spec, *chosen)
        if classes is None:
            roles = zip(ROLES[spec.decoder], chosen, strict=True)
            shapes = ", ".join(f"{role} {list(array.shape)}" for role, array in roles)
            raise InvalidManifest(
                f"decoder: {spec.decoder} does not fit the model's outputs ({shapes}); choose another"
            )
        if classes > 0 and classes != labels:
            raise InvalidManifest(f"labels: the model scores {classes} classes, but the manifest lists {labels} labels")
        if not labels:
            raise InvalidManifest("labels: the manifest lists none; name the model's classes in their order")

    def decode(self, spec: DetectionSpec, outputs: Outputs, model_size: Size, threshold: float) -> Candidates:
        """The candidates of one picture that score at least `threshold`, the best `max_candidates` of them, unsorted.

        Raises `EngineFailure` where the scores are not numbers.
        """
        return self.candidates(spec, model_size, threshold, *self._choose(spec, outputs))

    @abstractmethod
    def classes(self, spec: DetectionSpec, *outputs: Array) -> int | None:
        """How many labels the outputs need, 0 where they do not tell, None where their shapes do not fit."""

    @abstractmethod
    def candidates(self, spec: DetectionSpec, model_size: Size, threshold: float, *outputs: Array) -> Candidates:
        """`decode` on the outputs in their order."""

    def _choose(self, spec: DetectionSpec, outputs: Outputs) -> list[Array]:
        names, roles = spec.outputs or tuple(outputs), ROLES[spec.decoder]
        missing = [name for name in names if name not in outputs]
        if missing:
            raise InvalidManifest(f"outputs: the model has no {missing[0]!r}; it has {', '.join(outputs)}")
        if len(names) != len(roles):
            raise InvalidManifest(
                f"outputs: {spec.decoder} reads {len(roles)} ({', '.join(roles)}), but the model has "
                f"{len(outputs)} ({', '.join(outputs)}); name in `outputs` those to read, in this order"
            )
        return [outputs[name] for name in names]


class BoxesScores(OutputDecoder):
    """Boxes [M, 4] and scores [M, C]: SSD, UltraFace, RetinaNet."""

    def classes(self, spec: DetectionSpec, *outputs: Array) -> int | None:
        boxes, scores = outputs
        if boxes.ndim != 2 or boxes.shape[1] != 4 or scores.ndim not in (1, 2) or len(scores) != len(boxes):
            return None
        classes = (1 if scores.ndim == 1 else scores.shape[1]) - spec.background
        return classes if classes > 0 else None

    def candidates(self, spec: DetectionSpec, model_size: Size, threshold: float, *outputs: Array) -> Candidates:
        boxes, scores = outputs
        table = (scores[:, None] if scores.ndim == 1 else scores)[:, int(spec.background) :]
        best_class = table.argmax(axis=1)
        best = np.take_along_axis(table, best_class[:, None], axis=1)[:, 0]
        rows, kept = _select(best, spec, threshold)
        return Candidates(_corners(boxes[rows], spec, model_size), kept, best_class[rows].astype(np.int64))


class BoxesScoresLabels(OutputDecoder):
    """Boxes [M, 4], scores [M] and labels [M]: graphs that end in their own suppression, torchvision's, DETR's."""

    def classes(self, spec: DetectionSpec, *outputs: Array) -> int | None:
        boxes, scores, labels = outputs
        fits = boxes.ndim == 2 and boxes.shape[1] == 4 and scores.shape == labels.shape == (len(boxes),)
        return 0 if fits else None

    def candidates(self, spec: DetectionSpec, model_size: Size, threshold: float, *outputs: Array) -> Candidates:
        boxes, scores, labels = outputs
        rows, kept = _select(scores, spec, threshold)
        numbers = labels[rows]
        if not np.isfinite(numbers).all():
            raise EngineFailure("The model's answer for this picture holds class numbers that are not finite.")
        class_ids = np.clip(numbers, -(2.0**31), 2.0**31).astype(np.int64) - spec.label_offset
        found = Candidates(_corners(boxes[rows], spec, model_size), kept, class_ids)
        return found.take(np.flatnonzero(class_ids >= 0))  # below the first label: the background


class Yolo(OutputDecoder):
    """[4 + C, M]: Ultralytics' YOLOv8 and later."""

    def classes(self, spec: DetectionSpec, *outputs: Array) -> int | None:
        shape = outputs[0].shape
        return shape[0] - 4 if len(shape) == 2 and shape[0] > 4 else None

    def candidates(self, spec: DetectionSpec, model_size: Size, threshold: float, *outputs: Array) -> Candidates:
        predictions = outputs[0]
        rows, kept = _select(predictions[4:].max(axis=0), spec, threshold)
        chosen = predictions[:, rows]
        return Candidates(_corners(chosen[:4].T, spec, model_size), kept, chosen[4:].argmax(axis=0).astype(np.int64))


class YoloObjectness(OutputDecoder):
    """[M, 5 + C]: box, objectness, classes, already in pixels: YOLOv5, YOLOX exported with its decoding."""

    def classes(self, spec: DetectionSpec, *outputs: Array) -> int | None:
        shape = outputs[0].shape
        return shape[1] - 5 if len(shape) == 2 and shape[1] > 5 else None

    def candidates(self, spec: DetectionSpec, model_size: Size, threshold: float, *outputs: Array) -> Candidates:
        predictions = outputs[0]
        # No class score is above 1, so what is no object can be no candidate: few rows are left to look through.
        rows, objectness = _select(predictions[:, 4], spec, threshold, most=len(predictions))
        classes = predictions[rows, 5:]
        best_class = classes.argmax(axis=1)
        best = np.take_along_axis(classes, best_class[:, None], axis=1)[:, 0].astype(np.float32)
        scores = objectness * (_sigmoid(best) if spec.apply_sigmoid else best)
        kept = _strongest(scores, threshold, spec.max_candidates)
        rows = rows[kept]
        boxes = _corners(self._boxes(predictions, rows, spec, model_size), spec, model_size)
        return Candidates(boxes, scores[kept], best_class[kept].astype(np.int64))

    def _boxes(self, predictions: Array, rows: NDArray[np.intp], spec: DetectionSpec, model_size: Size) -> Array:
        return predictions[rows, :4]


class Yolox(YoloObjectness):
    """[M, 5 + C] as YOLOX's heads give it: (x + cell) * stride, exp(w) * stride."""

    def classes(self, spec: DetectionSpec, *outputs: Array) -> int | None:
        # All grids together are a multiple of this many cells, whatever the input's size.
        unit = sum((max(spec.strides) // stride) ** 2 for stride in spec.strides)
        return super().classes(spec, *outputs) if len(outputs[0]) % unit == 0 else None

    def _boxes(self, predictions: Array, rows: NDArray[np.intp], spec: DetectionSpec, model_size: Size) -> Array:
        sizes = [(model_size.width // stride, model_size.height // stride) for stride in spec.strides]
        ends = np.cumsum([columns * lines for columns, lines in sizes])
        if ends[-1] != len(predictions):
            raise EngineFailure(
                "The model's grid does not fit its input: its manifest's `strides` or `size` are wrong."
            )
        level = np.searchsorted(ends, rows, side="right")
        columns = np.array([columns for columns, _ in sizes])[level]
        cell = rows - np.concatenate(([0], ends))[level]
        stride = np.array(spec.strides, np.float32)[level][:, None]
        raw = predictions[rows, :4].astype(np.float32)
        centre = (raw[:, :2] + np.stack((cell % columns, cell // columns), axis=1).astype(np.float32)) * stride
        return np.concatenate((centre, np.exp(raw[:, 2:]) * stride), axis=1)


_DECODERS: dict[Decoder, OutputDecoder] = {
    "boxes_scores": BoxesScores(),
    "boxes_scores_labels": BoxesScoresLabels(),
    "yolo": Yolo(),
    "yolo_objectness": YoloObjectness(),
    "yolox": Yolox(),
}


def decoder_for(name: Decoder) -> OutputDecoder:
    """The decoder of that name."""
    return _DECODERS[name]


def _select(
    raw: Array, spec: DetectionSpec, threshold: float, most: int | None = None
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The rows whose score is at least `threshold`, the best `most` of them, and their scores."""
    if np.isnan(raw).any():
        raise EngineFailure("The model's answer for this picture holds scores that are not numbers.")
    scores = _sigmoid(raw) if spec.apply_sigmoid else raw.astype(np.float32, copy=False)
    rows = _strongest(scores, threshold, spec.max_candidates if most is None else most)
    return rows, scores[rows]


def _strongest(scores: NDArray[np.float32], threshold: float, most: int) -> NDArray[np.intp]:
    rows = np.flatnonzero(scores >= threshold)
    if len(rows) > most:
        rows = np.sort(rows[np.argpartition(-scores[rows], most)[:most]])
    return rows


def _sigmoid(logits: Array) -> NDArray[np.float32]:
    """By tanh, which does not overflow as 1 / (1 + exp(-x)) does."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits.astype(np.float32))), np.float32)


def _corners(boxes: Array, spec: DetectionSpec, model_size: Size) -> NDArray[np.float32]:
    """Boxes [n, 4] in any of the formats to x0, y0, x1, y1 in the model's pixels."""
    boxes = boxes.astype(np.float32)
    first, second = boxes[:, :2], boxes[:, 2:]
    if spec.box_format == "yxyx":
        first, second = first[:, ::-1], second[:, ::-1]
    elif spec.box_format == "xywh":
        second = first + second
    elif spec.box_format == "cxcywh":
        first, second = first - second / 2, first + second / 2
    corners = np.concatenate((first, second), axis=1)
    if spec.coordinates == "normalized":
        corners *= np.array(model_size * 2, np.float32)
    return corners
