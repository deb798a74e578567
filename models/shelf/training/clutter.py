"""Things in a location that belong to no class: drums, sacks, rolls, cones."""

import numpy as np

from models.shelf.training import steel
from models.shelf.training.arrays import Painter
from models.shelf.training.goods import Bay, Stocker
from models.shelf.training.raster import Face
from models.shelf.training.world import World


def clutter(stocker: Stocker, bay: Bay, light: float) -> None:
    """One to three round bodies of any colour."""
    rng = stocker.rng
    for _ in range(int(rng.integers(1, 4))):
        radius = float(min(rng.uniform(0.08, 0.3), bay.width / 2.2))
        height = float(min(rng.uniform(0.15, 0.9), bay.height * 0.9))
        place = (float(rng.uniform(bay.left + radius, bay.right - radius)), bay.floor, float(rng.uniform(0.2, 0.5)))
        colour, texture = stocker.plastic(), stocker.pools.texture(rng)
        painter = steel.plain(colour, texture, stocker.seed(), 0.2)
        lean = float(rng.choice([1.0, 1.0, 0.75, 0.4]))
        _drum(stocker.world, place, (radius, height, lean), painter, light)


def _drum(
    world: World,
    place: tuple[float, float, float],
    shape: tuple[float, float, float],
    painter: Painter,
    light: float,
) -> None:
    """A round body of twelve staves; `shape` is radius, height and the top's radius over the foot's."""
    radius, height, lean = shape
    angles = np.linspace(0, 2 * np.pi, 13)
    ring = np.stack([np.sin(angles), np.zeros(13), -np.cos(angles)], 1) * radius
    middle = np.array([place[0], place[1] + height, place[2]])
    foot, rim = ring + place, ring * lean + middle
    for stave in range(12):
        quad = np.array([rim[stave + 1], rim[stave], foot[stave], foot[stave + 1]])
        bright = 0.55 + 0.45 * float(np.cos(angles[stave] - 0.6))
        world.solids.append(Face(quad, painter, 0, world.shades["front"] * light * bright))
    for stave in range(0, 12, 2):
        quad = np.array([middle, rim[stave], rim[stave + 1], rim[stave + 2]])
        world.solids.append(Face(quad, painter, 0, world.shades["top"] * light))
