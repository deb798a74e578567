"""Files to pixels as they are stored, in no more memory than the result takes.

OpenCV decodes: it lets go of the GIL, and for JPEG it can decode at a half, a quarter or an eighth of the size for
little more than the price of those pixels. What its Python binding returns from a buffer is a copy, made while the
original is still there; from a file it decodes into an array that is given to it. So a large picture is lent to it as
a file that exists in memory only.
"""

import os
import secrets
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from math import prod
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidImage
from app.vision.jpeg_end import endings, has_all_scans, has_end
from app.vision.png_file import DAMAGED

# The lanes are our parallelism: a pool of threads inside every call would only make them wait for each other.
cv2.setNumThreads(1)
# A damaged upload is answered as an error; OpenCV's own lines about it on stderr would only be noise in the log.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

IN_PLACE_BYTES = 4 << 20
"""Pixels from so many bytes on are decoded in place; for less, a file costs more time than the copy."""

Pixels = NDArray[Any]
Parts = Sequence[bytes | memoryview]
Shape = tuple[int, ...]
# OpenCV returns the array as it was where it does not even understand the file's header.
_UNTOUCHED = np.frombuffer(secrets.token_bytes(16), np.uint8)


class WrongSize(Exception):
    """The decoder finds another size, or other channels, than were expected."""


def decoded(parts: Parts, flags: int, shape: Shape, dtype: type[np.generic] = np.uint8) -> Pixels:
    """Decode a file, given in parts, to an array of this shape and type, which is the caller's own.

    Raises `WrongSize` where that is not what the file gives, `InvalidImage` where it cannot be decoded.
    """
    if FILES_IN_MEMORY and prod(shape) * np.dtype(dtype).itemsize >= IN_PLACE_BYTES:
        return _in_place(parts, flags, shape, dtype)
    pixels = _from_buffer(parts[0] if len(parts) == 1 else b"".join(parts), flags)
    if pixels is None:
        raise InvalidImage(DAMAGED)
    if pixels.shape != shape or pixels.dtype != np.dtype(dtype):
        raise WrongSize
    return pixels


def decoded_jpeg(data: bytes, flags: int, shape: Shape, progressive: bool) -> Pixels:
    """Decode a JPEG as `decoded` does, also one that lacks nothing but its end marker.

    From a buffer, OpenCV refuses what does not end; from a file, it would fill in what is missing.
    """
    if has_end(data):
        return decoded((data,), flags, shape)
    if progressive and not has_all_scans(data):
        raise InvalidImage(DAMAGED)
    last, pixels = None, None
    for parts in endings(data):
        del pixels  # one at a time
        pixels = decoded(parts, flags, shape)
        found = zlib.crc32(np.ascontiguousarray(pixels).data)
        if last not in (None, found):
            raise InvalidImage(DAMAGED)
        last = found
    assert pixels is not None
    return pixels


def _from_buffer(data: bytes | memoryview, flags: int) -> Pixels | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise InvalidImage(DAMAGED) from error


def _in_place(parts: Parts, flags: int, shape: Shape, dtype: type[np.generic]) -> Pixels:
    pixels = np.zeros(shape, dtype)  # fresh from the kernel: what was never written shows nothing of anybody
    first = pixels.reshape(-1).view(np.uint8)[: _UNTOUCHED.size]
    first[:] = _UNTOUCHED
    with _lent(parts) as path:
        try:
            found = cv2.imread(path, pixels, flags)
        except cv2.error as error:
            if "mat.type()" in str(error) or "mat.size()" in str(error):
                raise WrongSize from error
            raise InvalidImage(DAMAGED) from error
    if found is None or found.ctypes.data != pixels.ctypes.data or np.array_equal(first, _UNTOUCHED):
        raise InvalidImage(DAMAGED)
    return pixels


@contextmanager
def _lent(parts: Parts) -> Iterator[str]:
    """The path of a file that has no name and no disk."""
    with os.fdopen(os.memfd_create("picture"), "wb") as file:
        file.writelines(parts)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"


def _files_in_memory() -> bool:
    """Whether there are such files here: Linux has them, if /proc is there."""
    with suppress(AttributeError, OSError, InvalidImage, WrongSize):
        pattern = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
        _, file = cv2.imencode(".png", pattern)
        return bool(np.array_equal(_in_place((file.tobytes(),), cv2.IMREAD_COLOR, pattern.shape, np.uint8), pattern))
    return False


FILES_IN_MEMORY = _files_in_memory()
"""Whether large pictures are decoded in place; where not, their pixels are there twice while they are decoded."""
