"""Drawn pictures of many sizes, as JPEG and PNG; without REQUIRE_PARITY a third of them."""

import io
import os
from functools import cache, lru_cache

import cv2
import numpy as np
from PIL import Image

REQUIRED = bool(os.environ.get("REQUIRE_PARITY"))
"""Set by `make test-parity`: every picture is compared, and a family whose package is missing is a failure."""

_SIZES = [
    (300, 300), (301, 477), (640, 480), (480, 640), (641, 427), (416, 416), (1000, 667), (799, 1200), (1024, 300),
    (320, 1280), (1280, 720), (1920, 960), (1601, 901), (2000, 500), (700, 2100), (1333, 1333), (2592, 1944),
    (3001, 1999), (4000, 3000), (3000, 4000),
]  # fmt: skip


_FEW = {0, 1, 4, 7, 9, 11, 12, 14, 17, 18}
"""Small and large, wide and tall, JPEG and PNG by half."""


@cache
def pictures() -> dict[str, bytes]:
    """Files by name: every other one a JPEG."""
    found = {}
    for index, (width, height) in list(enumerate(_SIZES))[:: 1 if REQUIRED else 3]:
        kind = "png" if index % 2 else "jpg"
        found[f"{width}x{height}.{kind}"] = _encoded(drawn(width, height, index), kind)
    return found


@cache
def few_pictures() -> dict[str, bytes]:
    """Half of them, for models that find several things in each."""
    names = list(pictures())
    return pictures() if not REQUIRED else {names[index]: pictures()[names[index]] for index in sorted(_FEW)}


@cache
def pictures_for_masks(pixels: int = 2**20) -> dict[str, bytes]:
    """Those of at most so many pixels. A larger one's masks are coarser, as are many large masks of one."""
    return {name: data for name, data in pictures().items() if np.prod(Image.open(io.BytesIO(data)).size) <= pixels}


@cache
def pages() -> dict[str, bytes]:
    """As many printed pages as there are pictures, of their sizes, for a model that was trained on such."""
    found = {}
    for index, (width, height) in list(enumerate(_SIZES))[:: 1 if REQUIRED else 3]:
        kind = "png" if index % 2 else "jpg"
        found[f"page-{width}x{height}.{kind}"] = _encoded(_page(width, height, index), kind)
    return found


def drawn(width: int, height: int, seed: int) -> np.ndarray:
    """A scene of shapes with soft and hard edges on a shaded ground: uint8 [height, width, 3], RGB."""
    random = np.random.default_rng(seed)
    across, down = np.linspace(0, 1, width)[None], np.linspace(0, 1, height)[:, None]
    ends = random.uniform(40, 215, (3, 3))
    canvas = np.stack([end[0] + (end[1] - end[0]) * across + (end[2] - end[0]) * down for end in ends], axis=-1)
    canvas = np.ascontiguousarray(np.clip(canvas, 0, 255).astype(np.uint8))
    for _ in range(60):
        size = random.uniform(0.02, 0.3, 2) * min(width, height)
        x, y = random.uniform(0, width), random.uniform(0, height)
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        centre, half = (int(x), int(y)), (max(2, int(size[0] / 2)), max(2, int(size[1] / 2)))
        if random.random() < 0.5:
            cv2.ellipse(canvas, centre, half, float(random.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
        else:
            corners = (centre[0] - half[0], centre[1] - half[1]), (centre[0] + half[0], centre[1] + half[1])
            cv2.rectangle(canvas, *corners, colour, -1)
    soft = max(1, min(width, height) // 400) * 2 + 1
    return cv2.GaussianBlur(canvas, (soft, soft), 0)


def _page(width: int, height: int, seed: int) -> np.ndarray:
    """A heading, paragraphs, a picture and a table under each other: uint8 [height, width, 3]."""
    random = np.random.default_rng(seed)
    page, sheet, left = np.full((1200, 900, 3), 250, np.uint8), (width, height), 80
    cv2.putText(page, "A heading of a page", (left, 110), cv2.FONT_HERSHEY_DUPLEX, 1.6, (20, 20, 20), 3, cv2.LINE_AA)
    top = 170
    for part in random.permutation(["text", "text", "figure", "table"]):
        size = 190
        if part == "text":
            for line in range(6):
                words = " ".join("".join(map(chr, random.integers(97, 123, n))) for n in random.integers(2, 9, 11))[:58]
                place = (left, top + 28 + 27 * line)
                cv2.putText(page, words, place, cv2.FONT_HERSHEY_SIMPLEX, 0.62, (40, 40, 40), 1, cv2.LINE_AA)
        elif part == "figure":
            page[top : top + size, left : left + 500] = drawn(500, size, seed)
        else:
            for row in range(6):
                cv2.line(page, (left, top + 36 * row), (left + 720, top + 36 * row), (30, 30, 30), 2)
            for column in range(5):
                cv2.line(page, (left + 180 * column, top), (left + 180 * column, top + 180), (30, 30, 30), 2)
                for row in range(5 * (column < 4)):
                    place = (left + 180 * column + 20, top + 36 * row + 26)
                    value = f"{random.uniform(0, 999):.2f}"
                    cv2.putText(page, value, place, cv2.FONT_HERSHEY_SIMPLEX, 0.6, (40, 40, 40), 1, cv2.LINE_AA)
        top += size + 50
    return cv2.resize(page, sheet, interpolation=cv2.INTER_AREA if height < 1200 else cv2.INTER_CUBIC)


@lru_cache(maxsize=len(_SIZES))
def opened(data: bytes) -> Image.Image:
    """As most families open a picture; not to be changed."""
    return Image.open(io.BytesIO(data)).convert("RGB")


@lru_cache(maxsize=len(_SIZES))
def as_opencv(data: bytes) -> np.ndarray:
    """As `cv2.imread` gives it: BGR; not to be changed."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    image.flags.writeable = False
    return np.asarray(image, np.uint8)


def _encoded(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "png":
        Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    else:
        Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()
