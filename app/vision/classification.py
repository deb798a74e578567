"""Image classification: one row of scores to the best few labels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from app.errors import EngineFailure, InvalidManifest
from app.vision.class_names import ClassNames
from app.vision.header import Size
from app.vision.preprocessing import Placement
from app.vision.region import Region
from app.vision.tasks import (
    OF_BOXES,
    OF_MAPS,
    OF_VECTORS,
    Grey,
    Options,
    Outputs,
    TaskSpec,
    chosen_output,
    refuse,
)

MULTI_LABEL_THRESHOLD = 0.5
MOST_ANSWERED = 10_000
"""Classes of one answer: as many as a request may ask for."""
_ROUNDING = 1e-3
"""How far a probability may be outside of 0 to 1."""


class ClassificationSpec(TaskSpec):
    """The manifest's section for `task: classification`.

    The outputs are logits of which one class is meant (`softmax`), logits of classes that each may be there by itself
    (`sigmoid`), or probabilities already (neither). A single number without softmax may have two labels: it is the
    second class's. `output` names the output to read, where the graph has several; the best `top_k`
    labels are answered that score at least `score_threshold`.

    With `multi_label` any number of classes may be there, none among them: an answer is all those that score at least
    `score_threshold`, 0.5 where that is not given.
    """

    softmax: bool = True
    sigmoid: bool = False
    multi_label: bool = False
    score_threshold: float = Field(default=0.0, ge=0, le=1)
    top_k: int = Field(default=5, ge=1)
    output: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_of_both(cls, section: Any) -> Any:
        if not isinstance(section, dict):
            return section
        several = {"score_threshold": MULTI_LABEL_THRESHOLD, "top_k": MOST_ANSWERED}
        by_itself = section.get("sigmoid") or section.get("multi_label")
        defaults = {"softmax": False} if by_itself else {}
        return {**defaults, **(several if section.get("multi_label") else {}), **section}

    @model_validator(mode="after")
    def _consistent(self) -> "ClassificationSpec":
        if self.sigmoid and self.softmax:
            raise ValueError("sigmoid: scores are made by one of softmax and sigmoid; set one of them to false")
        if self.multi_label and self.softmax:
            raise ValueError(
                "multi_label: softmax makes classes exclude each other; set softmax to false, and sigmoid to true "
                "where the outputs are logits"
            )
        return self


@dataclass(frozen=True, slots=True)
class Classification:
    """The best labels, best first: `class_ids` int64 [k], `scores` float32 [k] of 0 to 1, `labels` their names.

    With `multi_label` all of them are meant, else the first.
    """

    class_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    labels: tuple[str, ...]
    multi_label: bool = False


class ClassificationTask:
    """Turns a classifier's outputs into a `Classification`."""

    name: ClassVar[str] = "classification"

    def __init__(self, spec: ClassificationSpec, labels: tuple[str, ...]) -> None:
        """`labels` are the names of the classes, in the model's order."""
        self.spec = spec
        self.labels = labels
        self._names = ClassNames(labels)

    def check(self, outputs: Outputs) -> None:
        """Check one picture's output rows at warm-up: [C], or C values with sides of 1 beside them.

        Raises `InvalidManifest` where `output` is missing or ambiguous, or the labels do not fit the classes.
        """
        scores = chosen_output(outputs, self.spec.output)
        if scores.size != max(scores.shape, default=0):
            raise InvalidManifest(
                f"output: the model's has the shape {list(scores.shape)}, but a classifier's is one row of scores; "
                "choose another output or another task"
            )
        if scores.size != len(self.labels) and not self._is_binary(scores.size):
            raise InvalidManifest(
                f"labels: the model scores {scores.size} classes, but the manifest lists {len(self.labels)} labels"
            )
        if self.spec.softmax and scores.size == 1:
            raise InvalidManifest(
                "softmax: the model gives a single number, which softmax makes 1 whatever it is; write `sigmoid: true` "
                "where it is a logit, or `softmax: false` where it is a probability"
            )
        if self.spec.multi_label and not self.spec.sigmoid and not _are_probabilities(scores):
            raise InvalidManifest(
                f"multi_label: the model's scores are {float(scores.min()):.3g} to {float(scores.max()):.3g}, which "
                "are no probabilities; write `sigmoid: true` where they are logits"
            )

    def check_options(self, options: Options) -> None:
        """See `Task.check_options`."""
        refuse(options, OF_BOXES, "the model is a classification, which has no boxes")
        refuse(options, (*OF_VECTORS, *OF_MAPS), "the model is a classification, which gives no vectors and no maps")
        if options.classes is not None:
            self._names.ids(options.classes)

    def finish(self, outputs: Outputs, placement: Placement, options: Options) -> Classification:
        """Decode one picture's scores. A request's `score_threshold` takes the place of the manifest's; its `classes`
        alone are answered, with the scores that they have among all.

        Raises `EngineFailure` where the scores are not finite or, with `multi_label`, are no probabilities.
        """
        scores = chosen_output(outputs, self.spec.output).reshape(-1).astype(np.float32)
        if not np.isfinite(scores).all():
            raise EngineFailure("The model's answer for this picture holds numbers that are not finite.")
        if self.spec.multi_label and not self.spec.sigmoid and not _are_probabilities(scores):
            raise EngineFailure("The model's answer for this picture holds scores that are no probabilities.")
        scores = self._probabilities(scores)
        top_k = self.spec.top_k if options.top_k is None else options.top_k
        threshold = self.spec.score_threshold if options.score_threshold is None else options.score_threshold
        best = np.argsort(-scores, kind="stable")
        if options.classes is not None:
            best = best[np.isin(best, self._names.ids(options.classes))]
        best = best[:top_k]
        best = best[scores[best] >= threshold] if threshold else best
        labels = tuple(self.labels[class_id] for class_id in best.tolist())
        return Classification(best.astype(np.int64), np.clip(scores[best], 0, 1), labels, self.spec.multi_label)

    def refine(self, prediction: Classification, grey: Callable[[], Grey], options: Options) -> Classification:
        """Nothing to look at again."""
        return prediction

    def moved(self, prediction: Classification, region: Region, whole: Size) -> Classification:
        """It has no place."""
        return prediction

    def _is_binary(self, outputs: int) -> bool:
        """Whether a single number stands for two classes."""
        return not self.spec.softmax and (outputs, len(self.labels)) == (1, 2)

    def _probabilities(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.spec.softmax:
            return _softmax(scores)
        shares = _sigmoid(scores) if self.spec.sigmoid else scores
        return np.concatenate((1 - shares, shares)) if self._is_binary(scores.size) else shares


def _are_probabilities(scores: NDArray[Any]) -> bool:
    return not scores.size or bool(scores.min() >= -_ROUNDING and scores.max() <= 1 + _ROUNDING)


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), np.float32)  # 1 / (1 + exp(-x)) would overflow


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max())  # the largest becomes 0, so that nothing overflows
    return np.asarray(powers / powers.sum(), np.float32)
