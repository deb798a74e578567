"""One call from a seed to a picture with its ground truth."""

from dataclasses import dataclass

import cv2
import numpy as np

from models.shelf.training import steel
from models.shelf.training.arrays import CLASSES, EMPTY, F32, F64, I32, LABEL, U8
from models.shelf.training.camera import NEAR, Camera, random_camera
from models.shelf.training.lighting import background, expose, sense, shade
from models.shelf.training.pools import Pools, Split
from models.shelf.training.rack import Builder, plan_rack
from models.shelf.training.raster import Canvas, Face
from models.shelf.training.world import Block, Thing, World

NETWORK_SIDE = 416
SMALLEST = (8.0, 12.0)
"""Shorter and longer side, in pixels of the 416-pixel input, below which an object is not asked for."""
LEAST_VISIBLE = {**dict.fromkeys(range(len(CLASSES)), 0.5), LABEL: 0.7}
"""Share of an object's front that must be seen for it to be asked for."""
LEAST_WHOLE = 0.75
"""Share of a stocked location that must be within the picture; of what is cut off more, nobody can tell that it is."""


@dataclass(frozen=True, slots=True)
class Truth:
    """One object in a picture: class index, box (x1, y1, x2, y2) in pixels around its visible part.

    `visible` is the share of its front that is seen, 0 to 1. `small` and `hidden` mark what is not asked for; finding
    it is neither right nor wrong. `ident` is its value in the owner, label or opening map; 0 for a location that is
    stocked, but so far outside the picture that it might as well be empty.
    """

    kind: int
    box: tuple[float, float, float, float]
    visible: float
    small: bool
    hidden: bool
    ident: int
    text: str = ""
    format: str = ""

    @property
    def ignore(self) -> bool:
        """Whether it is too small or too hidden to be asked for."""
        return self.small or self.hidden


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture, RGB uint8 [H, W, 3], its objects, and the id maps (int32 [H, W], 0 for none) they were read from."""

    image: U8
    truths: tuple[Truth, ...]
    owner: I32
    label: I32
    opening: I32


def render(split: Split, seed: int, size: tuple[int, int]) -> Scene:
    """Renders scene `seed` of a split at `size` (width, height) in pixels. The same arguments give the same scene."""
    pools = Pools(split)
    rng = pools.rng(seed)
    plan = plan_rack(pools, rng)
    camera = random_camera(rng, size, (-plan.span / 5, plan.span / 5), plan.top)
    world = World(camera, _shades(rng))
    Builder(world, pools, rng, plan).build()
    if rng.random() < 0.15:
        _aisle(world, pools, rng)
    canvas = background(camera, rng, pools, plan.depth)
    for face in sorted(world.solids, key=lambda face: _distance(face, camera)):
        canvas.solid(face)
    openings = _openings(canvas, world.openings)
    for face in (*world.decals, *world.films):
        canvas.decal(face)
    shade(canvas, rng, plan.levels, plan.beam)
    exposed = expose(canvas.image, rng, pools)
    maps: tuple[I32, ...] = (canvas.owner, canvas.label, openings, canvas.front)
    if rng.random() < 0.35:
        exposed, maps = _distort(exposed, maps, float(rng.uniform(-0.12, 0.05)))
    owner, label, opening, front = maps
    truths = _things(camera, world.things, owner, label, front)
    truths += [*_empties(camera, world.openings, opening), *_cut_off(camera, world.stocked)]
    return Scene(sense(exposed, rng), tuple(truths), owner, label, opening)


def _shades(rng: np.random.Generator) -> dict[str, float]:
    """The light on each side of a block."""
    front = float(rng.uniform(0.7, 1.05))
    left, right = rng.uniform(0.45, 1.0, 2)
    return {
        "front": front,
        "left": float(left),
        "right": float(right),
        "top": float(rng.uniform(0.8, 1.25)),
        "bottom": float(rng.uniform(0.2, 0.5)),
    }


def _distance(face: Face, camera: Camera) -> float:
    return float(np.sum((face.corners.mean(0) - camera.position) ** 2))


def _aisle(world: World, pools: Pools, rng: np.random.Generator) -> None:
    """Something in the aisle in front of the rack: a post, a cone, a trolley's frame."""
    x = float(world.camera.position[0] + rng.normal(0, 1.0))
    z = float(world.camera.position[2] * rng.uniform(0.15, 0.5))
    size = tuple(rng.uniform((0.03, 0.3, 0.03), (0.3, 1.6, 0.3)))
    foot = float(rng.uniform(1.0, 2.0))
    painter = steel.plain(pools.colour(rng), pools.texture(rng), int(rng.integers(1 << 30)), 0.2)
    corners = Block((x, 0.0, z), size, float(rng.uniform(-40, 40)), foot).corners(rng)
    world.block(corners, {"front": painter, "side": painter, "top": painter})


