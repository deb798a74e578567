"""A part of a picture."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from app.errors import InvalidRequest
from app.vision.header import Size

_DECIMALS = 3
"""Of a pixel: a share of a side is seldom exact, and must not touch one pixel more for that."""


class Region(NamedTuple):
    """A part of an upright picture, in whole pixels of the original: from `left`, `top` to before `right`, `bottom`."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> Size:
        """Its sides in pixels of the original."""
        return Size(self.right - self.left, self.bottom - self.top)

    @property
    def pixels(self) -> int:
        """How many pixels of the original it covers."""
        return self.size.width * self.size.height


def region_of(box: Sequence[float], picture: Size) -> Region | None:
    """The whole pixels that a box (x0, y0, x1, y1) touches, within an upright picture of that size; None where it
    touches none, or is not finite.
    """
    if not all(map(math.isfinite, box)):
        return None
    left, top, right, bottom = box
    region = Region(
        max(0, math.floor(left)),
        max(0, math.floor(top)),
        min(picture.width, math.ceil(right)),
        min(picture.height, math.ceil(bottom)),
    )
    return region if region.right > region.left and region.bottom > region.top else None


def asked_region(asked: tuple[float, float, float, float], normalized: bool, picture: Size) -> Region:
    """What a request means by x, y, width and height, in pixels or as shares, of an upright picture of that size; what
    goes over an edge ends there.

    Raises `InvalidRequest` where nothing of the picture is in it.
    """
    across, down = picture if normalized else (1, 1)
    x, y, width, height = asked
    box = [round(edge, _DECIMALS) for edge in (x * across, y * down, (x + width) * across, (y + height) * down)]
    region = region_of(box, picture)
    if region is None:
        unit = "shares of it" if normalized else "pixels"
        raise InvalidRequest(
            f"The region {','.join(f'{edge:g}' for edge in asked)} (x, y, width, height in {unit}) shows nothing "
            f"of the picture, which is {picture.width} x {picture.height} pixels."
        )
    return region
