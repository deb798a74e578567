"""How much memory a picture takes while it is decoded: upper bounds, from its header alone.

`tests/vision/test_decode_memory.py` measures every kind of file against them. Their parts, in bytes for each pixel:
what the decoder writes to (3 for RGB, 4 with transparency, twice that where 16 bits are read), what it keeps beside
that (a progressive JPEG's coefficients, up to 8; a WebP's frames, up to 8), a second picture where it is turned.
"""

from app.vision.code_looks import LARGEST_AGAIN, LARGEST_CROP
from app.vision.codec import FILES_IN_MEMORY, IN_PLACE_BYTES
from app.vision.eight_bits import FULL_RANGE, Levels
from app.vision.image import ImageHeader, Size, grey_reduction, reduction
from app.vision.image_header import GREY_MODES

WORST_BYTES_PER_PIXEL = 13
"""No kind of picture takes more for each pixel that its header declares, a constant left out (`worst_bytes`)."""

_BESIDE = 8 << 20
"""Rows, tables and codes' own buffers."""
_THIN = 40 << 20
"""What the coefficients of a JPEG that is one pixel wide come to, whose blocks are mostly edge."""
_FILE_COPIES = 2
"""The file itself, lent to the decoder, and what that reads of it at once."""
_LAID_ON_WHITE = 16
"""Bytes for each pixel of a transparent crop while it is laid on white."""
_SOUGHT, _SOUGHT_AGAIN = 5, 24
"""Bytes for each pixel of a crop in which barcodes are sought, and of one that is also enlarged or turned."""


def decode_bytes(
    header: ImageHeader,
    file_bytes: int,
    at_least: Size | None = None,
    levels: Levels = FULL_RANGE,
    alpha: bool = False,
) -> int:
    """Most bytes that are taken at once while `image.decode`, asked the same, decodes and the result is resized.

    The result and copies of the file are among them; the file itself (`file_bytes`) is not.
    """
    factor = reduction(header, at_least)
    pixels = _decoded_pixels(header, factor)
    channels = 4 if alpha and header.transparent else 3
    written = pixels * (_written(header, levels, 3) + channels - 3)
    upright = channels * pixels if header.orientation >= 5 else written
    decoding = written + _internal(header) + _copied(written)
    turning = written + channels * pixels if header.orientation >= 5 else written
    return max(decoding, turning, upright + pixels) + _FILE_COPIES * file_bytes + _BESIDE


def grey_bytes(header: ImageHeader, file_bytes: int, levels: Levels = FULL_RANGE) -> int:
    """Most bytes that are taken at once while `image.decode_grey` decodes and barcodes are read in the result."""
    pixels = _decoded_pixels(header, grey_reduction(header))
    colours = header.transparent or header.format == "WEBP"
    written = pixels * _written(header, levels, 3 if colours else 1)
    made_grey = pixels if colours and not header.transparent else 0
    decoding = written + _internal(header) + _copied(written) + made_grey
    turned = pixels if header.orientation >= 5 else 0
    return max(decoding, written + max(turned, _sought(pixels))) + _FILE_COPIES * file_bytes + _BESIDE


def crop_grey_bytes(shape: tuple[int, ...]) -> int:
    """Most bytes that are taken at once while `crops.grey` makes a crop of this shape grey (height, width, 3 or 4
    channels), and barcodes are read in the result.
    """
    height, width, channels = shape
    pixels, transparent = height * width, channels == 4
    laying_on_white = _LAID_ON_WHITE * pixels if transparent else pixels
    return max(laying_on_white, pixels + _sought(pixels)) + _BESIDE


def worst_bytes(pixels: int, file_bytes: int) -> int:
    """What no picture of so many pixels and bytes exceeds in `decode_bytes` or `grey_bytes`, whatever its kind."""
    seeking = _SOUGHT_AGAIN * LARGEST_AGAIN + _SOUGHT * LARGEST_CROP
    return max(WORST_BYTES_PER_PIXEL * pixels + _THIN, 9 * pixels + seeking) + _FILE_COPIES * file_bytes + _BESIDE


def _sought(pixels: int) -> int:
    """What looking for barcodes takes beside the picture."""
    return max(_SOUGHT * min(pixels, LARGEST_CROP), _SOUGHT_AGAIN * min(pixels, LARGEST_AGAIN))


def _decoded_pixels(header: ImageHeader, factor: int) -> int:
    width, height = header.size
    return -(-width // factor) * -(-height // factor)


def _written(header: ImageHeader, levels: Levels, channels: int) -> int:
    """Bytes for each pixel of the array that the decoder fills."""
    depth = 2 if header.deep and (header.transparent or levels != FULL_RANGE) else 1
    if header.transparent and header.mode in GREY_MODES:
        return depth + 3
    return depth * (4 if header.transparent else channels)


def _internal(header: ImageHeader) -> int:
    """What the decoder keeps beside that."""
    if header.format == "WEBP":
        return header.pixels // 2 if header.plain else 8 * header.pixels
    return header.coefficient_bytes


def _copied(written: int) -> int:
    """OpenCV's own array, where it does not decode into ours."""
    return written if written < IN_PLACE_BYTES or not FILES_IN_MEMORY else 0
