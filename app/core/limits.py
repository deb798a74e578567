"""What one picture may be: looked at at the door, from its header alone."""

from dataclasses import dataclass

from app.core.model import Model
from app.errors import ImageTooLarge, PayloadTooLarge
from app.vision import image
from app.vision.decode_memory import decode_bytes, worst_bytes
from app.vision.image import ImageHeader, Size
from app.vision.image_header import LONGEST_SIDE
from app.vision.region import Region, asked_region
from app.vision.tasks import DEFAULTS, Options

MOST_DECLARED = 4
"""How many times as many pixels as are decoded a reduced JPEG may declare: all of its coded data takes its time."""


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What one picture may be, how long one request may take (seconds) where it names no deadline, and into how many
    tiles its picture may be divided.
    """

    image_bytes: int
    pixels: int
    timeout: float
    tiles: int = 256

    def check(self, data: bytes, model: Model, options: Options = DEFAULTS) -> tuple[ImageHeader, Region | None]:
        """Bytes first, then the pixels that the header declares and the part that is asked about, then what decoding
        takes; nothing is decoded.

        Raises `PayloadTooLarge`, `UnsupportedImage`, `InvalidImage`, `ImageTooLarge`, or `InvalidRequest` for a model
        that takes no pictures and for a region outside of the picture.
        """
        _ = model.input_spec
        if len(data) > self.image_bytes:
            raise PayloadTooLarge(f"The picture has {len(data)} bytes; at most {self.image_bytes} are taken.")
        header = image.read_header(data)
        normalized = options.coordinates == "normalized"
        region = None if options.region is None else asked_region(options.region, normalized, header.upright)
        self._check_pixels(header, model, region)
        _check_memory(header, len(data), model, region)
        return header, region

    def check_cut(self, header: ImageHeader, file_bytes: int, model: Model, at_least: Size | None = None) -> None:
        """Check a picture of which parts are cut: for that it is decoded at its full size, or so that it covers
        `at_least`.

        Raises `ImageTooLarge`.
        """
        what = f"The picture is {header.size.width} x {header.size.height} pixels; to be cut, it is decoded at its full"
        factor = image.reduction(header, at_least)
        if header.pixels > self.pixels * factor**2:
            raise ImageTooLarge(f"{what} size, and at most {self.pixels} pixels are. Send a smaller one.")
        spec, most = model.input_spec, model.memory.limit
        if (needed := decode_bytes(header, file_bytes, at_least, spec.range, spec.has_alpha)) > most:
            raise ImageTooLarge(
                f"{what} size. That would take {needed >> 20} MiB of memory; at most {most >> 20} are used. Send a "
                "smaller one, or an ordinary JPEG (baseline, not progressive)."
            )

    def _check_pixels(self, header: ImageHeader, model: Model, region: Region | None) -> None:
        limit, pixels = self.pixels, header.pixels
        if pixels > limit and (pixels > MOST_DECLARED * limit or model.decoded_pixels(header, region) > limit):
            raise ImageTooLarge(
                f"The picture declares {header.size.width} x {header.size.height} pixels; at most {limit} in all are "
                "decoded. Send a smaller one, or an ordinary JPEG, which is decoded at a reduced size."
            )
        if max(header.size) > LONGEST_SIDE:
            raise ImageTooLarge(
                f"The picture is {header.size.width} x {header.size.height} pixels; neither side may have more than "
                f"{LONGEST_SIDE}."
            )


def _check_memory(header: ImageHeader, file_bytes: int, model: Model, region: Region | None) -> None:
    most = model.memory.limit
    if worst_bytes(header.pixels, file_bytes) <= most:
        return
    if (needed := model.working_bytes(header, file_bytes, region)) > most:
        raise ImageTooLarge(
            f"Decoding this picture of {header.size.width} x {header.size.height} pixels would take {needed >> 20} "
            f"MiB of memory; at most {most >> 20} are used. Send a smaller one, or an ordinary JPEG (baseline, not "
            "progressive), which is decoded at a reduced size."
        )
