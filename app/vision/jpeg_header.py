"""A JPEG's header (ITU-T T.81, annex B), read by hand up to its first scan."""

import re
import struct

from app.errors import InvalidImage, UnsupportedImage
from app.vision.exif import orientation_of
from app.vision.image_header import MAX_PARTS, SEND_INSTEAD, ImageHeader, Size

_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_PROGRESSIVE = {0xC2, 0xCA}
_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SERVED = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
"""Baseline, extended and progressive, Huffman or arithmetic: what libjpeg decodes at any size."""
_LOSSLESS = {0xC3, 0xC7, 0xCB, 0xCF}
_BARE = {0x01, *range(0xD0, 0xD8)}
_BLOCK_BYTES = 64 * 2
_MOST_STRAY = 256 * 1024
"""Bytes outside of all segments that are skipped: in 20 MB of them the event loop would look for 70 ms."""


def read_jpeg(data: bytes) -> ImageHeader:
    """The header of a file that begins as a JPEG does.

    Of several EXIF segments the first counts, as in libjpeg's users and Pillow. Raises `UnsupportedImage` for the
    kinds that are not served (lossless, hierarchical, more than 8 bits), `InvalidImage` where the header is damaged,
    and `struct.error` where it ends too early.
    """
    frame, exif, position, stray = None, None, 2, _MOST_STRAY
    for _ in range(MAX_PARTS):
        # As libjpeg does: stray bytes before a marker are skipped.
        found = _MARKER.search(data, position, position + stray)
        if found is None:
            raise InvalidImage(_endless(position + stray < len(data)))
        stray -= found.start() - position
        marker, position = data[found.start() + 1], found.end()
        if marker in _BARE:
            continue
        if marker in (0xDA, 0xD9):  # the scan begins, or the file ends
            break
        (length,) = struct.unpack_from(">H", data, position)
        if marker in _FRAMES and frame is None:
            frame = (marker, position + 2)
        elif marker == 0xE1 and exif is None and data.startswith(b"Exif\0\0", position + 2):
            exif = orientation_of(data[position + 2 : position + length])
        position += max(length, 2)
    if frame is None:
        raise InvalidImage("The JPEG's header has no frame: it is damaged. Send the original file.")
    return _header(data, *frame, position, exif or 1)


def _endless(more: bool) -> str:
    if more:
        return f"The JPEG's header has over {_MOST_STRAY} bytes of nothing: it is damaged. Send the original file."
    return "The JPEG ends inside its header: it is truncated. Send the whole file."


def _header(data: bytes, marker: int, frame: int, scan: int, orientation: int) -> ImageHeader:
    precision, height, width, components = struct.unpack_from(">BHHB", data, frame)
    _refuse_unserved(marker, precision)
    mode = _MODES.get(components)
    if mode is None:
        raise InvalidImage(f"The JPEG's header says {components} colour components: it is damaged.")
    progressive = marker in _PROGRESSIVE
    several = progressive or (scan + 2 < len(data) and data[scan + 2] < components)
    kept = _coefficient_bytes(data, frame, width, height, components) if several else 0
    return ImageHeader("JPEG", Size(width, height), orientation, mode, progressive=progressive, coefficient_bytes=kept)


def _refuse_unserved(marker: int, precision: int) -> None:
    if marker in _LOSSLESS:
        raise UnsupportedImage(
            "This is a lossless JPEG, which is not served. Save it as an ordinary JPEG or, to lose nothing, as PNG."
        )
    if marker not in _SERVED:
        raise UnsupportedImage("This is a hierarchical JPEG, which is not served. Save it as an ordinary JPEG.")
    if precision != 8:
        raise UnsupportedImage(f"This JPEG has {precision} bits a channel; only 8 are served. {SEND_INSTEAD}")


def _coefficient_bytes(data: bytes, frame: int, width: int, height: int, components: int) -> int:
    """What libjpeg keeps of a picture that comes in several scans: two bytes for each coefficient of each block."""
    packed = struct.unpack_from(f"{3 * components}B", data, frame + 6)[1::3]
    sampling = [(max(1, factors >> 4), max(1, factors & 15)) for factors in packed]
    most_across, most_down = (max(sides) for sides in zip(*sampling, strict=True))
    blocks = 0
    for across, down in sampling:
        columns, rows = -(-width * across // (8 * most_across)), -(-height * down // (8 * most_down))
        blocks += -(-columns // across) * across * (-(-rows // down) * down)
    return _BLOCK_BYTES * blocks
