"""How much memory a drawn answer takes: an upper bound, from the picture's header alone."""

from app.vision.decode_memory import decode_bytes
from app.vision.drawing import canvas_size
from app.vision.eight_bits import FULL_RANGE, Levels
from app.vision.image import ImageHeader

_CANVAS, _ENCODING = 3, 15
"""Bytes for each pixel of the drawn picture; the second while it is encoded, the file and its copies among them."""
_BESIDE = 16 << 20


def drawing_bytes(header: ImageHeader, file_bytes: int, levels: Levels = FULL_RANGE) -> int:
    """Most bytes that are taken at once while a picture is decoded, drawn on and encoded.

    The answer is among them; the picture's own file (`file_bytes`) is not.
    """
    canvas = canvas_size(header.upright)
    pixels = canvas.width * canvas.height
    drawing = decode_bytes(header, file_bytes, canvas, levels) + _CANVAS * pixels
    return max(drawing, _ENCODING * pixels) + _BESIDE
