"""Pictures in the forms that programs have them in."""

from os import PathLike
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidRequest
from app.vision import drawing


class PillowImage(Protocol):
    """A `PIL.Image.Image`; Pillow itself is not needed."""

    def convert(self, mode: str) -> Any:
        """Itself in other colours."""


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
        return _encode(np.asarray(picture.convert("RGB")))
    raise InvalidRequest(f"A picture is a path, bytes, an array or an image of Pillow, not {type(picture).__name__}.")


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
