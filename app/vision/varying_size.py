"""Inputs whose size follows the picture's, for graphs that take any."""

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.vision.image import Size


class VaryingSize(BaseModel):
    """The manifest's `input.varying`: the input is as large as the picture wants it, `input.size` at most.

    Sides are multiples of `multiple_of`. With `resize: stretch` the picture keeps its size, but for a longer side of
    more than `most`, which is reduced to that, and a shorter one of less than `least` then, which is enlarged; each
    side is rounded to the nearest multiple (as PP-OCR's detectors want it). With `resize: fit_height` the width is
    rounded up and at least `least` (recognisers of lines).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    multiple_of: int = Field(default=32, ge=1, le=1024)
    least: int = Field(default=32, ge=1, le=4096)
    most: int | None = Field(default=None, ge=1, le=4096)

    def problem(self, largest: Size, resize: Literal["stretch", "fit_height"]) -> str | None:
        """What is wrong with this where `input.size` is `largest`, or None."""
        sides = largest if resize == "stretch" else largest[:1]
        if any(side % self.multiple_of for side in sides):
            return f"size: {list(largest)} is no multiple of varying.multiple_of ({self.multiple_of}); change one"
        if self.most is not None and resize == "fit_height":
            return "varying.most: belongs to resize: stretch; remove it, a line is at most as wide as size says"
        if self.least > min(sides):
            return f"varying.least: {self.least} is more than size: {list(largest)}; lower it or enlarge the size"
        return None

    def area(self, upright: Size, largest: Size) -> Size:
        """The input's size for a picture that is stretched into it."""
        reduced = 1.0 if self.most is None else min(1.0, self.most / max(upright))
        ratio = max(reduced, self.least / min(upright))
        ratio = min(ratio, largest.width / upright.width, largest.height / upright.height)
        sides = (self._nearest(int(side * ratio)) for side in upright)
        return Size(*(min(most, side) for most, side in zip(largest, sides, strict=True)))

    def line(self, upright: Size, largest: Size) -> Size:
        """The input's size for a line of text that fills its height."""
        width = max(self.least, math.ceil(largest.height * upright.width / upright.height))
        return Size(min(largest.width, -(-width // self.multiple_of) * self.multiple_of), largest.height)

    def _nearest(self, length: int) -> int:
        return max(1, round(length / self.multiple_of)) * self.multiple_of
