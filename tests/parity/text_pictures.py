"""Pictures with text: pages of lines drawn with five typefaces, and labels of the bundled model's shelves."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models.shelf.training import scenes
from models.shelf.training.arrays import LABEL

Pixels = NDArray[np.uint8]

_FACES = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSansMono", "DejaVuSerif", "DejaVuSans-Oblique")
_WORDS = "box pallet fragile handle with care net weight kg batch exp 2026 made in Ulm order date: ship to rack aisle"
_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz0123456789"
"""Without I, O, l and o, which nobody can tell from 1 and 0 in all of these typefaces."""
_SIDES = (640, 800, 1000, 1300)
_EXAMPLES = Path(__file__).parents[2] / "models" / "shelf" / "examples"
_WIDEST_LABEL = 40
"""Pixels: what is smaller cannot be read by anybody."""


def page(seed: int, lines: int = 5) -> Pixels:
    """RGB uint8 [height, width, 3]: lines of words, numbers and codes on a bright ground, with noise."""
    rng = np.random.default_rng(seed)
    width, height = (int(side) for side in rng.choice(_SIDES, 2))
    ground = tuple(int(level) for level in rng.integers(200, 256, 3))
    picture = Image.new("RGB", (width, height), ground)
    drawing, top = ImageDraw.Draw(picture), 20
    for _ in range(lines):
        size = int(rng.integers(18, 48))
        ink = tuple(int(level) for level in rng.integers(0, 90, 3))
        drawing.text((int(rng.integers(10, 120)), top), _text(rng), fill=ink, font=_font(rng, size))
        top += size + int(rng.integers(25, 60))
    noisy = np.asarray(picture) + rng.normal(0, float(rng.choice([0, 5, 10])), (height, width, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def labels() -> Iterator[Pixels]:
    """RGB crops around labels, three times as large: those of the example pictures, then of scenes drawn anew."""
    for picture, boxes in _with_labels():
        for left, top, right, bottom in boxes:
            crop = picture[max(0, int(top) - 3) : int(bottom) + 3, max(0, int(left) - 3) : int(right) + 3]
            if right - left >= _WIDEST_LABEL:
                yield np.asarray(cv2.resize(crop, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC), np.uint8)


def _with_labels() -> Iterator[tuple[Pixels, list[tuple[float, ...]]]]:
    told: dict[str, Any] = json.loads((_EXAMPLES / "annotations.json").read_text())
    category = next(each["id"] for each in told["categories"] if each["name"] == "label")
    for image in told["images"]:
        boxes = [
            each["bbox"]
            for each in told["annotations"]
            if (each["image_id"], each["category_id"]) == (image["id"], category)
        ]
        bgr = cv2.imread(str(_EXAMPLES / image["file_name"]))
        assert bgr is not None
        yield np.asarray(bgr[..., ::-1], np.uint8), [(x, y, x + width, y + height) for x, y, width, height in boxes]
    for seed in range(1000):
        scene = scenes.render("test", seed, (1920, 1080))
        yield scene.image, [truth.box for truth in scene.truths if truth.kind == LABEL and not truth.ignore]


def _font(rng: np.random.Generator, size: int) -> ImageFont.FreeTypeFont:
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(folder / f"{rng.choice(_FACES)}.ttf", size)


def _text(rng: np.random.Generator) -> str:
    kind = rng.integers(3)
    if kind == 0:
        return " ".join(rng.choice(_WORDS.split(), rng.integers(1, 6)))
    if kind == 1:
        return "".join(rng.choice(list(_LETTERS), rng.integers(4, 14)))
    return f"{rng.choice(['SKU', 'LOT', 'REF'])}-{rng.integers(10**6):06d}/{rng.integers(100):02d}"