def _openings(canvas: Canvas, openings: list[F64]) -> I32:
    """Which free location is seen at each pixel: int32 [H, W], counted from 1; what stands before it hides it."""
    drawn = np.zeros(canvas.owner.shape, np.int32)
    rays = canvas.camera.rays()
    to_front = np.maximum(rays[..., 2], 1e-6) / -canvas.camera.position[2]
    open_here = canvas.inverse_depth <= to_front * 1.003
    for number, quad in enumerate(openings, 1):
        pixels, depth = canvas.camera.project(quad)
        if depth.min() < NEAR:
            continue
        mask = np.zeros(drawn.shape, np.uint8)
        cv2.fillConvexPoly(mask, np.round((np.clip(pixels, -8e3, 8e3) - 0.5) * 16).astype(np.int32), 1, shift=4)
        drawn[(mask > 0) & open_here] = number
    return drawn


def _distort(image: F32, maps: tuple[I32, ...], k: float) -> tuple[F32, tuple[I32, ...]]:
    """Radial lens distortion (barrel for negative `k`) of a picture and its maps."""
    height, width = image.shape[:2]
    x = (np.arange(width, dtype=np.float32) - width / 2) / (width / 2)
    y = (np.arange(height, dtype=np.float32)[:, None] - height / 2) / (width / 2)
    factor = (1 - k * (x**2 + y**2)) / (1 - k * (1 + (height / width) ** 2) if k < 0 else 1)
    at_x = (x * factor * width / 2 + width / 2).astype(np.float32)
    at_y = (y * factor * width / 2 + height / 2).astype(np.float32)
    bent = np.asarray(cv2.remap(image, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
    nearest = np.clip(np.round(at_y), 0, height - 1).astype(int), np.clip(np.round(at_x), 0, width - 1).astype(int)
    return bent, tuple(ids[nearest] for ids in maps)


def _things(camera: Camera, things: list[Thing], owner: I32, label: I32, front: I32) -> list[Truth]:
    """Ground truth of everything that was drawn, from the pixels it owns."""
    boxes = {False: _boxes(owner, len(things)), True: _boxes(label, len(things))}
    fronts = np.bincount(front.ravel(), minlength=len(things) + 1)
    truths = []
    for ident, thing in enumerate(things, 1):
        count, box = boxes[thing.kind == LABEL][ident]
        if count:
            seen = float(count if thing.kind == LABEL else fronts[ident]) / _outline(camera, thing.front)
            truths.append(_truth(camera, thing.kind, box, seen, ident, thing.text, thing.format))
    return truths


def _empties(camera: Camera, openings: list[F64], seen: I32) -> list[Truth]:
    """Ground truth of the free locations."""
    boxes = _boxes(seen, len(openings))
    truths = []
    for ident, quad in enumerate(openings, 1):
        count, box = boxes[ident]
        if count:
            truths.append(_truth(camera, EMPTY, box, count / _outline(camera, quad), ident))
    return truths


def _cut_off(camera: Camera, stocked: list[F64]) -> list[Truth]:
    """Stocked locations of which too little is in the picture to tell that they are."""
    truths = []
    for quad in stocked:
        pixels, depth = camera.project(quad)
        low, high = np.maximum(pixels.min(0), 0), np.minimum(pixels.max(0), (camera.width, camera.height))
        if depth.min() < NEAR or (high <= low).any():
            continue
        frame = np.array([[0, 0], [camera.width, 0], [camera.width, camera.height], [0, camera.height]], np.float32)
        inside, _ = cv2.intersectConvexConvex(pixels.astype(np.float32), frame)
        if inside < LEAST_WHOLE * _outline(camera, quad):
            box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
            truths.append(_truth(camera, EMPTY, box, 0.0, 0))
    return truths


def _boxes(ids: I32, highest: int) -> list[tuple[int, tuple[float, float, float, float]]]:
    """Pixel count and bounding box of each id from 0 to `highest`."""
    rows, columns = np.nonzero(ids)
    found = ids[rows, columns]
    counts = np.bincount(found, minlength=highest + 1)
    low = np.full((2, highest + 1), 1 << 20)
    high = np.zeros((2, highest + 1), int)
    for axis, values in enumerate((columns, rows)):
        np.minimum.at(low[axis], found, values)
        np.maximum.at(high[axis], found, values + 1)
    return [
        (int(counts[i]), (float(low[0, i]), float(low[1, i]), float(high[0, i]), float(high[1, i])))
        for i in range(highest + 1)
    ]


def _outline(camera: Camera, points: F64) -> float:
    """Area in pixels of the projected convex outline, inside the picture or not."""
    pixels, depth = camera.project(points)
    if depth.min() < NEAR:
        return float("inf")
    return max(1.0, float(cv2.contourArea(cv2.convexHull(pixels.astype(np.float32)))))


def _truth(
    camera: Camera,
    kind: int,
    box: tuple[float, float, float, float],
    visible: float,
    ident: int,
    text: str = "",
    code: str = "",
) -> Truth:
    scale = NETWORK_SIDE / max(camera.width, camera.height)
    sides = sorted(((box[2] - box[0]) * scale, (box[3] - box[1]) * scale))
    small = sides[0] < SMALLEST[0] or sides[1] < SMALLEST[1]
    return Truth(kind, box, min(1.0, visible), small, visible < LEAST_VISIBLE[kind], ident, text, code)
