"""Procedural surfaces: noise textures and the painters of cartons, totes, pallets, steel and boards.

A painter draws at the size in pixels at which its face will be seen, so nothing is minified later and nothing
aliases. All its random choices come from one seed, whatever the size.
"""

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from models.shelf.training.arrays import F32, U8, Colour, Painter, to_u8

_TILE = 256
_WORDS = ["PARTS", "SUPPLY", "NORD", "24", "PCS", "LOT", "THIS", "SIDE", "UP", "HANDLE", "WITH", "CARE"]
_WORDS += ["ROO", "STORE", "ACME", "KG", "BOX", "TYPE", "A2", "MADE", "IN"]
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX)


@functools.lru_cache(maxsize=512)
def tile(number: int) -> F32:
    """Noise texture `number`: float32 [256, 256], mean 0, about -1 to 1, with a grain of its own."""
    rng = np.random.default_rng([7, number])
    stretch = rng.uniform(0, 4) if rng.random() < 0.5 else 1.0
    total = np.zeros((_TILE, _TILE), np.float32)
    for octave in range(1, 8):
        rows = max(2, min(_TILE, int(2**octave * (1 if stretch >= 1 else stretch + 0.3))))
        columns = max(2, min(_TILE, int(2**octave / max(stretch, 1))))
        grid = rng.normal(0, 1, (rows, columns)).astype(np.float32)
        total += cv2.resize(grid, (_TILE, _TILE), interpolation=cv2.INTER_CUBIC) * rng.uniform(0.1, 1) / octave
    total -= total.mean()
    scaled: F32 = total / (2.5 * total.std())
    return scaled


def surface(rng: np.random.Generator, texture: int, colour: Colour, size: tuple[int, int], strength: float) -> F32:
    """A coloured patch float32 [h, w, 3] with a random crop of a noise texture; `size` is (width, height)."""
    crop = int(rng.integers(48, _TILE))
    x, y = rng.integers(0, _TILE - crop, 2)
    noise = cv2.resize(tile(texture)[y : y + crop, x : x + crop], size, interpolation=cv2.INTER_LINEAR)
    patch: F32 = (1 + strength * noise)[..., None] * np.array(colour, np.float32)
    return patch


def _edges(image: F32, dark: float) -> None:
    """Darkens the outline, as worn edges and contact shadows do."""
    height, width = image.shape[:2]
    border = max(1, round(min(width, height) * 0.012))
    for strip in (image[:border], image[-border:], image[:, :border], image[:, -border:]):
        strip *= dark


def _points(rng: np.random.Generator, box: tuple[float, float, float, float], count: int) -> np.ndarray:
    x, y, width, height = box
    return (rng.uniform(0, 1, (count, 2)) * (width, height) + (x, y)).astype(np.int32)


def _print(image: U8, rng: np.random.Generator, ink: Colour) -> None:
    """One printed mark: words, arrows, a logo, a frame or a block of bars; at a random place."""
    height, width = image.shape[:2]
    w, h = width * rng.uniform(0.15, 0.6), height * rng.uniform(0.1, 0.4)
    x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
    kind = rng.integers(0, 6)
    thick = max(1, int(min(width, height) / 70))
    if kind <= 1:
        text = " ".join(rng.choice(_WORDS, rng.integers(1, 4)))
        scale = max(0.12, w / (18 * len(text)))
        font = _FONTS[rng.integers(len(_FONTS))]
        cv2.putText(image, text, (int(x), int(y + h)), font, scale, ink, thick, cv2.LINE_AA)
    elif kind == 2:
        for shift in (0.0, 0.4):
            left = x + shift * h
            arrow = np.array([[left, y + h * 0.4], [left + h * 0.15, y], [left + h * 0.3, y + h * 0.4]], np.int32)
            cv2.fillPoly(image, [arrow], ink, cv2.LINE_AA)
            stem = (int(left + h * 0.15), int(y + h))
            cv2.line(image, stem, (stem[0], int(y + h * 0.3)), ink, max(1, int(h * 0.08)), cv2.LINE_AA)
    elif kind == 3:
        cv2.fillPoly(image, [cv2.convexHull(_points(rng, (x, y, w, h), 6))], ink, cv2.LINE_AA)
    elif kind == 4:
        centre = (int(x + w / 2), int(y + h / 2))
        cv2.circle(image, centre, max(2, int(min(w, h) / 2)), ink, thick if rng.random() < 0.5 else -1, cv2.LINE_AA)
    else:
        cv2.rectangle(image, (int(x), int(y)), (int(x + w), int(y + h)), ink, thick, cv2.LINE_AA)


def _damage(image: F32, rng: np.random.Generator) -> None:
    """A dent, a stain or a tear."""
    height, width = image.shape[:2]
    spread = min(width, height) * rng.uniform(0.1, 0.4)
    x, y = rng.uniform(0, width), rng.uniform(0, height)
    patch = np.zeros((height, width), np.float32)
    shape = cv2.convexHull(_points(rng, (x - spread / 2, y - spread / 2, spread, spread), 6))
    cv2.fillPoly(patch, [shape], 1.0, cv2.LINE_AA)
    if rng.random() < 0.6:
        patch = np.asarray(cv2.GaussianBlur(patch, (0, 0), max(0.8, spread / 6)), np.float32)
    image *= 1 + (patch * rng.uniform(-0.55, 0.3))[..., None]


