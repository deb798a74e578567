"""What is known of a picture before a pixel is decoded."""

from dataclasses import dataclass
from typing import NamedTuple

MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
"""The formats that are served, and their media types."""

GREY_MODES = ("1", "L", "I;16")
"""Modes of pictures without colours or an alpha channel."""
SEND_INSTEAD = "Send a JPEG, PNG or WebP file."
LONGEST_SIDE = 1_000_000
"""Pixels along a side that are decoded: libpng takes no more; the other formats cannot have so many."""
MAX_PARTS = 4096
"""Segments or chunks that are looked at: one of two million four-byte ones would hold the event loop for a second."""


class Size(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What a picture's header says.

    `format` is "JPEG", "PNG" or "WEBP"; `size` is as stored, before the orientation is applied; `orientation` is
    EXIF's 1 to 8 (CIPA DC-008, tag 0x0112; anything else counts as 1); `mode` names the stored channels as Pillow does
    ("RGB", "L", "P", ...). `transparent` says that pixels may be see-through, `progressive` that a JPEG comes in scans,
    `deep` that a PNG has 16 bits a channel, `plain` that a WebP is a single lossy picture without anything beside it.
    `coefficient_bytes` is what a JPEG's decoder keeps of the whole picture, at whatever size it decodes: nothing where
    all comes in one scan.
    """

    format: str
    size: Size
    orientation: int
    mode: str
    transparent: bool = False
    progressive: bool = False
    deep: bool = False
    plain: bool = False
    coefficient_bytes: int = 0

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
