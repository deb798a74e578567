"""Painters of what holds the goods: uprights, beams, decks, boards, mesh; and of floors, walls and wrap."""

import cv2
import numpy as np

from models.shelf.training.arrays import F32, U8, Colour, Painter, to_u8
from models.shelf.training.pools import Pools
from models.shelf.training.textures import surface


def upright(colour: Colour, texture: int, seed: int, length: float) -> Painter:
    """A perforated post `length` metres tall; the perforation is one of four shapes."""

    def paint(width: int, height: int) -> U8:
        rng = np.random.default_rng(seed)
        image = surface(rng, texture, colour, (width, height), 0.06)
        pitch, shape = rng.uniform(0.05, 0.1), int(rng.integers(0, 4))
        half = max(1, int(width * 0.1))
        count = int(length / pitch)
        for hole in range(count if shape else 0):
            y = int((hole + 0.5) / count * height)
            tall = max(1, int(height / count * (0.25 if shape == 3 else 0.4)))
            for x in (0.3, 0.7) if shape < 3 else (0.5,):
                column = int(x * width)
                image[y : y + tall, max(column - half, 0) : column + half] *= 0.3
        image[:, : max(1, width // 12)] *= 0.7
        image[:, -max(1, width // 12) :] *= 0.6
        return to_u8(image)

    return paint


def beam(colour: Colour, texture: int, seed: int) -> Painter:
    """A horizontal beam with end connectors, a lip, scratches."""

    def paint(width: int, height: int) -> U8:
        rng = np.random.default_rng(seed)
        image = surface(rng, texture, colour, (width, height), 0.07)
        image *= np.linspace(1.08, 0.82, height, dtype=np.float32)[:, None, None]
        if rng.random() < 0.5:
            image[int(height * 0.45) : int(height * 0.55) + 1] *= 0.7
        ends = max(1, int(width * 0.015))
        for end in (image[:, :ends], image[:, -ends:]):
            end *= rng.uniform(0.6, 1.2)
        for _ in range(int(rng.integers(0, 5))):
            x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
            stop = (int(x + rng.normal(0, width * 0.04)), int(y + rng.normal(0, height * 0.2)))
            cv2.line(image, (x, y), stop, tuple(rng.uniform(60, 220, 3)), 1, cv2.LINE_AA)
        return to_u8(image)

    return paint


def plain(colour: Colour, texture: int, seed: int, strength: float = 0.1) -> Painter:
    """A painted or raw board."""

    def paint(width: int, height: int) -> U8:
        rng = np.random.default_rng(seed)
        return to_u8(surface(rng, texture, colour, (width, height), strength))

    return paint


def mesh(colour: Colour, columns: int, rows: int) -> Painter:
    """Wire mesh: opaque wires, clear openings (RGB and opacity)."""

    def paint(width: int, height: int) -> U8:
        image = np.zeros((height, width, 4), np.uint8)
        image[..., :3] = np.array(colour, np.uint8)
        wire, gap_x, gap_y = 1.2, width / columns, height / rows
        across = np.clip(wire - np.abs((np.arange(width) % gap_x) - gap_x / 2), 0, 1)
        down = np.clip(wire - np.abs((np.arange(height) % gap_y) - gap_y / 2), 0, 1)
        image[..., 3] = np.maximum(across[None], down[:, None]) * 190
        return image

    return paint


def film(seed: int, texture: int) -> Painter:
    """Stretch wrap: a milky film with bright streaks (RGB and opacity)."""

    def paint(width: int, height: int) -> U8:
        rng = np.random.default_rng(seed)
        image = np.full((height, width, 4), 235, np.uint8)
        streaks = surface(rng, texture, (1.0, 1.0, 1.0), (width, height), 0.9)[..., 0] - 1
        opacity = rng.uniform(0.05, 0.2) + np.clip(streaks, 0, 1) * rng.uniform(0.2, 0.5)
        for y in rng.uniform(0, height, 5).astype(int):
            opacity[y : y + max(1, height // 80)] += 0.15
        image[..., 3] = np.clip(opacity, 0, 0.75) * 255
        return image

    return paint


def collage(rng: np.random.Generator, pools: Pools, brightness: float) -> F32:
    """What is seen through the rack: float32 [256, 512, 3], a wall or a dark, blurred jumble of rectangles."""
    base = pools.colour(rng, saturation=(0, 0.35), value=(0.1, 0.9))
    image = surface(rng, pools.texture(rng), base, (512, 256), 0.15)
    if rng.random() < 0.6:
        for _ in range(int(rng.integers(10, 70))):
            x, y = int(rng.integers(0, 512)), int(rng.integers(0, 256))
            w, h = int(rng.uniform(8, 90)), int(rng.uniform(6, 60))
            colour = pools.colour(rng, saturation=(0, 0.6), value=(0.05, 0.8))
            cv2.rectangle(image, (x, y), (x + w, y + h), colour, -1)
        image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(1.0, 4.0))).astype(np.float32)
    elif rng.random() < 0.5:
        for x in range(0, 512, int(rng.integers(12, 60))):
            image[:, x : x + 2] *= 0.75
    darkened: F32 = image * brightness
    return darkened