@dataclass(frozen=True, slots=True)
class CartonStyle:
    """What the cartons of one product share."""

    colour: Colour
    texture: int
    ink: Colour
    tape: Colour
    design: int
    prints: int
    taped: bool


def carton(style: CartonStyle, seed: int, part: str) -> Painter:
    """The painter of one side of a carton; `part` is front, side or top."""

    def paint(width: int, height: int) -> U8:
        rng = np.random.default_rng(seed)
        image = surface(rng, style.texture, style.colour, (width, height), 0.12)
        design = np.random.default_rng([style.design, part == "front"])
        if part != "top":
            printed = to_u8(image)
            for _ in range(style.prints):
                _print(printed, design, style.ink)
            image = printed.astype(np.float32)
        if style.taped:
            _tape(image, style, part)
        if part == "top":
            image[height // 2 : height // 2 + max(1, height // 90)] *= 0.6
        if rng.random() < 0.25:
            _damage(image, rng)
        image *= np.linspace(rng.uniform(0.92, 1.08), rng.uniform(0.86, 1.0), height, dtype=np.float32)[:, None, None]
        _edges(image, float(rng.uniform(0.5, 0.85)))
        return to_u8(image)

    return paint


def _tape(image: F32, style: CartonStyle, part: str) -> None:
    height, width = image.shape[:2]
    tape = np.array(style.tape, np.float32)
    if part == "top":
        half = max(1, int(height * 0.07))
        band = image[height // 2 - half : height // 2 + half]
    elif style.design % 2:
        half = max(1, int(width * 0.06))
        band = image[: int(height * 0.25), width // 2 - half : width // 2 + half]
    else:
        half = max(1, int(height * 0.05))
        band = image[height // 2 - half : height // 2 + half]
    band += (tape - band) * 0.7


def tote(colour: Colour, texture: int, seed: int, part: str) -> Painter:
    """The painter of one side of a plastic tote: rim, ribs, hand hole; `part` top shows the inside."""

    def paint(width: int, height: int) -> U8:
        rng = np.random.default_rng(seed)
        if part == "top":
            return _inside(rng, colour, texture, (width, height))
        image = surface(rng, texture, colour, (width, height), 0.05)
        style = np.random.default_rng(seed // 64)
        rim = max(1, int(height * style.uniform(0.08, 0.2)))
        image[:rim] *= 1.15
        image[rim : rim + max(1, height // 40)] *= 0.55
        for rib in np.linspace(0, width, int(style.integers(2, 9)) + 1)[1:-1]:
            x = int(rib)
            image[rim:, x : x + max(1, width // 60)] *= 1.3
            image[rim:, x + max(1, width // 60) : x + 2 * max(1, width // 60)] *= 0.6
        if style.random() < 0.5:
            image[int(height * 0.85) :] *= 0.85
        if style.random() < 0.75:
            w, h, y = width * style.uniform(0.1, 0.2), height * style.uniform(0.05, 0.11), rim + height * 0.12
            hole = (int(width / 2 - w), int(y)), (int(width / 2 + w), int(y + h))
            cv2.rectangle(image, *hole, tuple(c * 0.25 for c in colour), -1, cv2.LINE_AA)
        if style.random() < 0.4:
            box = (int(width * 0.3), int(height * 0.45)), (int(width * 0.7), int(height * 0.8))
            cv2.rectangle(image, *box, tuple(c * 0.75 for c in colour), max(1, height // 50), cv2.LINE_AA)
        _edges(image, 0.6)
        return to_u8(image)

    return paint


def _inside(rng: np.random.Generator, colour: Colour, texture: int, size: tuple[int, int]) -> U8:
    """The open top of a tote: rim, dark inside, now and then goods."""
    image = surface(rng, texture, colour, size, 0.05)
    border = max(1, int(min(size) * 0.06))
    inner = image[border:-border, border:-border]
    inner *= 0.35
    if rng.random() < 0.6 and inner.size:
        for _ in range(int(rng.integers(2, 9))):
            shape = cv2.convexHull(_points(rng, (border, border, size[0] - 2 * border, size[1] - 2 * border), 4))
            cv2.fillPoly(image, [shape], tuple(rng.uniform(20, 170, 3)), cv2.LINE_AA)
    return to_u8(image)


def pallet(colour: Colour, texture: int, seed: int, part: str) -> Painter:
    """The painter of a pallet's side (boards, three blocks, dark openings) or of its deck."""

    def paint(width: int, height: int) -> U8:
        rng = np.random.default_rng(seed)
        image = surface(rng, texture, colour, (width, height), 0.18)
        if part == "top":
            for edge in np.linspace(0, 1, int(rng.integers(4, 9)) + 1)[1:-1]:
                y = int(edge * height)
                image[y : y + max(1, int(height * 0.04))] *= 0.3
            return to_u8(image)
        block, board = rng.uniform(0.1, 0.17), rng.uniform(0.14, 0.22)
        top, bottom = int(height * board), max(int(height * (1 - rng.choice([board, 0.02]))), 1)
        image[top : top + max(1, height // 14)] *= 0.6
        for left in (block, 0.5 + block / 2):
            right = left + 0.5 - 1.5 * block
            image[top:bottom, int(left * width) : int(right * width)] *= rng.uniform(0.08, 0.35)
        for edge in (block, 0.5 - block / 2, 0.5 + block / 2, 1 - block):
            image[top:bottom, int(edge * width) : int(edge * width) + max(1, width // 150)] *= 0.6
        _edges(image, 0.7)
        return to_u8(image)

    return paint
