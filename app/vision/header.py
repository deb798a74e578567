"""What a picture's header says, read without decoding a pixel.

The three formats are read by hand, in a few microseconds: the limits on pixels are checked on the answer, so it must
be cheap, must allocate nothing, and must see what the decoder will see. A library's lazy open does more (colour
profiles, thumbnails, multi-picture indexes, decompression-bomb warnings through global state), all on hostile bytes.
"""

import re
import struct
from dataclasses import dataclass
from typing import NamedTuple

from app.errors import InvalidImage, UnsupportedImage

MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
"""The formats that are served, and their media types."""

_SEND_INSTEAD = "Send a JPEG, PNG or WebP file."
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# A header of two million four-byte segments would hold the event loop for a second; real ones have a few dozen.
_MAX_PARTS = 4096
_MAX_EXIF = 65_536

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
    (r"\s*<svg|\s*<\?xml", "an SVG or XML"),
    (r"....ftyp|RIFF....AVI |\x1a\x45\xdf\xa3", "a video"),
    (r"data:|/9j/|iVBOR|UklGR", "a base64-encoded (send the bytes themselves)"),
)
_KINDS = tuple((re.compile(pattern.encode("latin-1"), re.DOTALL), name) for pattern, name in _FOREIGN)


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What a picture's header says.

    `format` is "JPEG", "PNG" or "WEBP"; `size` is as stored, before the orientation is applied; `orientation` is
    EXIF's 1 to 8 (CIPA DC-008, tag 0x0112; anything else counts as 1); `mode` names the stored channels as Pillow does
    ("RGB", "L", "P", ...). `transparent` says that pixels may be see-through, `progressive` that a JPEG comes in scans.
    """

    format: str
    size: Size
    orientation: int
    mode: str
    transparent: bool = False
    progressive: bool = False

    @property
    def media_type(self) -> str:
        """The media type, for example `image/jpeg`."""
        return MEDIA_TYPES[self.format]

    @property
    def pixels(self) -> int:
        """How many pixels a full decode makes."""
        return self.size.width * self.size.height

    @property
    def upright(self) -> Size:
        """The size once the orientation is applied."""
        width, height = self.size
        return Size(height, width) if self.orientation >= 5 else self.size


def read_header(data: bytes) -> ImageHeader:
    """Read the header of a JPEG (T.81), PNG (third edition) or WebP (RFC 9649) file; nothing is decoded.

    Raises `UnsupportedImage` for any other format, and `InvalidImage` where the header is damaged or the size is zero.
    """
    if not data:
        raise InvalidImage(f"The picture is empty. {_SEND_INSTEAD}")
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
        return _read_jpeg(data)
    if data.startswith(_PNG_SIGNATURE):
        return _read_png(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _read_webp(data)
    for pattern, name in _KINDS:
        if pattern.match(data):
            raise UnsupportedImage(f"This looks like {name} file, which is not served. {_SEND_INSTEAD}")
    raise UnsupportedImage(f"These bytes are no picture format that we know. {_SEND_INSTEAD}")


_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff]")
_JPEG_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_JPEG_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = {0x01, *range(0xD0, 0xD8)}


def _read_jpeg(data: bytes) -> ImageHeader:
    frame, orientation, position = None, 1, 2
    for _ in range(_MAX_PARTS):
        found = _JPEG_MARKER.search(data, position)  # as libjpeg does: stray bytes before a marker are skipped
        if found is None:
            raise InvalidImage("The JPEG ends inside its header: it is truncated. Send the whole file.")
        marker, position = data[found.start() + 1], found.end()
        if marker in _JPEG_BARE:
            continue
        if marker in (0xDA, 0xD9):  # the scan begins, or the file ends
            break
        (length,) = struct.unpack_from(">H", data, position)
        if marker in _JPEG_FRAMES and frame is None:
            frame = (marker, *struct.unpack_from(">BHHB", data, position + 2))
        elif marker == 0xE1 and data.startswith(b"Exif\0\0", position + 2):
            orientation = _orientation(data[position + 2 : position + length])
        position += max(length, 2)
    if frame is None:
        raise InvalidImage("The JPEG's header has no frame: it is damaged. Send the original file.")
    return _jpeg_header(frame, orientation)


def _jpeg_header(frame: tuple[int, ...], orientation: int) -> ImageHeader:
    marker, precision, height, width, components = frame
    mode = _JPEG_MODES.get(components)
    if mode is None:
        raise InvalidImage(f"The JPEG's header says {components} colour components: it is damaged.")
    if precision != 8:
        raise UnsupportedImage(f"This JPEG has {precision} bits a channel; only 8 are served. {_SEND_INSTEAD}")
    return ImageHeader("JPEG", Size(width, height), orientation, mode, progressive=marker in _JPEG_PROGRESSIVE)


_PNG_MODES = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}


def _read_png(data: bytes) -> ImageHeader:
    length, kind, width, height, depth, colour = struct.unpack_from(">I4sIIBB", data, 8)
    mode = _PNG_MODES.get(colour)
    if kind != b"IHDR" or length != 13 or mode is None or max(width, height) > 0x7FFFFFFF:
        raise InvalidImage("The PNG's header is damaged. Send the original file.")
    if mode == "L":
        mode = {1: "1", 16: "I;16"}.get(depth, mode)
    orientation, transparent, position = 1, colour in (4, 6), 33
    for _ in range(_MAX_PARTS):
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind in (b"IDAT", b"IEND"):
            return ImageHeader("PNG", Size(width, height), orientation, mode, transparent=transparent)
        if kind == b"tRNS":
            transparent = True
        elif kind == b"eXIf":
            orientation = _orientation(data[position + 8 : position + 8 + min(length, _MAX_EXIF)])
        position += length + 12
    raise InvalidImage(f"The PNG has more than {_MAX_PARTS} chunks before its pixels. Save it again without metadata.")


_WEBP_EXIF, _WEBP_ALPHA = 0x08, 0x10


def _read_webp(data: bytes) -> ImageHeader:
    (kind,) = struct.unpack_from("<8x4x4s", data)
    orientation, transparent = 1, False
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
        start, width, height = struct.unpack_from("<3x3sHH", data, 20)
        size = Size(width & 0x3FFF, height & 0x3FFF)
        if start != b"\x9d\x01\x2a":
            raise InvalidImage("The WebP's header is damaged. Send the original file.")
    else:
        raise InvalidImage("The WebP's first chunk is of no known kind: it is damaged. Send the original file.")
    return ImageHeader("WEBP", size, orientation, "RGBA" if transparent else "RGB", transparent=transparent)


def _webp_orientation(data: bytes) -> int:
    """EXIF comes last in a WebP file, so all chunks are stepped over."""
    position = 12
    for _ in range(_MAX_PARTS):
        if position + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, position)
        if kind == b"EXIF":
            return _orientation(data[position + 8 : position + 8 + min(length, _MAX_EXIF)])
        position += 8 + length + (length & 1)
    return 1


def _orientation(tiff: bytes) -> int:
    """The orientation in EXIF's TIFF structure; 1 where that is damaged, since the pixels may still be good."""
    tiff = tiff.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(directory + 2, directory + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", tiff, entry)
            if tag == 0x0112:
                (value,) = struct.unpack_from(f"{order}{'I' if kind == 4 else 'H'}", tiff, entry + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
