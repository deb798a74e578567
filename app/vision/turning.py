"""Decoded pictures turned by right angles."""

import numpy as np

from app.vision.header import Size
from app.vision.image import Picture


def turned(picture: Picture, degrees: int) -> Picture:
    """The picture turned clockwise by 0, 90, 180 or 270 degrees, as a view; its `size` is that of what is seen then."""
    for _ in range(degrees // 90 % 4):
        picture = _quarter(picture)
    return picture


def _quarter(picture: Picture) -> Picture:
    """What was the lower edge is the left one then."""
    height = picture.pixels.shape[0]
    below = height - (picture.size.height / picture.factor + picture.offset[1])
    size = Size(picture.size.height, picture.size.width)
    return Picture(np.rot90(picture.pixels, -1), size, picture.factor, (below, picture.offset[0]))
