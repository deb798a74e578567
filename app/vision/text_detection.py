"""Text detection: where a picture's lines of text are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.vision.quads import Quads


@dataclass(frozen=True, slots=True)
class TextDetection:
    """A picture's lines of text in the order they are read.

    `quads` float32 [n, 4, 2] are their corners, clockwise from the top left one of the line, in pixels of the upright
    original; `scores` float32 [n] of 0 to 1.
    """

    quads: Quads
    scores: NDArray[np.float32]
