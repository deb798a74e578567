"""What every decoder of a detector's answers has in common.

All of them choose candidates by score first, and only then look at their boxes: a model scores thousands of places,
and a few dozen of them are worth a second look.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import EngineFailure, InvalidManifest
from app.vision.detection_spec import DetectionSpec, roles_of
from app.vision.image import Size
from app.vision.oriented_boxes import around
from app.vision.oriented_boxes import corners as oriented_corners
from app.vision.tasks import Outputs

Array = NDArray[Any]
Scores = NDArray[np.float32]
Rows = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Boxes float32 [n, 4] as x0, y0, x1, y1 in the model's pixels, scores float32 [n], class ids int64 [n]; `rows` [n]
    are their places among all that the model gives. Where boxes are oriented, `turned` float32 [n, 5] are centre x, y,
    width, height and angle in radians, and `boxes` the upright ones around them.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    rows: NDArray[np.intp]
    turned: NDArray[np.float32] | None = None

    @classmethod
    def of_turned(
        cls, turned: Array, scores: Scores, class_ids: NDArray[np.int64], rows: NDArray[np.intp]
    ) -> "Candidates":
        """Of oriented boxes [n, 5]."""
        turned = turned.astype(np.float32)
        return cls(around(oriented_corners(turned)), scores, class_ids, rows, turned)

    def take(self, rows: NDArray[np.intp]) -> "Candidates":
        """Those rows, in that order."""
        turned = None if self.turned is None else self.turned[rows]
        return Candidates(self.boxes[rows], self.scores[rows], self.class_ids[rows], self.rows[rows], turned)


class Decoder(ABC):
    """Reads a detector's answer. It has no state: one object serves all threads."""

    @abstractmethod
    def check(self, spec: DetectionSpec, outputs: Outputs, labels: int) -> None:
        """Raise `InvalidManifest` where names, shapes or the number of labels do not fit."""

    @abstractmethod
    def decode(self, spec: DetectionSpec, outputs: Outputs, model_size: Size, threshold: float) -> Candidates:
        """The candidates of one picture that score at least `threshold`, the best `max_candidates` of them, unsorted.

        Raises `EngineFailure` where the answer cannot be read, as where scores are not numbers.
        """


class OutputDecoder(Decoder):
    """Reads outputs that are known by their order or, in the manifest, by their names."""

    def check(self, spec: DetectionSpec, outputs: Outputs, labels: int) -> None:
        """See `Decoder.check`."""
        chosen = self.choose(spec, outputs)
        classes = self.classes(spec, *chosen)
        if classes is None:
            roles = zip(roles_of(spec, len(chosen)), chosen, strict=True)
            shapes = ", ".join(f"{role} {list(array.shape)}" for role, array in roles)
            raise InvalidManifest(
                f"decoder: {spec.decoder} does not fit the model's outputs ({shapes}); choose another"
                + self.hint(spec, *chosen)
            )
        if classes > 0 and classes != labels:
            beside = f" (beside the further numbers that extras, {spec.extras}, counts)" if spec.extras else ""
            raise InvalidManifest(
                f"labels: the model scores {classes} classes{beside}, but the manifest lists {labels} labels"
            )
        if not labels:
            raise InvalidManifest("labels: the manifest lists none; name the model's classes in their order")

    def decode(self, spec: DetectionSpec, outputs: Outputs, model_size: Size, threshold: float) -> Candidates:
        """See `Decoder.decode`."""
        return self.candidates(spec, model_size, threshold, *self.choose(spec, outputs))

    def class_count(self, spec: DetectionSpec, outputs: Outputs) -> int | None:
        """How many labels the outputs need, 0 where they do not tell, None where their shapes do not fit; raises
        `InvalidManifest` as `check` does where they are others.
        """
        return self.classes(spec, *self.choose(spec, outputs))

    def extras(self, spec: DetectionSpec, outputs: Outputs, rows: Rows) -> Array:
        """The further numbers [n, extras] of the candidates at these places."""
        table = self.choose(spec, outputs)[0]
        return np.asarray(table[rows, table.shape[1] - spec.extras :], np.float32)

    def count(self, spec: DetectionSpec, outputs: Outputs) -> int:
        """How many candidates there are."""
        return len(self.choose(spec, outputs)[0])

    dimensions: tuple[int, ...] = (2,)
    """How many dimensions each output has; further ones of length 1 before them are left out."""

    def hint(self, spec: DetectionSpec, *outputs: Array) -> str:
        """What else might be meant by outputs that do not fit, as the end of a sentence."""
        return ""

    @abstractmethod
    def classes(self, spec: DetectionSpec, *outputs: Array) -> int | None:
        """How many labels the outputs need, 0 where they do not tell, None where their shapes do not fit."""

    @abstractmethod
    def candidates(self, spec: DetectionSpec, model_size: Size, threshold: float, *outputs: Array) -> Candidates:
        """`decode` on the outputs in their order."""

    def choose(self, spec: DetectionSpec, outputs: Outputs) -> list[Array]:
        """The outputs that are read, in the decoder's order; raises `InvalidManifest` where they are others."""
        names = spec.outputs or tuple(name for name in outputs if name not in spec.others)
        missing = [name for name in names if name not in outputs]
        if missing:
            raise InvalidManifest(f"outputs: the model has no {missing[0]!r}; it has {', '.join(outputs)}")
        roles = roles_of(spec, len(names))
        if len(names) != len(roles):
            raise InvalidManifest(
                f"outputs: {spec.decoder} reads {len(roles)} ({', '.join(roles)}), but the model has "
                f"{len(outputs)} ({', '.join(outputs)}); name in `outputs` those to read, in this order"
            )
        dimensions = (*self.dimensions, *self.dimensions[-1:] * len(names))
        return [_shaped(outputs[name], most) for name, most in zip(names, dimensions, strict=False)]


