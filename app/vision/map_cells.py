"""Which cells of a dense output show the picture, and none of a letterbox's margins."""

import numpy as np
from numpy.typing import NDArray

from app.vision.preprocessing import Placement

Cells = NDArray[np.intp]


def cells_of_picture(shape: tuple[int, ...], placement: Placement) -> tuple[Cells, Cells]:
    """The rows and columns of an output of this shape (height, width) that show the picture, none of them margins."""
    left, top, right, bottom = placement.visible
    down, across = shape[0] / placement.model_size.height, shape[1] / placement.model_size.width
    return _cells(top * down, bottom * down, shape[0]), _cells(left * across, right * across, shape[1])


def seen_box(placement: Placement) -> tuple[float, float, float, float]:
    """What of the upright original the model has seen: x0, y0, x1, y1 in its pixels."""
    x0, y0, x1, y1 = placement.to_original(np.array([placement.visible], np.float32))[0].tolist()
    return x0, y0, x1, y1


def _cells(start: float, end: float, length: int) -> Cells:
    """The cells, of `length`, that lie under the centres of as many equal parts as fit between `start` and `end`."""
    parts = max(1, round(end - start))
    centres = start + (np.arange(parts) + 0.5) * ((end - start) / parts)
    return np.clip(centres.astype(np.intp), 0, length - 1)
