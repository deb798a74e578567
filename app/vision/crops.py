"""Parts of a decoded picture, as pictures of their own."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from app.vision import eight_bits, preprocessing
from app.vision.header import ImageHeader, Size
from app.vision.image import Picture
from app.vision.input_spec import InputSpec
from app.vision.region import Region

COPIED_SHARE = 0.5
"""Of a picture's pixels: where crops have fewer in all, they are copied, and the picture is let go."""


class CutBytes(NamedTuple):
    """Bounds in bytes: of the pixels that are kept for crops, and of what cutting them takes beside the picture."""

    kept: int
    copied: int


def cut(picture: Picture, region: Region) -> Picture:
    """A view of a part of a decoded picture, which lies within it; its `size` is the part's own.

    Of a picture that was reduced while it was decoded, the pixels that the part touches.
    """
    height, width = picture.pixels.shape[:2]
    across = _span(region.left, region.right, picture.factor, picture.offset[0], width)
    down = _span(region.top, region.bottom, picture.factor, picture.offset[1], height)
    offset = (
        region.left / picture.factor + picture.offset[0] - across.start,
        region.top / picture.factor + picture.offset[1] - down.start,
    )
    return Picture(picture.pixels[down, across], region.size, picture.factor, offset)


def cut_all(picture: Picture, regions: Sequence[Region]) -> tuple[Picture, ...]:
    """`cut` for each: copies where they are much less than the whole picture, of which else views are kept."""
    crops = tuple(cut(picture, region) for region in regions)
    if sum(crop.pixels.size for crop in crops) > COPIED_SHARE * picture.pixels.size:
        return crops
    return tuple(Picture(crop.pixels.copy(), crop.size, crop.factor, crop.offset) for crop in crops)


def covering(picture: Size, regions: Sequence[Region], spec: InputSpec) -> Size | None:
    """What a reduced decode of a picture of that upright size must still cover, for each region to cover what it is
    resized to; None where nothing may be reduced.
    """
    width = height = 1
    for region in regions:
        target = preprocessing.decoding_target(region.size, spec.for_picture(region.size))
        if target is None:
            return None
        width = max(width, -(-picture.width * target.width // region.size.width))
        height = max(height, -(-picture.height * target.height // region.size.height))
    return Size(width, height)


def cut_bytes(header: ImageHeader, regions: Sequence[Region], factor: int = 1, alpha: bool = False) -> CutBytes:
    """What `cut_all` takes of a picture that was decoded with that `factor` and `alpha`."""
    channels = 4 if alpha and header.transparent else 3
    whole = -(-header.size.width // factor) * -(-header.size.height // factor)
    # A region that begins within a reduced pixel touches one more.
    spare = 1 if factor > 1 else 0
    parts = sum((-(-w // factor) + spare) * (-(-h // factor) + spare) for w, h in (region.size for region in regions))
    copied = parts if parts <= COPIED_SHARE * whole else 0
    return CutBytes(channels * (copied or whole), channels * copied)


def _span(start: int, end: int, factor: int, offset: float, most: int) -> slice:
    """The decoded pixels that show those from `start` to before `end` of the original; at least one."""
    first = min(most - 1, max(0, math.floor(start / factor + offset)))
    return slice(first, max(first + 1, min(most, math.ceil(end / factor + offset))))


def grey(crop: Picture) -> Picture:
    """A decoded crop in grey, its pixels [height, width]; transparent parts on white, as a whole picture's are."""
    pixels = crop.pixels
    if pixels.shape[2] == 4:
        pixels = np.asarray(eight_bits.laid_on_white(cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA)), np.uint8)
    shade = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    return Picture(shade, crop.size, crop.factor, crop.offset)
