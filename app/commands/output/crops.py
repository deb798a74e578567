"""Each detection cut out of its picture."""

import math

from app.commands.output.base import Answered, Output, Wanted, new_file
from app.commands.output.labels import folder_name, folder_names
from app.core.working_memory import WorkingMemory
from app.errors import InvalidRequest, StartupError
from app.vision import drawing, image
from app.vision.decode_memory import decode_bytes
from app.vision.image import Size
from app.wire.prediction import Box

QUALITY = 95
MEMORY_BYTES = 1 << 30
"""For pictures that are open at once, at their full size; one that takes more by itself is opened alone."""


class Crops(Output):
    """`crops/LABEL/NAME-N.jpg`: the Nth detection of a picture, upright, at the picture's own resolution."""

    def __init__(self, wanted: Wanted) -> None:
        """Raises `StartupError` where there are crops already, which would be taken for these answers' own."""
        self._folder = wanted.out / "crops"
        if self._folder.exists() and any(self._folder.iterdir()):
            raise StartupError(f"{self._folder} holds crops already. Remove it, or give another --out.")
        self._names = folder_names(wanted.model.labels)
        self._memory = WorkingMemory(MEMORY_BYTES)

    def save(self, answered: Answered, content: bytes) -> None:
        """Cut it up."""
        detections = answered.prediction.detections
        if not detections:
            return
        header = image.read_header(content)
        with self._memory.hold(decode_bytes(header, len(content))):
            picture = image.decode(content, header)
            for number, found in enumerate(detections, 1):
                left, top, right, bottom = _whole_pixels(found.box, picture.size)
                try:
                    file = drawing.encode(picture.pixels[top:bottom, left:right], "image/jpeg", QUALITY)
                except ValueError as error:
                    raise InvalidRequest(f"detection {number} cannot be cut out: {error}") from None
                folder = self._names.get(found.label, folder_name(found.label))
                new_file(self._folder / folder / f"{answered.name}-{number}.jpg").write_bytes(file)


def _whole_pixels(box: Box, size: Size) -> tuple[int, int, int, int]:
    """Every pixel that the box touches, at least one each way."""
    left, top = (min(side - 1, max(0, math.floor(edge))) for edge, side in zip(box[:2], size, strict=True))
    right, bottom = (min(side, math.ceil(edge)) for edge, side in zip(box[2:], size, strict=True))
    return left, top, max(left + 1, right), max(top + 1, bottom)
