"""Pictures in the forms that programs have them in."""

from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidRequest
from app.vision import drawing

_AS_PNG = {"1", "L", "LA", "P", "RGB", "RGBA", "I;16"}
"""Modes of Pillow that a PNG holds as they are, with their depth and transparency."""
_DEEP = ("I", "F")
"""Beginnings of modes with more than eight bits, whose range nobody knows; Pillow would cut them off at 255."""


class PillowImage(Protocol):
    """A `PIL.Image.Image`; Pillow itself is not needed."""

    mode: str

    def convert(self, mode: str) -> Any:
        """Itself in other colours."""

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:
        """Write it to a file."""


Picture = str | PathLike[str] | bytes | NDArray[np.uint8] | PillowImage
"""A file's path; a file's bytes (JPEG, PNG, WebP); pixels uint8 `[h, w, 3]` in RGB or `[h, w]` in grey; an image of
Pillow, whose pixels count as they are: an EXIF orientation beside them is not obeyed.
"""


def read(picture: Picture) -> bytes:
    """An encoded picture. Files are sent as they are; pixels as PNG, so that the answer speaks of exactly these.

    Raises `OSError` for a file that cannot be read, `InvalidRequest` for what is no picture.
    """
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return bytes(picture)
    if isinstance(picture, (str, PathLike)):
        return Path(picture).read_bytes()
    if isinstance(picture, np.ndarray):
        return _encode(picture)
    if hasattr(picture, "convert"):
        return _of_pillow(picture)
    raise InvalidRequest(f"A picture is a path, bytes, an array or an image of Pillow, not {type(picture).__name__}.")


def _of_pillow(picture: PillowImage) -> bytes:
    if picture.mode not in _AS_PNG:
        if picture.mode.startswith(_DEEP):
            raise InvalidRequest(
                f"An image of Pillow in mode {picture.mode} has no known range. Give its file's path, or scale its "
                "values to 0 to 255 and convert it to L."
            )
        picture = picture.convert("RGB")
    packed = BytesIO()
    picture.save(packed, "PNG", compress_level=1)
    return packed.getvalue()


def _encode(pixels: NDArray[Any]) -> bytes:
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise InvalidRequest(
            f"Pixels are uint8 [height, width, 3] in RGB, or [height, width] in grey; not {pixels.dtype} "
            f"{list(pixels.shape)}."
        )
    try:
        return drawing.encode(np.ascontiguousarray(pixels), "image/png")
    except ValueError as error:
        raise InvalidRequest(f"The picture cannot be sent: {error}.") from None
