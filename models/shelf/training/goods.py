"""What stands in a location: cartons, totes, pallets with and without load."""

from dataclasses import dataclass

import numpy as np

from models.shelf.training import steel, textures
from models.shelf.training.arrays import CARTON, F64, PALLET, TOTE
from models.shelf.training.labels import label_painter, make_label, sign_painter
from models.shelf.training.pools import Pools
from models.shelf.training.raster import Face
from models.shelf.training.world import Block, World, patch, side


@dataclass(frozen=True, slots=True)
class Bay:
    """The room for goods: left, right, floor and ceiling in metres, and depth; the front is at z = 0."""

    left: float
    right: float
    floor: float
    ceiling: float
    depth: float

    @property
    def width(self) -> float:
        """Width in metres."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height in metres."""
        return self.ceiling - self.floor


class Stocker:
    """Fills bays of one scene; the products in stock are drawn once, so that neighbours often look alike."""

    def __init__(self, world: World, pools: Pools, rng: np.random.Generator) -> None:
        self.world, self.pools, self.rng = world, pools, rng
        self.products = [self._carton_style() for _ in range(int(rng.integers(1, 6)))]
        self.tote_colours = [self.plastic() for _ in range(int(rng.integers(1, 4)))]
        self.tote_style = int(rng.integers(1 << 20))
        self.pallet_colour = self._pallet_colour()
        self.labelled = float(rng.uniform(0.1, 0.85))
        self.quality = float(rng.uniform(0.8, 1.0))

    def _carton_style(self) -> textures.CartonStyle:
        rng, pools = self.rng, self.pools
        if rng.random() < 0.75:
            colour = pools.colour(rng, (0.045, 0.11), (0.22, 0.55), (0.45, 0.86))
        else:
            colour = pools.colour(rng, (0, 1), (0, 0.65), (0.2, 1.0))
        dark = pools.colour(rng, saturation=(0, 0.9), value=(0.05, 0.4))
        vivid = pools.colour(rng, saturation=(0.5, 1.0), value=(0.3, 0.9))
        brown = pools.colour(rng, (0.06, 0.12), (0.2, 0.6), (0.4, 0.9))
        clear = pools.colour(rng, saturation=(0, 0.2), value=(0.6, 1.0))
        return textures.CartonStyle(
            colour=colour,
            texture=pools.texture(rng),
            ink=dark if rng.random() < 0.6 else vivid,
            tape=brown if rng.random() < 0.6 else clear,
            design=int(rng.integers(1 << 30)),
            prints=int(rng.choice([0, 0, 1, 2, 3, 5])),
            taped=bool(rng.random() < 0.7),
        )

    def plastic(self) -> tuple[float, float, float]:
        """A colour for something made of plastic."""
        if self.rng.random() < 0.75:
            return self.pools.colour(self.rng, (0, 1), (0.45, 1.0), (0.25, 0.95))
        return self.pools.colour(self.rng, saturation=(0, 0.12), value=(0.1, 0.8))

    def _pallet_colour(self) -> tuple[float, float, float]:
        if self.rng.random() < 0.7:
            return self.pools.colour(self.rng, (0.06, 0.12), (0.2, 0.55), (0.4, 0.88))
        return self.pools.colour(self.rng, (0, 1), (0.0, 0.85), (0.08, 0.85))

    def seed(self) -> int:
        """A seed for a painter."""
        return int(self.rng.integers(1 << 40))

    def carton(self, block: Block, style: textures.CartonStyle, light: float, bulge: float) -> None:
        """One carton, perhaps with a label on its front."""
        corners = block.corners(self.rng, bulge)
        owner = self.world.thing(CARTON, side(corners, "front"))
        painters = {part: textures.carton(style, self.seed(), part) for part in ("front", "side", "top")}
        self.world.block(corners, painters, owner, light)
        if self.rng.random() < self.labelled:
            self.stick(side(corners, "front"), block.size[:2], light)
        elif self.rng.random() < 0.12:
            self.paper(side(corners, "front"), light)

    def stick(self, front: F64, room: tuple[float, float], light: float, largest: float = 0.34) -> None:
        """A label with a barcode on a front of `room` metres (width, height), if there is room for it."""
        rng = np.random.default_rng(self.seed())
        if not self.world.sees(front):
            return
        label = make_label(rng, self.pools, location=False)
        width = float(np.sqrt(label.aspect) * rng.uniform(0.1, 0.27))
        limit = min(0.8 * room[0] / width, 0.75 * room[1] / (width / label.aspect), largest / width, 1.0)
        width, height = width * limit, width * limit / label.aspect
        if min(width, height) < 0.03:
            return
        reach_x, reach_y = (0.5 - width / room[0] * 0.53), (0.5 - height / room[1] * 0.53)
        centre = 0.5 + rng.uniform(-reach_x, reach_x), 0.5 + rng.uniform(-reach_y, reach_y)
        turn = float(rng.normal(0, 2) if rng.random() < 0.85 else rng.normal(0, 14))
        if rng.random() < 0.08 and max(width, height) < 0.8 * min(room):
            turn, centre = turn + float(rng.choice([90, -90, 180])), (0.5, 0.5)
        quad = patch(front, centre, (width, height), turn)
        self.world.label(
            quad, label_painter(label, int(rng.integers(1 << 40)), self.quality), label.text, label.format, light
        )

    def paper(self, front: F64, light: float) -> None:
        """A sign without a barcode."""
        size = tuple(self.rng.uniform((0.06, 0.05), (0.22, 0.18)))
        centre = tuple(self.rng.uniform(0.25, 0.75, 2))
        quad = patch(front, centre, size, float(self.rng.normal(0, 4)))
        painter = sign_painter(self.rng, self.pools, self.seed())
        self.world.decals.append(Face(quad, painter, 0, self.world.shades["front"] * light))

    def row(self, bay: Bay, light: float) -> None:
        """Cartons standing on the floor of the bay, side by side, some stacked, some askew, a second row behind."""
        rng = self.rng
        x = bay.left + rng.uniform(0, 0.06)
        style = self.products[rng.integers(len(self.products))]
        while x < bay.right - 0.12:
            if rng.random() < 0.5:
                style = self.products[rng.integers(len(self.products))]
            width = min(float(rng.uniform(0.15, 0.6)), bay.right - x)
            height = float(min(rng.uniform(0.12, 0.5), bay.height * 0.92))
            depth = float(min(rng.uniform(0.2, 0.6), bay.depth * 0.95))
            front = float(rng.uniform(0, 0.3) * (bay.depth - depth))
            loose = float(rng.normal(0, 6)) if rng.random() < 0.25 else 0.0
            bulge = float(rng.uniform(0.004, 0.02)) if rng.random() < 0.2 else 0.0
            levels = min(int(rng.integers(1, 5)), int(bay.height * 0.95 // height))
            for level in range(max(1, levels)):
                shift = float(rng.normal(0, 0.012)) if level else 0.0
                place = (x + width / 2 + shift, bay.floor + level * height, front + depth / 2 + shift)
                turn = loose + float(rng.normal(0, 1))
                self.carton(Block(place, (width, height, depth), turn), style, light, bulge)
            x += width + float(rng.choice([0.005, 0.02, 0.08, 0.3], p=[0.5, 0.25, 0.15, 0.1]))

    def load(self, bay: Bay, light: float) -> None:
        """A pallet with a stack of cartons (or totes), perhaps wrapped, perhaps incomplete at the top."""
        rng = self.rng
        width, depth = (
            min(float(rng.uniform(0.8, 1.25)), bay.width * 0.97),
            min(float(rng.uniform(0.8, 1.2)), bay.depth),
        )
        middle = (bay.left + bay.right) / 2 + float(rng.uniform(-0.5, 0.5)) * (bay.width - width)
        front = float(rng.uniform(-0.08, 0.1))
        top = self.pallet(middle, bay.floor, front, (width, depth), light)
        columns, height = int(rng.integers(1, 5)), float(rng.uniform(0.14, 0.5))
        room = bay.ceiling - top - 0.04
        height = min(height, room)
        layers = min(int(rng.integers(1, 7)), int(room // height))
        if height < 0.1 or layers < 1:
            return
        style = self.products[rng.integers(len(self.products))]
        as_totes, rows = rng.random() < 0.15, int(rng.integers(1, 4))
        inset = float(rng.uniform(-0.02, 0.04))
        step_x, step_z = (width - 2 * inset) / columns, (depth - 2 * inset) / rows
        colour = self.tote_colours[0]
        for layer in range(layers):
            last = layer == layers - 1 and rng.random() < 0.4
            for column in range(columns):
                if last and rng.random() < 0.4:
                    continue
                for row in range(rows if layer >= layers - 2 else 1):
                    spot = np.array([(column + 0.5) * step_x - width / 2 + inset, (row + 0.5) * step_z + inset])
                    spot += rng.normal(0, 0.006, 2)
                    place = (middle + float(spot[0]), top + layer * height, front + float(spot[1]))
                    size = (step_x * 0.985, height * 0.99, step_z * 0.985)
                    if as_totes:
                        self.tote(Block(place, size, 0.0, 0.95), colour, light)
                    else:
                        self.carton(Block(place, size, float(rng.normal(0, 0.7))), style, light, 0.002)
        box = Block((middle, top, front + depth / 2), (width + 0.01, layers * height, depth + 0.01)).corners(rng)
        if rng.random() < 0.3:
            wrap = steel.film(self.seed(), self.pools.texture(rng))
            self.world.films.extend(Face(side(box, name), wrap) for name in ("front", "left", "right"))
        if rng.random() < 0.25:
            self.stick(side(box, "front"), (width, layers * height), light, largest=0.25)

    def pallet(self, x: float, y: float, front: float, size: tuple[float, float], light: float) -> float:
        """One pallet; returns the height of its deck."""
        rng = self.rng
        height = float(rng.uniform(0.11, 0.17))
        block = Block((x, y, front + size[1] / 2), (size[0], height, size[1]), float(rng.normal(0, 0.8)))
        corners, texture, seed = block.corners(rng), self.pools.texture(rng), self.seed()
        owner = self.world.thing(PALLET, side(corners, "front"))
        painters = {part: textures.pallet(self.pallet_colour, texture, seed, part) for part in ("front", "side", "top")}
        self.world.block(corners, painters, owner, light)
        return y + height

    def pallets(self, bay: Bay, light: float) -> None:
        """Empty pallets, one or a stack."""
        rng = self.rng
        width, depth = min(float(rng.uniform(0.8, 1.2)), bay.width * 0.97), min(float(rng.uniform(0.8, 1.2)), bay.depth)
        middle, deck = (bay.left + bay.right) / 2, bay.floor
        for _ in range(int(rng.choice([1, 1, 1, 2, 3, 5]))):
            if deck > bay.ceiling - 0.2:
                break
            shift = float(rng.normal(0, 0.01))
            deck = self.pallet(middle + shift, deck, float(rng.uniform(-0.05, 0.02)), (width, depth), light)

    def tote(self, block: Block, colour: tuple[float, float, float], light: float) -> None:
        """One tote, perhaps with a label card."""
        corners = block.corners(self.rng)
        owner = self.world.thing(TOTE, side(corners, "front"))
        texture, seed = self.pools.texture(self.rng), self.tote_style * 64 + int(self.rng.integers(64))
        painters = {part: textures.tote(colour, texture, seed, part) for part in ("front", "side", "top")}
        self.world.block(corners, painters, owner, light)
        if self.rng.random() < self.labelled:
            front = patch(side(corners, "front"), (0.5, 0.65), (block.size[0] * 0.85, block.size[1] * 0.55))
            self.stick(front, (block.size[0] * 0.85, block.size[1] * 0.55), light, largest=0.14)

    def totes(self, bay: Bay, light: float) -> None:
        """Totes of one size in a row, some stacked."""
        rng = self.rng
        width = float(min(rng.uniform(0.25, 0.62), bay.width * 0.95))
        height = float(min(rng.uniform(0.12, 0.42), bay.height * 0.9))
        depth = float(min(rng.uniform(0.35, 0.62), bay.depth * 0.95))
        gap, foot = float(rng.uniform(0.005, 0.06)), float(rng.uniform(0.86, 1.0))
        x = bay.left + gap
        while x + width < bay.right:
            levels = int(min(rng.choice([1, 1, 2, 3]), bay.height * 0.98 // height))
            colour = self.tote_colours[rng.integers(len(self.tote_colours))]
            front = float(rng.uniform(0, 0.08))
            for level in range(max(1, levels)):
                place = (x + width / 2, bay.floor + level * height * 0.97, front + depth / 2)
                self.tote(Block(place, (width, height, depth), float(rng.normal(0, 1)), foot), colour, light)
            x += width + gap + (float(rng.uniform(0.1, 0.5)) if rng.random() < 0.1 else 0.0)
