"""Image classification: one row of scores to the best few labels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from app.errors import EngineFailure, InvalidManifest
from app.vision.preprocessing import Placement
from app.vision.tasks import Grey, Options, Outputs, TaskSpec, chosen_output


class ClassificationSpec(TaskSpec):
    """The manifest's section for `task: classification`.

    `softmax: false` says that the outputs are probabilities already; `output` names the output to read, where the graph
    has several; `top_k` labels are answered.
    """

    softmax: bool = True
    top_k: int = Field(default=5, ge=1)
    output: str | None = None


@dataclass(frozen=True, slots=True)
class Classification:
    """The best labels, best first: `class_ids` int64 [k], `scores` float32 [k] of 0 to 1, `labels` their names."""

    class_ids: NDArray[np.int64]
    scores: NDArray[np.float32]
    labels: tuple[str, ...]


class ClassificationTask:
    """Turns a classifier's outputs into a `Classification`."""

    name: ClassVar[str] = "classification"

    def __init__(self, spec: ClassificationSpec, labels: tuple[str, ...]) -> None:
        """`labels` are the names of the classes, in the model's order."""
        self.spec = spec
        self.labels = labels

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
        if scores.size != len(self.labels):
            raise InvalidManifest(
                f"labels: the model scores {scores.size} classes, but the manifest lists {len(self.labels)} labels"
            )

    def finish(self, outputs: Outputs, placement: Placement, options: Options) -> Classification:
        """Decode one picture's scores. A request's `score_threshold` drops the labels below it.

        Raises `EngineFailure` where the scores are not finite.
        """
        scores = chosen_output(outputs, self.spec.output).reshape(-1).astype(np.float32)
        if not np.isfinite(scores).all():
            raise EngineFailure("The model's answer for this picture holds numbers that are not finite.")
        if self.spec.softmax:
            scores = _softmax(scores)
        top_k = self.spec.top_k if options.top_k is None else options.top_k
        best = np.argsort(-scores, kind="stable")[:top_k]
        if options.score_threshold is not None:
            best = best[scores[best] >= options.score_threshold]
        labels = tuple(self.labels[class_id] for class_id in best.tolist())
        return Classification(best.astype(np.int64), np.clip(scores[best], 0, 1), labels)

    def refine(self, prediction: Classification, grey: Callable[[], Grey], options: Options) -> Classification:
        """Nothing to look at again."""
        return prediction


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max())  # the largest becomes 0, so that nothing overflows
    return np.asarray(powers / powers.sum(), np.float32)
