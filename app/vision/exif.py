"""The orientation in a picture's EXIF data."""

import struct

MAX_EXIF = 65_536
"""Bytes of EXIF data that are looked at."""

_WHOLE_NUMBERS = {3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I"}
"""The types that others read it in; the standard has it as 3, SHORT."""


def orientation_of(tiff: bytes) -> int:
    """The orientation (1 to 8; CIPA DC-008, tag 0x0112) in EXIF's TIFF structure.

    1 where there is none, where it is of a type in which nobody reads it, or where the structure
    is damaged, since the pixels may still be good.
    """
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
                if kind not in _WHOLE_NUMBERS:
                    return 1
                (value,) = struct.unpack_from(f"{order}{_WHOLE_NUMBERS[kind]}", tiff, entry + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
