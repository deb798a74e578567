"""Racking: uprights, beams, decks, bays and levels, the locations in them, their labels, and what they hold."""

from dataclasses import dataclass
from functools import partial

import numpy as np

from models.shelf.training import steel
from models.shelf.training.arrays import F64, Colour
from models.shelf.training.clutter import clutter
from models.shelf.training.goods import Bay, Stocker
from models.shelf.training.labels import label_painter, make_label
from models.shelf.training.pools import Pools
from models.shelf.training.raster import Face
from models.shelf.training.world import Block, World, patch, side


@dataclass(frozen=True, slots=True)
class RackPlan:
    """Dimensions in metres and finish of one rack."""

    shelving: bool
    bays: int
    bay_width: float
    levels: tuple[float, ...]
    depth: float
    post: float
    beam: float
    locations: int
    upright_colour: Colour
    beam_colour: Colour
    deck: str
    divided: bool

    @property
    def span(self) -> float:
        """Width of the whole rack."""
        return self.bays * (self.bay_width + self.post) + self.post

    @property
    def top(self) -> float:
        """Height of the highest beam."""
        return self.levels[-1]


def plan_rack(pools: Pools, rng: np.random.Generator) -> RackPlan:
    """Draws pallet racking or shelving; the geometry comes from the split's own pool."""
    shelving = bool(rng.random() < 0.4)
    if shelving:
        width, pitch, depth = pools.geometry(rng, (0.9, 0.35, 0.4), (2.4, 0.8, 0.8))
        first = float(rng.uniform(0.06, 0.3))
        divided = bool(rng.random() < 0.75)  # a shelf that nothing divides is one location
        locations = int(rng.choice([1, 2, 3, 4] if width > 1.3 else [1, 2])) if divided else 1
    else:
        width, pitch, depth = pools.geometry(rng, (1.4, 0.9, 0.9), (3.6, 1.9, 1.25))
        first = float(pitch * rng.uniform(0.8, 1.2))
        locations = max(1, min(3, int(width / 1.15))) if rng.random() < 0.7 else 1
        divided = bool(rng.random() < 0.15)
    count = int(np.ceil(4.2 / pitch))
    levels = tuple(first + pitch * level + float(rng.normal(0, 0.02)) for level in range(count))
    vivid = pools.colour(rng, (0, 1), (0.5, 1.0), (0.3, 1.0))
    grey = pools.colour(rng, saturation=(0, 0.12), value=(0.25, 0.9))
    other = pools.colour(rng, (0, 0.17), (0.6, 1.0), (0.6, 1.0)) if rng.random() < 0.6 else vivid
    return RackPlan(
        shelving=shelving,
        bays=7 if width < 1.6 else 5,
        bay_width=width,
        levels=levels,
        depth=depth,
        post=float(rng.uniform(0.03, 0.06) if shelving else rng.uniform(0.07, 0.13)),
        beam=float(rng.uniform(0.025, 0.07) if shelving else rng.uniform(0.08, 0.16)),
        locations=locations,
        upright_colour=vivid if rng.random() < 0.5 else grey,
        beam_colour=other if rng.random() < 0.75 else grey,
        deck="board" if shelving else str(rng.choice(["none", "mesh", "board", "bars"])),
        divided=divided,
    )


