"""Encoded bytes to upright RGB pixels.

OpenCV decodes all three formats: it lets go of the GIL, refuses files that are cut short (Pillow does not check the
checksums of a PNG's pixels), and for JPEG it can decode at a half, a quarter or an eighth of the size for little more
than the price of those pixels.
"""

import struct
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from app.errors import InvalidImage
from app.vision.header import ImageHeader, Size, read_header

__all__ = [
    "ImageHeader",
    "Picture",
    "Size",
    "decode",
    "decode_grey",
    "read_header",
    "reduction",
    "specimen",
    "textured_specimens",
]

# The lanes are our parallelism: a pool of threads inside every call would only make them wait for each other.
cv2.setNumThreads(1)
# A damaged upload is answered as an error; OpenCV's own lines about it on stderr would only be noise in the log.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

_DAMAGED = "The picture is damaged or cut short and cannot be decoded. Send the original file."
_RGB = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
_GREY = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION
# The flags named GRAYSCALE are the bare reduction; those named COLOR would ask for BGR as well.
_REDUCED = {
    1: _RGB,
    2: _RGB | cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: _RGB | cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: _RGB | cv2.IMREAD_REDUCED_GRAYSCALE_8,
}
# Encoders write about ten scans. A small file with thousands of them over a large picture keeps a core busy for long.
_MAX_SCANS = 100
_PIXEL_CHUNKS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
# A large PNG has some thousand chunks; a hostile one could be nothing but empty ones.
_MAX_CHUNKS = 100_000


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture.

    `pixels` is uint8 [height, width, 3], RGB and upright, perhaps smaller than the original; `size` is the upright
    original's size. The whole of `pixels` shows the whole of the original.
    """

    pixels: NDArray[np.uint8]
    size: Size


def decode(data: bytes, header: ImageHeader, at_least: Size | None = None) -> Picture:
    """Decode the whole picture: upright, RGB, transparent parts on white, the first frame where there are many.

    A JPEG is decoded at a half, a quarter or an eighth where that still covers `at_least`, the upright size that the
    picture will be resized to. Sixteen bits become eight by scaling.

    Raises `InvalidImage` where the file is damaged or cut short, or the pixels are not of the header's size.
    """
    factor = reduction(header, at_least)
    pixels = _pixels(data, header, _REDUCED[factor])
    _check_size(pixels, header, factor)
    return Picture(np.asarray(_upright(pixels, header.orientation), np.uint8), header.upright)


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


def decode_grey(data: bytes, header: ImageHeader) -> NDArray[np.uint8]:
    """Decode the whole picture as `decode` does, at its full size and in grey: uint8 [height, width], upright.

    A JPEG's colours are never made, which saves two thirds of the time. Raises `InvalidImage` as `decode` does.
    """
    pixels = _pixels(data, header, _GREY)
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    _check_size(pixels, header, 1)
    return np.asarray(_upright(pixels, header.orientation), np.uint8)


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


def _pixels(data: bytes, header: ImageHeader, flags: int) -> MatLike:
    """RGB or, where `flags` ask for it and nothing is transparent, grey; as they are stored, turned or not."""
    if header.progressive and data.count(b"\xff\xda") > _MAX_SCANS:
        raise InvalidImage(f"The JPEG has more than {_MAX_SCANS} scans. Save it again as an ordinary JPEG.")
    if header.format == "PNG":
        data = _bare_png(data)
    if header.transparent:
        return _on_white(_imdecode(data, cv2.IMREAD_UNCHANGED), data)
    return _imdecode(data, flags)


def _check_size(pixels: MatLike, header: ImageHeader, factor: int) -> None:
    height, width = pixels.shape[:2]
    if (width, height) != (-(-header.size.width // factor), -(-header.size.height // factor)):
        raise InvalidImage("The picture's pixels are not of the size that its header says. Send the original file.")


def _imdecode(data: bytes, flags: int) -> MatLike:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise InvalidImage(_DAMAGED) from error
    if pixels is None:
        raise InvalidImage(_DAMAGED)
    return pixels


def _on_white(pixels: MatLike, data: bytes) -> MatLike:
    """Grey [h, w] or BGR(A) [h, w, 3 or 4], of 8 or 16 bits, to RGB of 8 bits on white."""
    clear = _grey_key(pixels, data) if pixels.ndim == 2 else None
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)
    if clear is not None:
        pixels = np.where(clear, np.uint8(255), pixels)
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    if pixels.shape[2] == 3:
        return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    alpha = cv2.cvtColor(cv2.extractChannel(pixels, 3), cv2.COLOR_GRAY2RGB)
    darkness = cv2.bitwise_not(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB))
    return cv2.bitwise_not(cv2.multiply(darkness, alpha, scale=1 / 255))


def _grey_key(pixels: MatLike, png: bytes) -> NDArray[np.bool_] | None:
    """Where a grey PNG has its one transparent value, which OpenCV overlooks (it honours RGB's and palettes')."""
    depth = png[24]
    for kind, start, end in _chunks(png):
        if kind == b"tRNS" and end - start >= 14:
            (key,) = struct.unpack_from(">H", png, start + 8)
            stretch = 255 // ((1 << depth) - 1) if depth < 8 else 1
            return np.asarray(pixels == key * stretch)
    return None


def _bare_png(data: bytes) -> bytes:
    """The file with only the chunks that make its pixels.

    What is left out is hostile ground: animations, and compressed texts and profiles that unpack to megabytes each.
    """
    chunks = _chunks(data)
    if all(kind in _PIXEL_CHUNKS for kind, _, _ in chunks):
        return data
    return data[:8] + b"".join(data[start:end] for kind, start, end in chunks if kind in _PIXEL_CHUNKS)


def _chunks(png: bytes) -> list[tuple[bytes, int, int]]:
    """Every chunk's kind, start and end, up to IEND.

    Raises `InvalidImage` where the file is cut short: for a chunk that claims to be longer than its file, OpenCV 5.0
    first makes that much room, which takes seconds and gigabytes.
    """
    chunks: list[tuple[bytes, int, int]] = []
    position = 8
    while position + 12 <= len(png) and len(chunks) < _MAX_CHUNKS:
        length, kind = struct.unpack_from(">I4s", png, position)
        end = position + length + 12
        if end > len(png):
            break
        chunks.append((kind, position, end))
        if kind == b"IEND":
            return chunks
        position = end
    raise InvalidImage(_DAMAGED)


def _upright(pixels: MatLike, orientation: int) -> MatLike:
    """Undo a stored orientation (CIPA DC-008, tag 0x0112)."""
    if orientation >= 5:
        pixels = cv2.transpose(pixels)
    # What is left after the transpose, as OpenCV counts: 1 left-right, 0 up-down, -1 both.
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)
    return pixels if flip is None else cv2.flip(pixels, flip)
