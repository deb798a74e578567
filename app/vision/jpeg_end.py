"""JPEGs without the marker that ends them: some cameras leave it out, and files that are cut short lack it too.

libjpeg makes up what is missing of the coded data. So such a file is decoded with several different endings: where all
coded data is there, none is looked at, and the pixels are the same.
"""

import struct

_END, _SCAN = b"\xff\xd9", b"\xff\xda"
_LAST_COEFFICIENT = 63

_FILLINGS = (b"", b"\x5a" * 16, b"\xa5" * 16, b"\xff\x00" * 16)
"""Bits that are code words of something else each; nothing is what libjpeg takes for zeros."""


def endings(data: bytes) -> list[tuple[bytes | memoryview, bytes]]:
    """The file without the zeros that it may be padded with, and each of the endings that it is tried with."""
    kept = len(data.rstrip(b"\0"))
    kept += kept < len(data) and data[kept - 1] == 0xFF  # that zero belongs to the coded data
    return [(memoryview(data)[:kept], filling + _END) for filling in _FILLINGS]


def has_end(data: bytes) -> bool:
    """Whether the end marker comes after the last scan's header; it cannot occur inside of coded data."""
    return data.endswith(_END) or data.rfind(_END) > data.rfind(_SCAN)


def has_all_scans(data: bytes) -> bool:
    """Whether a progressive JPEG's scans give every coefficient to its last bit (T.81, G.1.1.1.1).

    A file that was cut between two scans has nothing else that would show it.
    """
    left: dict[int, int] = {}
    position = data.find(_SCAN)
    try:
        while position >= 0:
            _note_scan(data, position + 4, left)
            position = data.find(_SCAN, position + 2)
    except (struct.error, IndexError):
        return False
    return bool(left) and not any(left.values())


def _note_scan(data: bytes, start: int, left: dict[int, int]) -> None:
    """`left` has for each component a bit for each coefficient that is not known to its last bit yet."""
    count = data[start]
    first, last, bits = struct.unpack_from("BBB", data, start + 1 + 2 * count)
    known = sum(1 << place for place in range(first, min(last, _LAST_COEFFICIENT) + 1)) if not bits & 15 else 0
    for index in range(count):
        component = data[start + 1 + 2 * index]
        left[component] = left.get(component, (1 << _LAST_COEFFICIENT + 1) - 1) & ~known
