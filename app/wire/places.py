"""A detection's keypoints and its turned box in an answer."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from app.vision.header import Size
from app.vision.keypoints import Keypoints
from app.vision.oriented_boxes import OrientedBoxes

_PIXEL_DECIMALS, _SHARE_DECIMALS, _ANGLE_DECIMALS = 1, 6, 2


class Keypoint(BaseModel):
    """A point of a detection that has a name, such as a joint."""

    name: str
    x: float = Field(description="In `coordinates`.")
    y: float
    score: float | None = Field(description="0 to 1, how sure it is that the point is seen; null where none is told.")


def to_keypoints(found: Keypoints, size: Size | None) -> list[list[dict[str, Any]]]:
    """Of each detection its points in the shape of `Keypoint`: in pixels or, where the picture's size is given, as
    shares of it. Few calls and plain dicts, because this runs on the event loop.
    """
    points = _in_coordinates(found.points, size).tolist()
    scores: list[list[float | None]] = [[None] * len(found.names)] * len(points)
    if found.scores is not None:
        scores = found.scores.astype(float).round(4).tolist()
    return [
        [
            {"name": name, "x": x, "y": y, "score": score}
            for name, (x, y), score in zip(found.names, rows, each, strict=True)
        ]
        for rows, each in zip(points, scores, strict=True)
    ]


def to_polygons(found: OrientedBoxes, size: Size | None) -> list[dict[str, Any]]:
    """Each turned box as fields of a detection: `polygon` x1, y1, … of its corners, and `angle`."""
    polygons = _in_coordinates(found.polygons, size).reshape(-1, 8).tolist()
    angles = found.angles.astype(float).round(_ANGLE_DECIMALS).tolist()
    return [{"polygon": polygon, "angle": angle} for polygon, angle in zip(polygons, angles, strict=True)]


def _in_coordinates(points: NDArray[np.float32], size: Size | None) -> NDArray[np.float64]:
    told = points.astype(np.float64)
    return told.round(_PIXEL_DECIMALS) if size is None else (told / size).round(_SHARE_DECIMALS)
