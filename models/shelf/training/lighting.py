"""Background (floor, wall), the light inside the rack, and what a cheap camera does to a picture."""

import cv2
import numpy as np

from models.shelf.training.arrays import F32, U8, to_u8
from models.shelf.training.camera import Camera
from models.shelf.training.jpeg import decode, encode
from models.shelf.training.pools import Pools
from models.shelf.training.raster import Canvas
from models.shelf.training.steel import collage
from models.shelf.training.textures import tile


def background(camera: Camera, rng: np.random.Generator, pools: Pools, depth: float) -> Canvas:
    """A canvas with a floor and a wall or a neighbouring aisle `depth` or more metres behind the rack's front."""
    rays = camera.rays().astype(np.float32)
    behind = depth + float(rng.choice([0.05, 0.3, 1.5]))
    with np.errstate(divide="ignore", invalid="ignore"):
        to_floor = np.where(rays[..., 1] < -1e-4, -camera.position[1] / rays[..., 1], np.inf)
        to_wall = np.where(rays[..., 2] > 1e-3, (behind - camera.position[2]) / rays[..., 2], np.inf)
    distance = np.minimum(np.minimum(to_floor, to_wall), 60.0).astype(np.float32)
    points = camera.position.astype(np.float32) + distance[..., None] * rays
    wall = collage(rng, pools, float(rng.uniform(0.25, 1.0)))
    scale = float(rng.uniform(60, 160))
    image = _sample(wall, points[..., 0] * scale, -points[..., 1] * scale)
    colour = np.array(pools.colour(rng, saturation=(0, 0.3), value=(0.2, 0.9)), np.float32)
    concrete = (1 + 0.12 * tile(pools.texture(rng)))[..., None] * colour
    on_floor = to_floor < to_wall
    if rng.random() < 0.4:
        stripe = int(rng.uniform(0, 230))
        concrete[stripe : stripe + 14] = pools.colour(rng, (0.1, 0.17), (0.6, 1), (0.6, 1))
    ground = _sample(cv2.GaussianBlur(concrete, (0, 0), 1.5), points[..., 0] * 70, points[..., 2] * 70)
    image[on_floor] = ground[on_floor]
    canvas = Canvas(camera, to_u8(image))
    canvas.inverse_depth[:] = 1 / distance
    return canvas


def _sample(picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> F32:
    height, width = picture.shape[:2]
    wrapped = np.mod(x, width).astype(np.float32), np.mod(y, height).astype(np.float32)
    sampled = cv2.remap(picture.astype(np.float32), *wrapped, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return np.asarray(sampled, np.float32)


def shade(canvas: Canvas, rng: np.random.Generator, levels: tuple[float, ...], beam: float) -> None:
    """Darkens the picture into the rack: with depth, and where the level above keeps the ceiling lamps out."""
    camera = canvas.camera
    rays = camera.rays().astype(np.float32)
    distance = 1 / np.maximum(canvas.inverse_depth, 1e-3)
    y = camera.position[1] + distance * rays[..., 1]
    z = np.maximum(camera.position[2] + distance * rays[..., 2], 0)
    light = np.exp(-z * float(rng.uniform(0.0, 0.55))).astype(np.float32)
    if rng.random() < 0.75:
        ceilings = np.array([*levels, levels[-1] + 10.0], np.float32)
        above = ceilings[np.minimum(np.searchsorted(ceilings, y + 0.03), len(levels))] - beam
        reach = y + z * float(rng.uniform(0.3, 1.4)) - above
        soft = float(rng.uniform(0.02, 0.2))
        light *= 1 - np.clip(reach / soft, 0, 1) * np.clip(z / 0.03, 0, 1) * float(rng.uniform(0.1, 0.55))
    canvas.image[:] = to_u8(canvas.image * light[..., None])


def expose(image: U8, rng: np.random.Generator, pools: Pools) -> F32:
    """Lamps, colour of the light, exposure, contrast, vignette: float32 [H, W, 3], about 0 to 255."""
    height, width = image.shape[:2]
    field = cv2.resize(rng.uniform(-1, 1, (3, 4)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    x = np.linspace(-1, 1, width, dtype=np.float32)
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    cx, cy = rng.uniform(-0.6, 0.6, 2)
    spot = float(rng.uniform(0, 0.7)) if rng.random() < 0.35 else 0.0
    lamp = 1 + field * float(rng.uniform(0, 0.25)) + spot * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) * 2)
    lamp *= 1 - float(rng.uniform(0, 0.35)) * (x**2 + y**2) / 2
    tint = np.array(pools.colour(rng, (0, 1), (0, 0.14), (0.9, 1.0)), np.float32) / 245
    exposed = image.astype(np.float32) * (lamp[..., None] * tint)
    bright = float(np.percentile(exposed[::8, ::8].max(2), 92))
    exposed *= float(
        np.clip(195 * np.exp(rng.normal(0, 0.2)) / max(bright, 1), 0.5, 4)
    )  # a camera meters, more or less
    gamma = float(np.exp(rng.normal(0, 0.12)))
    exposed = 255 * np.power(np.clip(exposed, 0, 400) / 255, gamma, dtype=np.float32)
    if rng.random() < 0.2:
        exposed += (255 - exposed) * float(rng.uniform(0, 0.2))
    return np.asarray(exposed, np.float32)


def sense(exposed: F32, rng: np.random.Generator) -> U8:
    """Focus, motion blur, glare, noise and JPEG, scaled to the picture's width; uint8 [H, W, 3]."""
    width = exposed.shape[1]
    unit = width / 1280
    focus = float(rng.uniform(0.3, 0.7) if rng.random() < 0.8 else rng.uniform(0.9, 2.4)) * max(unit, 0.7)
    exposed = cv2.GaussianBlur(exposed, (0, 0), focus).astype(np.float32)
    if rng.random() < 0.2:
        exposed = _smear(exposed, float(rng.uniform(2, 10)) * unit, float(rng.choice([0, 0, rng.uniform(0, 180)])))
    if rng.random() < 0.2:
        bright = np.clip(exposed - 215, 0, None)
        exposed = exposed + cv2.GaussianBlur(bright, (0, 0), 14 * unit) * 1.5
    grain = float(rng.gamma(1.3, 1.7))
    noise = rng.standard_normal(exposed.shape[:2], np.float32)[..., None] * np.float32(grain)
    colour_noise = rng.standard_normal(exposed.shape, np.float32) * np.float32(grain * 0.5)
    image = to_u8(exposed + (noise + colour_noise) * (0.5 + exposed / 255))
    return decode(encode(image, int(rng.integers(60, 97))))


def _smear(image: F32, length: float, angle: float) -> F32:
    """Motion blur of `length` pixels along `angle` degrees."""
    size = 2 * int(np.ceil(length / 2)) + 1
    kernel = np.zeros((size, size), np.float32)
    reach = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))]) * length / 2
    middle = np.array([size // 2, size // 2])
    start, stop = np.round((middle - reach) * 16).astype(int), np.round((middle + reach) * 16).astype(int)
    cv2.line(kernel, start.tolist(), stop.tolist(), 1.0, 1, cv2.LINE_AA, 4)
    smeared: F32 = cv2.filter2D(image, -1, kernel / max(float(kernel.sum()), 1e-6)).astype(np.float32)
    return smeared