def _shaped(array: Array, dimensions: int) -> Array:
    while array.ndim > dimensions and array.shape[0] == 1:
        array = array[0]
    return array


def select(raw: Array, spec: DetectionSpec, threshold: float, most: int | None = None) -> tuple[Rows, Scores]:
    """The rows whose score is at least `threshold`, the best `most` of them, and their scores."""
    refuse_nan(raw)
    scores = sigmoid(raw) if spec.apply_sigmoid else raw.astype(np.float32, copy=False)
    rows = strongest(scores, threshold, spec.max_candidates if most is None else most)
    return rows, scores[rows]


def select_classes(table: Array, spec: DetectionSpec, threshold: float) -> tuple[Rows, NDArray[np.int64], Scores]:
    """Rows, classes and scores of the candidates in a table of scores [M, C]: of each its best class or, with
    `multi_label`, all that score enough.
    """
    if spec.multi_label:
        places, kept = select(table.reshape(-1), spec, threshold)
        return places // table.shape[1], places % table.shape[1], kept
    best_class = table.argmax(axis=1)
    rows, kept = select(np.take_along_axis(table, best_class[:, None], axis=1)[:, 0], spec, threshold)
    return rows, best_class[rows].astype(np.int64), kept


def refuse_nan(raw: Array) -> None:
    """Raise `EngineFailure` where scores are not numbers."""
    if np.isnan(raw).any():
        raise EngineFailure("The model's answer for this picture holds scores that are not numbers.")


def strongest(scores: Scores, threshold: float, most: int) -> Rows:
    """The rows of the best `most` scores of at least `threshold`, in their order."""
    rows = np.flatnonzero(scores >= threshold)
    if len(rows) > most:
        rows = np.sort(rows[np.argpartition(-scores[rows], most)[:most]])
    return rows


def sigmoid(logits: Array) -> Scores:
    """By tanh, which does not overflow as 1 / (1 + exp(-x)) does."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits.astype(np.float32))), np.float32)


def softmax(logits: Array) -> Scores:
    """Over the last axis."""
    powers = np.exp(logits.astype(np.float32) - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)


def class_numbers(numbers: Array, offset: int) -> NDArray[np.int64]:
    """Class numbers of any type, counted from the first class; raises `EngineFailure` where they are not finite."""
    if not np.isfinite(numbers).all():
        raise EngineFailure("The model's answer for this picture holds class numbers that are not finite.")
    return np.clip(numbers, -(2.0**31), 2.0**31).astype(np.int64) - offset


def corners(boxes: Array, spec: DetectionSpec, model_size: Size) -> NDArray[np.float32]:
    """Boxes [n, 4] in any of the formats to x0, y0, x1, y1 in the model's pixels."""
    boxes = boxes.astype(np.float32)
    first, second = boxes[:, :2], boxes[:, 2:]
    if spec.box_format == "yxyx":
        first, second = first[:, ::-1], second[:, ::-1]
    elif spec.box_format == "xywh":
        second = first + second
    elif spec.box_format == "cxcywh":
        first, second = first - second / 2, first + second / 2
    found = np.concatenate((first, second), axis=1)
    if spec.coordinates == "normalized":
        found *= np.array(model_size * 2, np.float32)
    return found
