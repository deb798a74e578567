"""Encoded bytes to upright RGB pixels."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from app.errors import InvalidImage
from app.vision import codec, eight_bits
from app.vision.eight_bits import FULL_RANGE, Levels
from app.vision.header import ImageHeader, Size, read_header
from app.vision.image_header import GREY_MODES
from app.vision.png_file import bare_png, grey_key

__all__ = [
    "FULL_RANGE",
    "ImageHeader",
    "Levels",
    "Picture",
    "Size",
    "decode",
    "decode_grey",
    "displacement",
    "read_header",
    "reduction",
    "specimen",
    "textured_specimens",
]

_WRONG_SIZE = "The picture's pixels are not of the size that its header says. Send the original file."

GREY_PIXELS = 2**26
"""Most pixels that a JPEG is decoded to in grey; a larger one is decoded at a half, a quarter or an eighth."""

_RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_GREY = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
# The flags named GRAYSCALE are the bare reduction; those named COLOR would ask for BGR as well.
_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
# Encoders write about ten scans. A small file with thousands of them over a large picture keeps a core busy for long.
_MAX_SCANS = 100
_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
"""What is left of an orientation after the transpose, as OpenCV counts: 1 left-right, 0 up-down, -1 both."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture.

    `pixels` is uint8 [height, width, 3], RGB (4: RGBA; [height, width]: grey) and upright, perhaps smaller than the
    original; `size` is the upright original's size. A point x of the original is at x / `factor` + `offset` in
    `pixels`: a reduced JPEG has whole blocks, so that what its last row and column show may go over the original's
    edge.
    """

    pixels: NDArray[np.uint8]
    size: Size
    factor: int = 1
    offset: tuple[float, float] = (0.0, 0.0)

    def located(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes float32 [n, 4] (x0, y0, x1, y1) in pixels of the original, in those of `pixels`."""
        return np.asarray(boxes / np.float32(self.factor) + np.array(self.offset * 2, np.float32), np.float32)


def decode(
    data: bytes,
    header: ImageHeader,
    at_least: Size | None = None,
    levels: Levels = FULL_RANGE,
    alpha: bool = False,
) -> Picture:
    """Decode the whole picture: upright, RGB, transparent parts on white, the first frame where there are many.

    With `alpha`, a picture with transparent parts is RGBA instead.

    A JPEG is decoded at a half, a quarter or an eighth where that still covers `at_least`, the upright size that the
    picture will be resized to. Of sixteen bits, `levels` are what becomes black and white. At its peak that takes
    `decode_memory.decode_bytes`.

    Raises `InvalidImage` where the file is damaged or cut short, or the pixels are not of the header's size.
    """
    factor = reduction(header, at_least)
    with _of_its_headers_size():
        see_through = alpha and header.transparent
        pixels = _see_through(data, header, levels) if see_through else _colours(data, header, factor, levels)
    return _picture(pixels, header, factor)


