"""Disjoint pools of seeds, colours, textures and rack geometries for training, validation and test.

Every continuous parameter is drawn from a fine lattice whose cells are dealt to one split each by a hash; a draw that
lands in a cell of another split is drawn again. Two splits therefore never share a colour cell, a texture or a rack
geometry, while each still covers the whole range.
"""

import colorsys
import zlib
from typing import Literal, get_args

import numpy as np

from models.shelf.training.arrays import Colour

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
TEXTURES = 512
_DEAL: tuple[Split, ...] = ("train", "train", "train", "train", "train", "train", "val", "test")


def split_of(*cell: object) -> Split:
    """The split that owns a cell of a parameter lattice (stable across processes and versions of Python)."""
    return _DEAL[zlib.crc32(repr(cell).encode()) % len(_DEAL)]


def colour_cell(colour: Colour) -> tuple[str, int, int, int]:
    """Lattice cell of a colour: 12 degrees of hue, 0.14 of saturation and of value; near-greys share one hue."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
    cell_s = int(saturation / 0.14)
    return ("colour", int(hue * 30) if cell_s else 0, cell_s, int(value / 0.14))


class Pools:
    """The parameter pools of one split."""

    def __init__(self, split: Split) -> None:
        self.split: Split = split

    def rng(self, seed: int) -> np.random.Generator:
        """The generator of scene number `seed` of this split; streams of different splits never coincide."""
        return np.random.default_rng(np.random.SeedSequence([SPLITS.index(self.split), seed]))

    def colour(
        self,
        rng: np.random.Generator,
        hue: tuple[float, float] = (0.0, 1.0),
        saturation: tuple[float, float] = (0.0, 1.0),
        value: tuple[float, float] = (0.0, 1.0),
    ) -> Colour:
        """A colour inside the HSV ranges (each 0 to 1) that belongs to this split; the ranges widen if none does."""
        low = np.array([hue[0], saturation[0], value[0]])
        high = np.array([hue[1], saturation[1], value[1]])
        while True:
            for h, s, v in rng.uniform(low, high, (8, 3)):
                red, green, blue = colorsys.hsv_to_rgb(h % 1.0, min(max(s, 0.0), 1.0), min(max(v, 0.0), 1.0))
                drawn = (red * 255, green * 255, blue * 255)
                if split_of(*colour_cell(drawn)) == self.split:
                    return drawn
            low, high = low - 0.02, high + 0.02

    def geometry(
        self, rng: np.random.Generator, low: tuple[float, ...], high: tuple[float, ...], step: float = 0.05
    ) -> tuple[float, ...]:
        """Lengths in metres on a lattice of `step`, drawn jointly, so that no other split has the same combination."""
        while True:
            cell = tuple(int(value) for value in np.round(rng.uniform(low, high) / step))
            if split_of("geometry", *cell) == self.split:
                return tuple(value * step for value in cell)

    def texture(self, rng: np.random.Generator) -> int:
        """The number of a noise texture that belongs to this split."""
        while True:
            for number in rng.integers(0, TEXTURES, 8):
                if split_of("texture", int(number)) == self.split:
                    return int(number)
