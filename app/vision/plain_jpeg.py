"""Which JPEGs a hardware decoder may be given: whole, ordinary ones, so that it has nothing to guess.

Such decoders differ in what they make of the rest. Some fill in what is missing of a file that was cut short, others
take an RGB file for YCbCr, or believe the second of two frames. So a file's markers (ITU-T T.81, annex B) are walked
from its first byte to its last, and whatever is not as cameras write it is left to the CPU's decoder, which decides.
"""

import struct

import numpy as np

from app.vision.header import ImageHeader

_MAX_SEGMENTS = 4096
_SOF0, _SOS, _APP14 = 0xC0, 0xDA, 0xEE
_DHT, _DQT, _DRI, _COM = 0xC4, 0xDB, 0xDD, 0xFE
_PASSED = frozenset((_DHT, _DQT, _DRI, _COM, *range(0xE0, 0xF0)))
"""Tables, comments and applications' own."""
_GREY_SAMPLING = 0x11
_LUMA_SAMPLING = frozenset((0x11, 0x12, 0x21, 0x22))
"""4:4:4, 4:4:0, 4:2:2 and 4:2:0, where both chroma components are sampled once."""


def is_plain(data: bytes, header: ImageHeader) -> bool:
    """Whether this is a whole baseline JPEG of 8 bits, grey or YCbCr, with all components in one scan.

    Whole means that nothing but coded data and restart markers lies between the scan's header and the end marker. The
    coded data itself is not decoded: what is damaged inside it is not seen here (nor by libjpeg, which fills it in).
    """
    if header.format != "JPEG" or header.progressive:
        return False
    try:
        scan = _scan(data, header)
    except (struct.error, IndexError):  # the header ends within a segment
        return False
    return scan is not None and _ends_after(data, scan)


def _scan(data: bytes, header: ImageHeader) -> int | None:
    """Where the coded data begins, or None where something before it is out of the ordinary."""
    components, position = 0, 2
    for _ in range(_MAX_SEGMENTS):
        mark, marker, length = struct.unpack_from(">BBH", data, position)
        if mark != 0xFF or length < 2:
            return None
        if marker == _SOS:
            every = components > 0 and data[position + 4] == components
            return position + 2 + length if every else None
        if marker == _SOF0 and not components:
            components = _ordinary_components(data, position + 4, header)
            if not components:
                return None
        elif marker not in _PASSED or (
            marker == _APP14 and not _says_ycbcr(data[position + 4 : position + 2 + length])
        ):
            return None
        position += 2 + length
    return None


def _ordinary_components(data: bytes, frame: int, header: ImageHeader) -> int:
    """How many components the frame at this position has: 1 or 3, or 0 where it is not grey or YCbCr."""
    precision, height, width, count = struct.unpack_from(">BHHB", data, frame)
    if precision != 8 or (width, height) != header.size:
        return 0
    found = [struct.unpack_from(">BB", data, frame + 6 + 3 * place) for place in range(count)]
    sampling = [factors for _, factors in found]
    if count == 1:
        return 1 if sampling == [_GREY_SAMPLING] else 0
    if count != 3 or bytes(name for name, _ in found) == b"RGB":
        return 0
    return 3 if sampling[0] in _LUMA_SAMPLING and sampling[1:] == [0x11, 0x11] else 0


def _says_ycbcr(segment: bytes) -> bool:
    """Adobe's segment says in its twelfth byte what the components are: 1 is YCbCr; another's segment says nothing."""
    return not segment.startswith(b"Adobe") or (len(segment) >= 12 and segment[11] == 1)


def _ends_after(data: bytes, scan: int) -> bool:
    """Whether the first marker after the coded data, restarts left out, is the end of the picture."""
    coded = np.frombuffer(data, np.uint8, offset=min(scan, len(data)))
    marks = np.flatnonzero(coded[:-1] == 0xFF)
    kinds = coded[marks + 1]
    stuffed_or_restart = (kinds == 0x00) | ((kinds >= 0xD0) & (kinds <= 0xD7))
    markers = kinds[~stuffed_or_restart & (kinds != 0xFF)]
    return len(markers) > 0 and int(markers[0]) == 0xD9
