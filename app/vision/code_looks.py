"""The ways in which a crop is looked at for codes: the cheap ones first, the thorough ones where they are worth it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.vision.code_texture import Grey, Texture
from app.vision.symbologies import Family

Matrix = NDArray[np.float64]
"""An affine map [2, 3] between pixels."""

LARGEST_CROP = 2**23
"""Most pixels in which codes are sought at once; a larger crop is made smaller."""
LARGEST_AGAIN = 2**20
"""Pixels above which a crop is not looked at larger or turned: its bars are wide enough as they are."""

_SMALL = 128 * 128
"""Pixels up to which a crop whose modules could not be read is looked at once more, at three times its size."""
_LARGE = 300 * 300
"""Pixels from which a crop is looked at as it is before it is looked at larger."""
_MANY_BARS = 22.0
"""Edges from which bars that could not be read are looked at once more, larger."""
_ASKEW_BARS = 11.0
"""Edges (the geometric mean of both ways) from which bars may stand askew: rows and columns both cross some then."""
_TURNABLE = 40
"""Shorter side in pixels from which a crop is worth turning: a smaller one that stands askew has no bars to be read."""
_ASKEW = 8.0
"""Degrees from the nearest axis below which a code is read as it stands."""
_COHERENT = 0.15
"""How much edges must agree on a direction (0 to 1) for a crop to be turned by it."""


@dataclass(frozen=True, slots=True)
class Look:
    """Pixels to read, how to come back from them to the crop's, what is sought, and whether also at right angles and
    smaller (`thorough`), and bright on dark (`inverted`).
    """

    pixels: Grey
    matrix: Matrix
    family: Family
    thorough: bool = False
    inverted: bool = False


def scaled_to_fit(crop: Grey) -> tuple[Grey, Matrix]:
    """A crop of no more than `LARGEST_CROP` pixels, and how to come back from its pixels to the original's."""
    if crop.size <= LARGEST_CROP:
        return as_it_is(crop)
    factor = math.ceil(math.sqrt(crop.size / LARGEST_CROP))
    size = crop.shape[1] // factor, crop.shape[0] // factor
    smaller = np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)
    return smaller, _scaling(crop.shape[1] / size[0], crop.shape[0] / size[1])


def first_looks(crop: Grey, seen: Texture) -> Iterator[Look]:
    """What reads nineteen codes of twenty: bars along the side that crosses most of them, modules at twice the size."""
    if seen.bars:
        yield Look(*_along_rows(crop, seen), Family.BARS)
    if seen.modules:
        view = as_it_is(crop) if crop.size > _LARGE else enlarged(crop)
        yield Look(*view, Family.MODULES)


def second_looks(crop: Grey, seen: Texture) -> Iterator[Look]:
    """Where nothing was found and there are edges enough: other sizes, right angles, the direction of the edges."""
    many_bars = seen.most >= _MANY_BARS
    large, too_large = crop.size > _LARGE, crop.size > LARGEST_AGAIN
    if many_bars and not too_large:
        bars, matrix = _along_rows(crop, seen)
        larger, half = enlarged(bars)
        yield Look(larger, joined(matrix, half), Family.BARS)
    if large and seen.modules and not too_large:
        yield Look(*enlarged(crop), Family.MODULES, thorough=True)
    if large and (many_bars or seen.modules):
        yield Look(*as_it_is(crop), Family.EVERYTHING, thorough=True, inverted=seen.dark)
    elif seen.modules:
        family = Family.MODULES if seen.dark else Family.ANGLED
        yield Look(*as_it_is(crop), family, thorough=True, inverted=seen.dark)
    if seen.modules and crop.size <= _SMALL:
        yield Look(*enlarged(crop, 3), Family.MODULES)
    if seen.across * seen.down >= _ASKEW_BARS**2 and not too_large and (askew := turned(crop)) is not None:
        yield Look(*askew, Family.EVERYTHING)


def _along_rows(crop: Grey, seen: Texture) -> tuple[Grey, Matrix]:
    """The crop, turned by a right angle where more edges are met on the way down."""
    if seen.across >= seen.down:
        return as_it_is(crop)
    rotated = np.asarray(cv2.rotate(crop, cv2.ROTATE_90_CLOCKWISE), np.uint8)
    return rotated, np.array([[0, 1, 0], [-1, 0, crop.shape[0]]], np.float64)


def as_it_is(crop: Grey) -> tuple[Grey, Matrix]:
    """The crop itself."""
    return crop, _scaling(1, 1)


def enlarged(crop: Grey, times: int = 2) -> tuple[Grey, Matrix]:
    """The crop at so many times the size: narrow bars and small modules are read better so."""
    larger = cv2.resize(crop, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
    return np.asarray(larger, np.uint8), _scaling(1 / times, 1 / times)


def _scaling(x: float, y: float) -> Matrix:
    return np.array([[x, 0, 0], [0, y, 0]], np.float64)


def joined(second: Matrix, first: Matrix) -> Matrix:
    """The affine map [2, 3] that does `first`, and then `second`."""
    return np.asarray(second @ np.vstack((first, (0, 0, 1))), np.float64)


def turned(crop: Grey) -> tuple[Grey, Matrix] | None:
    """The crop turned so that its edges lie along rows and columns, along which alone bars are sought.

    Whole, with its border repeated around it; None where it is too small, or stands straight, or has no one direction.
    """
    if min(crop.shape) < _TURNABLE:
        return None
    angle, coherence = _direction(crop)
    if coherence < _COHERENT or abs((angle + 45) % 90 - 45) < _ASKEW:
        return None
    height, width = crop.shape
    cosine, sine = abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle)))
    size = int(width * cosine + height * sine) + 1, int(width * sine + height * cosine) + 1
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1.0)
    matrix[:, 2] += (size[0] - width) / 2, (size[1] - height) / 2
    pixels = cv2.warpAffine(crop, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(pixels, np.uint8), np.asarray(cv2.invertAffineTransform(matrix), np.float64)


def _direction(crop: Grey) -> tuple[float, float]:
    """The direction in which brightness changes most, in degrees, and how much edges agree on it, 0 to 1.

    From the structure tensor (Bigün and Granlund, "Optimal orientation detection of linear symmetry", ICCV 1987).
    """
    across, down = cv2.Sobel(crop, cv2.CV_32F, 1, 0), cv2.Sobel(crop, cv2.CV_32F, 0, 1)
    xx, yy, xy = (float(np.vdot(a, b)) for a, b in ((across, across), (down, down), (across, down)))
    angle = math.degrees(math.atan2(2 * xy, xx - yy)) / 2
    return angle, math.hypot(xx - yy, 2 * xy) / max(xx + yy, 1e-9)
