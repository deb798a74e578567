"""How a picture that is much larger than a model's input is divided into tiles."""

from itertools import product
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.vision.header import Size
from app.vision.region import Region

LEAST_SIDE, LARGEST_SIDE = 32, 16_384
"""Pixels: what is smaller than a tile's least side shows no object whole, and there are too many of them."""


class Tiles(BaseModel):
    """Square tiles of `size` pixels of the upright original, each of which shares at least `overlap` of its side with
    the next; with `whole_too` the whole picture is looked at as well, for what is larger than a tile.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(ge=LEAST_SIDE, le=LARGEST_SIDE)
    overlap: float = Field(0.2, ge=0, lt=1)
    whole_too: bool = True

    def divides(self, area: Size) -> bool:
        """Whether an area of this size has more than one tile."""
        return max(area) > self.size

    def count(self, area: Size) -> int:
        """How many tiles an area of this size has, the whole not among them."""
        return self._along(area.width) * self._along(area.height)

    def of(self, area: Region) -> tuple[Region, ...]:
        """The tiles of an area, row by row, and last the whole of it where that is wanted; none is smaller than the
        others, and they overlap evenly.
        """
        lefts, tops = self._starts(area.size.width), self._starts(area.size.height)
        width, height = min(self.size, area.size.width), min(self.size, area.size.height)
        corners = ((area.left + left, area.top + top) for top, left in product(tops, lefts))
        tiles = tuple(Region(x, y, x + width, y + height) for x, y in corners)
        return (*tiles, area) if self.whole_too else tiles

    def _along(self, side: int) -> int:
        step = max(1, int(self.size * (1 - self.overlap)))
        return 1 + max(0, -(-(side - self.size) // step))

    def _starts(self, side: int) -> list[int]:
        count = self._along(side)
        return [round(index * (side - self.size) / (count - 1)) for index in range(count)] if count > 1 else [0]


TilesWish = Tiles | Literal["none"]
"""What a request says: how to divide its picture, or not to."""