class Builder:
    """Builds one rack with its stock into a world."""

    def __init__(self, world: World, pools: Pools, rng: np.random.Generator, plan: RackPlan) -> None:
        self.world, self.pools, self.rng, self.plan = world, pools, rng, plan
        self.stocker = Stocker(world, pools, rng)
        self.texture = pools.texture(rng)
        self.label_size = float(rng.uniform(0.06, 0.16)), float(rng.uniform(0.82, 0.98))
        self.label_shift = float(rng.uniform(-0.35, 0.35)) if plan.divided and rng.random() < 0.4 else 0.0
        self.mix = rng.dirichlet([1.2, 1.2, 1.8, 1.0, 1.3, 0.25])
        self.tidy = float(rng.uniform(0.4, 0.95))

    def build(self) -> None:
        """Everything, bay by bay."""
        plan = self.plan
        for number in range(plan.bays + 1):
            self._frame(number * (plan.bay_width + plan.post) - plan.span / 2)
        for number in range(plan.bays):
            left = number * (plan.bay_width + plan.post) - plan.span / 2 + plan.post
            self._column(left)

    def _frame(self, left: float) -> None:
        """Front and back posts from floor to top, in pieces a level tall, and the bracing between them."""
        plan, rng = self.plan, self.rng
        height = plan.top + 0.4
        pieces = max(2, int(np.ceil(height / 0.8)))
        paint = steel.upright(plan.upright_colour, self.texture, int(rng.integers(1 << 30)), height / pieces)
        for z in (plan.post / 2, plan.depth - plan.post / 2):
            for piece in range(pieces):
                place = (left + plan.post / 2, piece * height / pieces, z)
                corners = Block(place, (plan.post, height / pieces, plan.post)).corners(rng)
                self.world.block(corners, {"front": paint, "side": paint}, 0, 1.0 if z < plan.depth / 2 else 0.6)
        bar = steel.plain(plan.upright_colour, self.texture, 1)
        for y in np.arange(0.2, plan.top, 0.9):
            middle = (left + plan.post / 2, float(y), plan.depth / 2)
            self.world.block(Block(middle, (0.02, 0.04, plan.depth)).corners(rng), {"side": bar, "top": bar}, 0, 0.7)
        if not plan.shelving and rng.random() < 0.2:
            guard = steel.plain(self.pools.colour(rng, (0.12, 0.17), (0.7, 1), (0.7, 1)), self.texture, 3)
            place = (left + plan.post / 2, 0.0, -0.05)
            self.world.block(Block(place, (plan.post + 0.06, 0.45, 0.1)).corners(rng), {"front": guard, "side": guard})

    def _column(self, left: float) -> None:
        """One bay from the floor up."""
        plan, rng = self.plan, self.rng
        floors = ((0.0,) if plan.levels[0] > 0.5 else ()) + plan.levels[:-1]
        for floor in floors:
            above = min(level for level in plan.levels if level > floor + 0.05)
            if floor > 0.0:
                self._beams(left, floor)
            light = float(rng.uniform(0.85, 1.05))
            for slot in range(plan.locations):
                width = plan.bay_width / plan.locations
                bay = Bay(left + slot * width, left + (slot + 1) * width, floor, above - plan.beam, plan.depth)
                self._location(bay, light, last=slot == plan.locations - 1)
        self._beams(left, plan.levels[-1])

    def _beams(self, left: float, level: float) -> None:
        plan, rng = self.plan, self.rng
        middle = left + plan.bay_width / 2
        paint = steel.beam(plan.beam_colour, self.texture, int(rng.integers(1 << 30)))
        thick = 0.02 if plan.shelving else 0.05
        for z, light in ((thick / 2 - 0.005, 1.0), (plan.depth - thick / 2, 0.6)):
            corners = Block((middle, level - plan.beam, z), (plan.bay_width, plan.beam, thick)).corners(rng)
            self.world.block(corners, {"front": paint, "top": paint}, 0, light)
        if plan.deck == "none":
            return
        board = steel.plain(self.pools.colour(rng, (0.05, 0.14), (0, 0.5), (0.3, 0.9)), self.texture, 5, 0.2)
        if plan.deck == "bars":
            for x in np.linspace(left + 0.2, left + plan.bay_width - 0.2, 4):
                corners = Block((float(x), level - 0.04, plan.depth / 2), (0.05, 0.035, plan.depth)).corners(rng)
                self.world.block(corners, {"side": board, "top": board}, 0, 0.8)
            return
        corners = Block((middle, level - 0.02, plan.depth / 2), (plan.bay_width, 0.015, plan.depth)).corners(rng)
        if plan.deck == "mesh":
            wires = steel.mesh(self.pools.colour(rng, saturation=(0, 0.1), value=(0.4, 0.9)), 40, 16)
            self.world.films.extend(Face(side(corners, name), wires) for name in ("top", "bottom"))
        else:
            self.world.block(corners, {"top": board}, 0, 1.0)

    def _location(self, bay: Bay, light: float, last: bool) -> None:
        """Stock for one location (or none), its divider, its label."""
        rng, plan = self.rng, self.plan
        room = Bay(bay.left + 0.02, bay.right - 0.02, bay.floor, bay.ceiling, bay.depth)
        row, totes, load, pallets, nothing = range(5)
        mix = self.mix.copy()
        if plan.shelving or bay.width < 0.85 or bay.height < 0.5:
            mix[[load, pallets]] = 0.0
        else:
            mix[[row, totes]] *= 0.4
        mix[nothing] = np.clip(mix[nothing], 0.12, 0.5) * mix.sum()
        choice = int(rng.choice(6, p=mix / mix.sum()))
        stocker = self.stocker
        before = self.world.drawn()
        if choice != nothing:
            fill = {row: stocker.row, totes: stocker.totes, load: stocker.load, pallets: stocker.pallets}
            fill.get(choice, partial(clutter, stocker))(room, light)
        free = self.world.drawn() == before  # what was to stand here may have been too large
        (self.world.openings if free else self.world.stocked).append(_opening(bay))
        if bay.floor > 0.0:
            self._sign(bay)
        if not last and plan.divided:
            corners = Block((bay.right, bay.floor, bay.depth / 2), (0.012, bay.height, bay.depth)).corners(rng)
            paint = steel.plain(plan.upright_colour, self.texture, 9)
            self.world.block(corners, {"front": paint, "side": paint}, 0, 0.9)

    def _sign(self, bay: Bay) -> None:
        """The location label on the beam below; missing now and then where there is one location a bay."""
        rng, plan = self.rng, self.plan
        if plan.locations == 1 and rng.random() > self.tidy:
            return
        rng = np.random.default_rng(int(rng.integers(1 << 40)))
        if not self.world.sees(_opening(bay)):
            return
        label = make_label(rng, self.pools, location=True)
        height = min(self.label_size[0], plan.beam * self.label_size[1])
        width = min(height * label.aspect, bay.width * 0.6)
        height = width / label.aspect
        beam = np.array([[bay.left, bay.floor, 0], [bay.right, bay.floor, 0], [bay.right, bay.floor - plan.beam, 0]])
        front = np.concatenate([beam, [[bay.left, bay.floor - plan.beam, 0]]]) - (0, 0, 0.006)
        quad = patch(front, (0.5 + self.label_shift, 0.5), (width, height), float(rng.normal(0, 0.5)))
        paint = label_painter(label, int(rng.integers(1 << 40)), self.stocker.quality)
        self.world.label(quad, paint, label.text, label.format)


def _opening(bay: Bay) -> F64:
    """The front rectangle [4, 3] of a location, clockwise from the top left."""
    corners = [(bay.left, bay.ceiling), (bay.right, bay.ceiling), (bay.right, bay.floor), (bay.left, bay.floor)]
    return np.array([[x, y, 0.0] for x, y in corners])
