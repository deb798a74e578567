"""Keypoints: places on each of a detector's objects that have names, such as a person's joints."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import EngineFailure, InvalidManifest
from app.vision.decoders.base import Rows, sigmoid
from app.vision.keypoint_spec import KeypointSpec
from app.vision.preprocessing import Placement
from app.vision.tasks import Outputs

Array = NDArray[Any]

SEEN = 0.5
"""A point that scores less is a guess: it is answered, but not drawn, counted or compared."""


@dataclass(frozen=True, slots=True)
class Keypoints:
    """K points for each of n detections: `points` float32 [n, K, 2] as x, y in pixels of the upright original, `scores`
    float32 [n, K] of 0 to 1, or None where the model gives none; `names` of the points, and their `links` by places.
    """

    points: NDArray[np.float32]
    scores: NDArray[np.float32] | None
    names: tuple[str, ...]
    links: tuple[tuple[int, int], ...]

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which of them are there rather than guessed: bool [n, K]."""
        if self.scores is None:
            return np.ones(self.points.shape[:2], bool)
        return self.scores >= SEEN

    def take(self, order: Any) -> "Keypoints":
        """Those detections' points, in that order."""
        return replace(self, points=self.points[order], scores=None if self.scores is None else self.scores[order])


def check(spec: KeypointSpec, outputs: Outputs, candidates: int) -> None:
    """Check one picture's outputs at warm-up, where there are so many candidates.

    Raises `InvalidManifest` where an output that is named is not there, or does not hold the points of each of them.
    """
    for field, name, wanted in (("output", spec.output, "[M, K, 2 or 3]"), ("scores", spec.scores, "[M, K]")):
        if name is None:
            continue
        if name not in outputs:
            raise InvalidManifest(f"keypoints.{field}: the model has no {name!r}; it has {', '.join(outputs)}")
        shape = outputs[name].shape
        right = (candidates, len(spec.names))
        if shape[:2] != right or (shape[2:] not in ((2,), (3,)) if field == "output" else shape[2:] != ()):
            raise InvalidManifest(
                f"keypoints.{field}: {name} is {list(shape)}, but {wanted} is wanted for {candidates} candidates and "
                f"the {len(spec.names)} points of names"
            )


def read(
    spec: KeypointSpec, normalized: bool, outputs: Outputs, extras: Array, rows: Rows, placement: Placement
) -> Keypoints:
    """The points of the candidates at `rows`, whose further numbers are `extras`; `normalized` ones are shares of the
    input. What lies outside of the picture is moved to its edge, as Ultralytics do.

    Raises `EngineFailure` where they are not finite numbers.
    """
    if spec.output is None:
        table = extras.reshape(len(extras), len(spec.names), spec.dimensions).astype(np.float32, copy=False)
        points, scores = table[..., :2], table[..., 2] if spec.dimensions == 3 else None
    else:
        points = outputs[spec.output][rows, :, :2].astype(np.float32)
        scores = None if spec.scores is None else outputs[spec.scores][rows].astype(np.float32)
    if not np.isfinite(points).all() or (scores is not None and np.isnan(scores).any()):
        raise EngineFailure("The model's answer for this picture holds keypoints that are not finite.")
    if scores is not None:
        scores = np.clip(sigmoid(scores) if spec.apply_sigmoid else scores, 0, 1)
    with np.errstate(over="ignore"):  # a point farther away than any number is at the picture's edge
        points = points * np.array(placement.model_size if normalized else (1, 1), np.float32)
        placed = np.clip(placement.points_to_original(points), 0, np.array(placement.size, np.float32))
    return Keypoints(placed, scores, spec.names, spec.links)
