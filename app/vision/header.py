"""What a picture's header says, read without decoding a pixel.

The three formats are read by hand, in a few microseconds: the limits on pixels are checked on the answer, so it must
be cheap, must allocate nothing, and must see what the decoder will see. A library's lazy open does more (colour
profiles, thumbnails, multi-picture indexes, decompression-bomb warnings through global state), all on hostile bytes.
"""

import re
import struct

from app.errors import InvalidImage, UnsupportedImage
from app.vision.exif import MAX_EXIF, orientation_of
from app.vision.image_header import MAX_PARTS, MEDIA_TYPES, SEND_INSTEAD, ImageHeader, Size
from app.vision.jpeg_header import read_jpeg

__all__ = ["MEDIA_TYPES", "ImageHeader", "Size", "read_header"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

_FOREIGN: tuple[tuple[str, str], ...] = (
    (r"GIF8", "a GIF"),
    (r"BM", "a BMP"),
    (r"II\*\x00|MM\x00\*|II\+\x00|MM\x00\+", "a TIFF"),
    (r"....ftyp(?:heic|heix|hevc|hevx|heim|heis|mif1|msf1)", "a HEIC"),
    (r"....ftypavi[fs]", "an AVIF"),
    (r"\xff\x0a|\x00\x00\x00\x0cJXL ", "a JPEG XL"),
    (r"\x00\x00\x00\x0cjP|\xff\x4f\xff\x51", "a JPEG 2000"),
    (r"\x00\x00\x01\x00", "an ICO"),
    (r"8BPS", "a Photoshop"),
    (r"%PDF", "a PDF"),
    (r"\s{0,1000}(?:<svg|<\?xml)", "an SVG or XML"),
    (r"....ftyp|RIFF....AVI |\x1a\x45\xdf\xa3", "a video"),
    (r"data:|/9j/|iVBOR|UklGR", "a base64-encoded (send the bytes themselves)"),
)
_KINDS = tuple((re.compile(pattern.encode("latin-1"), re.DOTALL), name) for pattern, name in _FOREIGN)


def read_header(data: bytes) -> ImageHeader:
    """Read the header of a JPEG (T.81), PNG (third edition) or WebP (RFC 9649) file; nothing is decoded.

    Raises `UnsupportedImage` for any other format, and `InvalidImage` where the header is damaged or the size is zero.
    """
    if not data:
        raise InvalidImage(f"The picture is empty. {SEND_INSTEAD}")
    try:
        header = _read(data)
    except struct.error:
        raise InvalidImage("The picture ends inside its header: it is truncated. Send the whole file.") from None
    if header.pixels == 0:
        width, height = header.size
        raise InvalidImage(f"The picture's header says {width} x {height} pixels. Send one that has pixels.")
    return header


def _read(data: bytes) -> ImageHeader:
    if data.startswith(b"\xff\xd8\xff"):
        return read_jpeg(data)
    if data.startswith(_PNG_SIGNATURE):
        return _read_png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _read_webp(data)
    for pattern, name in _KINDS:
        if pattern.match(data):
            raise UnsupportedImage(f"This looks like {name} file, which is not served. {SEND_INSTEAD}")
    raise UnsupportedImage(f"These bytes are no picture format that we know. {SEND_INSTEAD}")


_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}


def _read_png(data: bytes) -> ImageHeader:
    length, kind, width, height, depth, colour = struct.unpack_from(">I4sIIBB", data, 8)
    mode = _PNG_MODES.get(colour)
    if kind != b"IHDR" or length != 13 or mode is None or max(width, height) > 0x7FFFFFFF:
        raise InvalidImage("The PNG's header is damaged. Send the original file.")
    if mode == "L":
        mode = {1: "1", 16: "I;16"}.get(depth, mode)
    exif, transparent, position = None, colour in (4, 6), 33
    for _ in range(MAX_PARTS):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind in (b"IDAT", b"IEND"):
            return ImageHeader("PNG", Size(width, height), exif or 1, mode, transparent=transparent, deep=depth == 16)
        if kind == b"tRNS":
            transparent = True
        elif kind == b"eXIf" and exif is None:
            exif = orientation_of(data[position + 8 : position + 8 + min(length, MAX_EXIF)])
        position += length + 12
    raise InvalidImage(f"The PNG has more than {MAX_PARTS} chunks before its pixels. Save it again without metadata.")


_WEBP_EXIF, _WEBP_ALPHA = 0x08, 0x10


def _read_webp(data: bytes) -> ImageHeader:
    (kind,) = struct.unpack_from("<8x4x4s", data)
    orientation, transparent, plain = 1, False, False
    if kind == b"VP8X":
        flags, right, right_high, bottom, bottom_high = struct.unpack_from("<B3xHBHB", data, 20)
        size = Size((right_high << 16 | right) + 1, (bottom_high << 16 | bottom) + 1)
        transparent = bool(flags & _WEBP_ALPHA)
        if flags & _WEBP_EXIF:
            orientation = _webp_orientation(data)
    elif kind == b"VP8L":
        signature, bits = struct.unpack_from("<BI", data, 20)
        size, transparent = Size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1), bool(bits >> 28 & 1)
        if signature != 0x2F:
            raise InvalidImage("The WebP's header is damaged. Send the original file.")
    elif kind == b"VP8 ":
        plain, (start, width, height) = True, struct.unpack_from("<3x3sHH", data, 20)
        size = Size(width & 0x3FFF, height & 0x3FFF)
        if start != b"\x9d\x01\x2a":
            raise InvalidImage("The WebP's header is damaged. Send the original file.")
    else:
        raise InvalidImage("The WebP's first chunk is of no known kind: it is damaged. Send the original file.")
    mode = "RGBA" if transparent else "RGB"
    return ImageHeader("WEBP", size, orientation, mode, transparent=transparent, plain=plain)


def _webp_orientation(data: bytes) -> int:
    """EXIF comes last in a WebP file, so all chunks are stepped over."""
    position = 12
    for _ in range(MAX_PARTS):
        if position + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            return orientation_of(data[position + 8 : position + 8 + min(length, MAX_EXIF)])
        position += 8 + length + (length & 1)
    return 1
