"""Pictures that the tests of this room make themselves, and the files that hold them."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.vision.image import Picture, Size

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The passes of an interlaced PNG: first column and row, steps across and down."""
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)

STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How Pillow turns an upright picture into what a camera stores with that orientation."""


def photograph(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Something smooth with a little noise, as a camera gives: uint8 [height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([x * 255 / width, y * 255 / height, (np.sin(x / 37) + np.cos(y / 43) + 2) * 63], axis=-1)
    noise = np.random.default_rng(seed).normal(0, 3, smooth.shape)
    return np.clip(smooth + noise, 0, 255).astype(np.uint8)


def file_of(image: Image.Image | NDArray[Any], kind: str, **options: Any) -> bytes:
    """A picture as Pillow stores it."""
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    """EXIF that holds an orientation and nothing else."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def chunk(kind: bytes, content: bytes) -> bytes:
    """One PNG chunk."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(size: tuple[int, int], depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG of raw rows (each begins with its filter byte), for the kinds that Pillow cannot write."""
    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def picture_of(pixels: NDArray[np.uint8]) -> Picture:
    """Pixels as a picture in its original size."""
    return Picture(pixels, Size(pixels.shape[1], pixels.shape[0]))


def png_of(pixels: NDArray[Any], extra: bytes = b"", interlaced: bool = False) -> bytes:
    """A PNG of 8 or 16 bits of [h, w] or [h, w, 2 to 4], for the kinds that Pillow cannot write."""
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    depth, colour = 8 * pixels.itemsize, {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = b"".join(_rows(pixels[top::down, left::across]) for left, top, across, down in passes)
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], depth, colour, 0, 0, interlaced)
    body = chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows, 0)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _rows(pixels: NDArray[Any]) -> bytes:
    stored = np.ascontiguousarray(pixels.astype(pixels.dtype.newbyteorder(">")))
    if not stored.size:
        return b""
    rows = stored.view(np.uint8).reshape(len(stored), -1)
    return np.concatenate([np.zeros((len(rows), 1), np.uint8), rows], axis=1).tobytes()