def reduction(header: ImageHeader, at_least: Size | None) -> int:
    """The largest factor (1, 2, 4 or 8) by which a JPEG can shrink while decoding and still cover `at_least`.

    The decoded sides are those of the original divided by it, rounded up.
    """
    if at_least is None or header.format != "JPEG":
        return 1
    width, height = header.upright
    for factor in (8, 4, 2):
        # libjpeg rounds up, so these are the sizes that come out.
        if -(-width // factor) >= at_least.width and -(-height // factor) >= at_least.height:
            return factor
    return 1


def grey_reduction(header: ImageHeader) -> int:
    """By which factor `decode_grey` shrinks a picture: 1 up to `GREY_PIXELS`, and for all that is no JPEG."""
    factor = 1
    while header.format == "JPEG" and factor < 8 and header.pixels > GREY_PIXELS * factor**2:
        factor *= 2
    return factor


def decode_grey(data: bytes, header: ImageHeader, levels: Levels = FULL_RANGE) -> Picture:
    """Decode the whole picture as `decode` does, in grey (`pixels` is [height, width]) and at its full size.

    Only a JPEG of more than `GREY_PIXELS` is reduced. A JPEG's colours are never made, which saves two thirds of the
    time. Raises `InvalidImage` as `decode` does.
    """
    factor = grey_reduction(header)
    with _of_its_headers_size():
        if header.transparent:
            pixels = eight_bits.grey_of(_colours(data, header, factor, levels))
        else:
            pixels = _opaque(data, header, factor, levels, _GREY, ())
    return _picture(pixels, header, factor)


def displacement(upright: Size, orientation: int, factor: int) -> tuple[float, float]:
    """Where the upper left corner of a picture of that upright size lies once it is reduced and turned upright.

    Reducing rounds up at the right and at the bottom as the picture is stored; turned, that may be left or top.
    """
    flip = _FLIPS.get(orientation)
    if factor == 1 or flip is None:
        return 0.0, 0.0
    spare_x, spare_y = (-(-side // factor) - side / factor for side in upright)
    return (0.0 if flip == 0 else spare_x), (0.0 if flip == 1 else spare_y)


@cache
def specimen() -> bytes:
    """A picture to try things on: a JPEG of 1280 x 720 pixels, coloured clouds, as long to decode as a photograph."""
    clouds = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    _, encoded = cv2.imencode(".jpg", cv2.resize(clouds, (1280, 720)), (cv2.IMWRITE_JPEG_QUALITY, 85))
    return encoded.tobytes()


def textured_specimens() -> list[bytes]:
    """JPEGs to try decoders on, as cameras give them: smooth with noise, 1280 x 720 and 1920 x 1080 pixels."""
    found = []
    for width, height in ((1280, 720), (1920, 1080)):
        x, y = np.meshgrid(np.arange(width), np.arange(height))
        smooth = np.stack([x * 255 / width, y * 255 / height, 127 + 63 * np.sin(x / 97) + 63 * np.cos(y / 83)], axis=-1)
        noise = np.random.default_rng(width).normal(0, 6, (height, width, 1))
        _, encoded = cv2.imencode(
            ".jpg", np.clip(smooth + noise, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90]
        )
        found.append(encoded.tobytes())
    return found


@contextmanager
def _of_its_headers_size() -> Iterator[None]:
    try:
        yield
    except codec.WrongSize as error:
        raise InvalidImage(_WRONG_SIZE) from error


def _picture(pixels: MatLike, header: ImageHeader, factor: int) -> Picture:
    upright = np.asarray(_upright(pixels, header.orientation), np.uint8)
    return Picture(upright, header.upright, factor, displacement(header.upright, header.orientation, factor))


def _colours(data: bytes, header: ImageHeader, factor: int, levels: Levels) -> MatLike:
    """RGB [height, width, 3], as the picture is stored, turned or not."""
    if not header.transparent:
        return _opaque(data, header, factor, levels, _RGB, (3,))
    if header.mode in GREY_MODES:
        return eight_bits.clear_on_white(_stored(data, header, ()), grey_key(data), levels)
    try:
        return eight_bits.on_white(_stored(data, header, (4,)), levels)
    except codec.WrongSize:  # the header promised transparency, and there is none
        return _opaque(data, header, factor, levels, _RGB, (3,))


def _see_through(data: bytes, header: ImageHeader, levels: Levels) -> MatLike:
    """RGBA [height, width, 4], or RGB where the header promised transparency and there is none."""
    if header.mode in GREY_MODES:
        return eight_bits.grey_with_alpha(_stored(data, header, ()), grey_key(data), levels)
    try:
        return eight_bits.with_alpha(_stored(data, header, (4,)), levels)
    except codec.WrongSize:
        return _opaque(data, header, 1, levels, _RGB, (3,))


def _stored(data: bytes, header: ImageHeader, channels: tuple[int, ...]) -> MatLike:
    """A picture with transparent parts as it is stored: BGRA, or grey, of which OpenCV overlooks the clear value."""
    parts = bare_png(data) if header.format == "PNG" else (data,)
    shape, depth = (header.size.height, header.size.width, *channels), np.uint16 if header.deep else np.uint8
    return codec.decoded(parts, cv2.IMREAD_UNCHANGED, shape, depth)


def _opaque(
    data: bytes, header: ImageHeader, factor: int, levels: Levels, flags: int, channels: tuple[int, ...]
) -> MatLike:
    shape = (-(-header.size.height // factor), -(-header.size.width // factor), *channels)
    if header.format == "JPEG":
        if header.progressive and data.count(b"\xff\xda") > _MAX_SCANS:
            raise InvalidImage(f"The JPEG has more than {_MAX_SCANS} scans. Save it again as an ordinary JPEG.")
        return codec.decoded_jpeg(data, flags | _REDUCED[factor], shape, header.progressive)
    parts = bare_png(data) if header.format == "PNG" else (data,)
    if header.deep and levels != FULL_RANGE:
        deep = codec.decoded(parts, flags | cv2.IMREAD_ANYDEPTH, shape, np.uint16)
        return eight_bits.from_sixteen_bits(deep, levels)
    return codec.decoded(parts, flags, shape)


def _upright(pixels: MatLike, orientation: int) -> MatLike:
    """Undo a stored orientation (CIPA DC-008, tag 0x0112), in place where it is no transpose."""
    if orientation >= 5:
        pixels = cv2.transpose(pixels)
    flip = _FLIPS.get(orientation)
    return pixels if flip is None else cv2.flip(pixels, flip, pixels)
