"""Array type names used throughout the package, and the class list."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

Colour = tuple[float, float, float]
"""Red, green, blue, each 0 to 255."""

Painter = Callable[[int, int], U8]
"""Given width and height in pixels, returns uint8 [height, width, 3] (RGB) or [height, width, 4] (RGB and opacity)."""

CLASSES = ("carton", "tote", "pallet", "label", "empty_location")
CARTON, TOTE, PALLET, LABEL, EMPTY = range(len(CLASSES))


def to_u8(image: NDArray[np.floating]) -> U8:
    """Rounds to uint8 after clipping to 0 to 255."""
    rounded: U8 = np.clip(image + 0.5, 0, 255).astype(np.uint8)
    return rounded
