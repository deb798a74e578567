"""The pictures that are sent: a model's own examples where it has them, textures made from a seed where not."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.bench.plan import SIZES
from app.vision import image

JPEG_QUALITY = 90
MIXED_SIZES = (
    (320, 240),
    (480, 640),
    (640, 480),
    (800, 600),
    (1024, 768),
    (720, 1280),
    (1280, 720),
    (1600, 1200),
    (1920, 1080),
)
MIXED_FORMATS = {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
_SEED = 20_261_120

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Workload:
    """JPEG pictures of one size. `size` is as `1280x720`, `source` says in words where they come from."""

    size: str
    source: str
    pictures: list[bytes]

    @property
    def mean_kb(self) -> float:
        """Mean size of a picture, in kB."""
        return sum(map(len, self.pictures)) / len(self.pictures) / 1e3


def workloads(model_folder: Path, count: int) -> list[Workload]:
    """Up to `count` pictures of each of `SIZES`.

    They are the model's `examples/*.jpg` of that size; where it has none, its others scaled; where it has none at all,
    textures.
    """
    examples = [path.read_bytes() for path in sorted((model_folder / "examples").glob("*.jpg"))]
    return [_workload(size, examples, count) for size in SIZES]


def mixed(count: int, seed: int = _SEED) -> Iterator[tuple[str, bytes]]:
    """`count` times the media type and bytes of a picture, drawn from many sizes and all formats in a random order."""
    made = [
        (media_type, encode(suffix, texture(width, height, seed + index)))
        for index, (width, height) in enumerate(MIXED_SIZES)
        for suffix, media_type in MIXED_FORMATS.items()
    ]
    random = Random(seed)
    return (random.choice(made) for _ in range(count))


def texture(width: int, height: int, seed: int) -> Pixels:
    """BGR uint8 [height, width, 3]: noise of many scales and boxes of colour, compressing like a photograph."""
    random = np.random.default_rng(seed)
    canvas = np.full((height, width, 3), 118, np.float32)
    for octave in range(2, 9):
        cells = (max(1, height >> octave), max(1, width >> octave), 3)
        noise = random.normal(0, 3.0 * octave, cells).astype(np.float32)
        canvas += cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    for _ in range(40):
        x, y = int(random.integers(0, width)), int(random.integers(0, height))
        corner = (x + int(random.integers(8, width // 5)), y + int(random.integers(8, height // 4)))
        cv2.rectangle(canvas, (x, y), corner, random.uniform(20, 235, 3).tolist(), int(random.choice([-1, 2, 4])))
    canvas += random.normal(0, 2.0, canvas.shape).astype(np.float32)
    return np.clip(canvas, 0, 255).astype(np.uint8)


def _workload(size: tuple[int, int], examples: list[bytes], count: int) -> Workload:
    name = f"{size[0]}x{size[1]}"
    fitting = [data for data in examples if image.read_header(data).size == size]
    if fitting:
        return Workload(name, "the model's examples", fitting[:count])
    if examples:
        scaled = [_scaled(data, size) for data in examples[:count]]
        return Workload(name, f"the model's examples, scaled, JPEG quality {JPEG_QUALITY}", scaled)
    made = [encode(".jpg", texture(*size, seed=_SEED + index)) for index in range(count)]
    return Workload(name, f"generated textures, JPEG quality {JPEG_QUALITY}", made)


def _scaled(data: bytes, size: tuple[int, int]) -> bytes:
    pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    way = cv2.INTER_AREA if pixels.shape[1] > size[0] else cv2.INTER_CUBIC
    return encode(".jpg", cv2.resize(pixels, size, interpolation=way))


def encode(suffix: str, pixels: Any) -> bytes:
    """BGR uint8 [height, width, 3] as `.jpg`, `.png` or `.webp`."""
    options = {
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY],
        ".png": [cv2.IMWRITE_PNG_COMPRESSION, 1],
        ".webp": [cv2.IMWRITE_WEBP_QUALITY, 80],
    }
    _, data = cv2.imencode(suffix, pixels, options[suffix])
    return data.tobytes()
