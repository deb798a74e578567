"""An answer's keypoints and turned boxes, as they are drawn, written and counted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.vision.image import Size
from app.vision.keypoints import SEEN, Keypoints
from app.vision.oriented_boxes import OrientedBoxes
from app.wire.places import Keypoint
from app.wire.prediction import Detection, Prediction

_DECIMALS = 6


def to_keypoints(prediction: Prediction, unit: NDArray[np.float32]) -> Keypoints | None:
    """The keypoints of an answer whose coordinates are in units of so many pixels; None where not every detection has
    the same.
    """
    told = [found.keypoints for found in prediction.detections or [] if found.keypoints is not None]
    names = {tuple(point.name for point in points) for points in told}
    if len(names) != 1 or len(told) < len(prediction.detections or []):
        return None
    points = np.array([[(point.x, point.y) for point in each] for each in told], np.float32) * unit
    scores = np.array([[1 if point.score is None else point.score for point in each] for each in told], np.float32)
    (ordered,) = names
    return Keypoints(points, scores, ordered, _links(prediction, len(ordered)))


def _links(prediction: Prediction, count: int) -> tuple[tuple[int, int], ...]:
    """Those between points that there are."""
    return tuple(pair for pair in prediction.skeleton or () if min(pair) >= 0 and max(pair) < count)


def to_oriented(detections: Sequence[Detection], unit: NDArray[np.float32]) -> OrientedBoxes | None:
    """The turned boxes of an answer, likewise."""
    told = [found.polygon for found in detections if found.polygon is not None]
    if not told or len(told) < len(detections):
        return None
    angles = np.array([found.angle or 0 for found in detections], np.float32)
    return OrientedBoxes(np.array(told, np.float32).reshape(-1, 4, 2) * unit, angles)


def places_in_shares(found: Detection, size: Size) -> dict[str, Any]:
    """Those fields of a detection that hold points, as shares of the picture."""
    changed: dict[str, Any] = {}
    if found.keypoints is not None:
        changed["keypoints"] = [
            point.model_copy(
                update={"x": round(point.x / size.width, _DECIMALS), "y": round(point.y / size.height, _DECIMALS)}
            )
            for point in found.keypoints
        ]
    if found.polygon is not None:
        changed["polygon"] = shares(found.polygon, size)
    return changed


def shares(numbers: Sequence[float], size: Size) -> list[float]:
    """x, y, x, y, … of pixels as shares of the picture."""
    return [round(number / size[place % 2], _DECIMALS) for place, number in enumerate(numbers)]


def area_of(polygon: Sequence[float]) -> float:
    """In square pixels, of x1, y1, … of corners in their order."""
    x, y = np.array(polygon, np.float64).reshape(-1, 2).T
    return round(float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2), 2)


def is_seen(point: Keypoint) -> bool:
    """Whether it is there rather than guessed."""
    return point.score is None or point.score >= SEEN
