"""The parts of a scene before it is drawn: solid faces, decals, films, the objects they belong to, free openings."""

from dataclasses import dataclass, field

import numpy as np

from models.shelf.training.arrays import F64, LABEL, Painter
from models.shelf.training.camera import NEAR, Camera
from models.shelf.training.raster import Face


@dataclass(frozen=True, slots=True)
class Thing:
    """Something to detect: class index, its front [4, 3] in metres, and a label's text and format."""

    kind: int
    front: F64
    text: str = ""
    format: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A box: centre of its foot in metres, size (width, height, depth) in metres, yaw in degrees.

    `foot` is the width and depth at the bottom relative to the top (totes taper); `bulge` moves each corner by up to
    that many metres (crushed cartons).
    """

    place: tuple[float, float, float]
    size: tuple[float, float, float]
    yaw: float = 0.0
    foot: float = 1.0

    def corners(self, rng: np.random.Generator, bulge: float = 0.0) -> F64:
        """World corners [2, 2, 2, 3] indexed by right, up, back."""
        sign = np.stack(np.meshgrid([-0.5, 0.5], [0.0, 1.0], [-0.5, 0.5], indexing="ij"), -1)
        local = sign * self.size
        local[:, 0, :, [0, 2]] *= self.foot
        local += rng.uniform(-bulge, bulge, local.shape) if bulge else 0.0
        cos, sin = np.cos(np.radians(self.yaw)), np.sin(np.radians(self.yaw))
        turn = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
        placed: F64 = local @ turn.T + self.place
        return placed


SIDES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "front": ((0, 1, 0), (1, 1, 0), (1, 0, 0), (0, 0, 0)),
    "right": ((1, 1, 0), (1, 1, 1), (1, 0, 1), (1, 0, 0)),
    "left": ((0, 1, 1), (0, 1, 0), (0, 0, 0), (0, 0, 1)),
    "top": ((0, 1, 1), (1, 1, 1), (1, 1, 0), (0, 1, 0)),
    "bottom": ((0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 1)),
}
"""Corner indices (right, up, back) of each side, from the texture's top left clockwise as seen from outside."""


def side(corners: F64, name: str) -> F64:
    """The quad [4, 3] of one side of a block's corners."""
    return np.array([corners[index] for index in SIDES[name]])


def patch(quad: F64, centre: tuple[float, float], size: tuple[float, float], turn: float = 0.0) -> F64:
    """A rectangle [4, 3] lying on a quad: centre as fractions of the quad, size in metres, turned by degrees."""
    right, down = quad[1] - quad[0], quad[3] - quad[0]
    origin = quad[0] + centre[0] * right + centre[1] * down
    unit_right = right / np.linalg.norm(right)
    normal = np.cross(unit_right, down)
    unit_down = np.cross(normal, unit_right)
    unit_down /= np.linalg.norm(unit_down)
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    across = (cos * unit_right + sin * unit_down) * size[0] / 2
    along = (cos * unit_down - sin * unit_right) * size[1] / 2
    return np.array(
        [origin - across - along, origin + across - along, origin + across + along, origin - across + along]
    )


@dataclass(slots=True)
class World:
    """Everything that `camera` may see; `shades` is the light on each side of a block, by its name.

    `openings` and `stocked` are the fronts [4, 3] of the free and of the other locations.
    """

    camera: Camera
    shades: dict[str, float]
    solids: list[Face] = field(default_factory=list)
    decals: list[Face] = field(default_factory=list)
    films: list[Face] = field(default_factory=list)
    things: list[Thing] = field(default_factory=list)
    openings: list[F64] = field(default_factory=list)
    stocked: list[F64] = field(default_factory=list)

    def sees(self, points: F64) -> bool:
        """Whether any of the points' bounding rectangle falls into the picture."""
        pixels, depth = self.camera.project(points)
        if depth.min() < NEAR:
            return False
        low, high = pixels.min(0), pixels.max(0)
        return bool(low[0] < self.camera.width and low[1] < self.camera.height and high.min() > 0)

    def drawn(self) -> tuple[int, int]:
        """How many objects and faces there are so far."""
        return len(self.things), len(self.solids)

    def thing(self, kind: int, front: F64, text: str = "", code: str = "") -> int:
        """Registers an object and returns its id, counted from 1."""
        self.things.append(Thing(kind, front, text, code))
        return len(self.things)

    def block(self, corners: F64, painters: dict[str, Painter], owner: int = 0, light: float = 1.0) -> None:
        """Adds a block's sides; `painters` is by side name, with `side` for left and right, `top` also for bottom."""
        if not self.sees(corners.reshape(-1, 3)):
            return
        for name in SIDES:
            fallback = {"left": "side", "right": "side", "bottom": "top"}.get(name, name)
            painter = painters.get(name) or painters.get(fallback)
            if painter is not None:
                self.solids.append(
                    Face(side(corners, name), painter, owner, self.shades[name] * light, name == "front")
                )

    def label(self, quad: F64, paint: Painter, text: str, code: str, light: float = 1.0) -> None:
        """Sticks a label on the world."""
        owner = self.thing(LABEL, quad, text, code)
        self.decals.append(Face(quad, paint, owner, self.shades["front"] * light))
