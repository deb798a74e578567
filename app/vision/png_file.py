"""A PNG's chunks (third edition), before OpenCV sees them."""

import struct

from app.errors import InvalidImage

DAMAGED = "The picture is damaged or cut short and cannot be decoded. Send the original file."

_PIXEL_CHUNKS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"))
# A large PNG has some thousand chunks; a hostile one could be nothing but empty ones.
_MAX_CHUNKS = 100_000


def bare_png(data: bytes) -> list[memoryview]:
    """The file with only the chunks that make its pixels, in parts that are to be put together.

    What is left out is hostile ground: animations, and compressed texts and profiles that unpack to megabytes each.
    Raises `InvalidImage` as `chunks` does.
    """
    whole, parts, start, end = memoryview(data), [], 0, 8
    for kind, first, last in chunks(data):
        if kind in _PIXEL_CHUNKS:
            if first != end:
                parts.append(whole[start:end])
                start = first
            end = last
    return [*parts, whole[start:end]]


def grey_key(data: bytes) -> int | None:
    """The one transparent value of a grey PNG, as its pixels come out at up to 8 bits, or at 16."""
    depth = data[24]
    for kind, start, end in chunks(data):
        if kind == b"tRNS" and end - start >= 14:
            (key,) = struct.unpack_from(">H", data, start + 8)
            return int(key) * (255 // ((1 << depth) - 1) if depth < 8 else 1)
    return None


def chunks(png: bytes) -> list[tuple[bytes, int, int]]:
    """Every chunk's kind, start and end, up to IEND.

    Raises `InvalidImage` where the file is cut short: for a chunk that claims to be longer than its file, OpenCV 5.0
    first makes that much room, which takes seconds and gigabytes.
    """
    found: list[tuple[bytes, int, int]] = []
    position = 8
    while position + 12 <= len(png) and len(found) < _MAX_CHUNKS:
        length, kind = struct.unpack_from(">I4s", png, position)
        end = position + length + 12
        if end > len(png):
            break
        found.append((kind, position, end))
        if kind == b"IEND":
            return found
        position = end
    raise InvalidImage(DAMAGED)
