"""A picture's pixels to one row of a model's input, and the way back for boxes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from cv2.typing import MatLike
from numpy.typing import NDArray

from app.vision.image import Picture, Size
from app.vision.input_spec import InputSpec
from app.vision.resampling import Resampling, Window, resample

__all__ = [
    "Geometry",
    "InputSpec",
    "Placement",
    "decoding_target",
    "device_problem",
    "geometry",
    "halvings",
    "prepare",
    "target_size",
]

_INTERPOLATIONS = {"linear": cv2.INTER_LINEAR, "area": cv2.INTER_AREA, "cubic": cv2.INTER_CUBIC}


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a picture lies in a model's input.

    A point x of the upright original (`size`, in pixels) is at x * scale + offset in the input (`model_size`).
    """

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float
    size: Size
    model_size: Size

    @property
    def visible(self) -> tuple[float, float, float, float]:
        """The part of the input that shows the picture, without a letterbox's margins: x0, y0, x1, y1 in its pixels."""
        right, bottom = self.offset_x + self.scale_x * self.size.width, self.offset_y + self.scale_y * self.size.height
        width, height = self.model_size
        return max(0.0, self.offset_x), max(0.0, self.offset_y), min(width, right), min(height, bottom)

    def to_original(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes float32 [n, 4] (x0, y0, x1, y1) in pixels of the input to pixels of the original, clipped to it."""
        corners = self.points_to_original(boxes.reshape(-1, 2)).reshape(boxes.shape)
        return np.asarray(np.clip(corners, 0, np.array(self.size * 2, np.float32)), np.float32)

    def points_to_original(self, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Points float32 [..., 2] (x, y) in pixels of the input to pixels of the original, wherever they lie."""
        offset = np.array([self.offset_x, self.offset_y], np.float32)
        return np.asarray((points - offset) / np.array([self.scale_x, self.scale_y], np.float32), np.float32)


def target_size(upright: Size, spec: InputSpec) -> Size:
    """The size that the whole picture is resized to, or would be before a crop; at least 1 x 1."""
    if spec.resize == "stretch":
        return spec.size
    if spec.resize == "fit_height":
        return Size(
            min(spec.size.width, math.ceil(spec.size.height * upright.width / upright.height)), spec.size.height
        )
    if isinstance(spec.resize_to, Size):
        return spec.resize_to
    whole = math.floor if spec.rounding == "floor" else round
    if spec.resize == "letterbox":
        ratio = _ratio(upright, spec)
        # Rounding may not go over the input's edge.
        return Size(*(min(most, max(1, whole(side * ratio))) for side, most in zip(upright, spec.size, strict=True)))
    wanted, given = _covering(upright, spec)
    # Divided last, as torchvision does: the side that is given its length gets just that.
    sides = (whole(side * wanted / given) for side in upright)
    return Size(*(max(least, side) for side, least in zip(sides, spec.size, strict=True)))


def _ratio(upright: Size, spec: InputSpec) -> float:
    """By what both sides of a letterboxed picture are to be multiplied."""
    return min(spec.size.width / upright.width, spec.size.height / upright.height)


def _covering(upright: Size, spec: InputSpec) -> tuple[int, int]:
    """The length that one side of a picture gets before the crop, and its length before."""
    if isinstance(spec.resize_to, int):
        return spec.resize_to, min(upright)
    return max(zip(spec.size, upright, strict=True), key=lambda pair: pair[0] / pair[1])


def decoding_target(upright: Size, spec: InputSpec) -> Size | None:
    """The size that a reduced decode must still cover, or None where nothing may be reduced."""
    return None if spec.reduce == "none" else target_size(upright, spec)


def device_problem(spec: InputSpec) -> str | None:
    """Why `device_preprocessing` cannot prepare what this says, or None where it can."""
    if spec.varying is not None or spec.resize == "fit_height":
        return "its input follows each picture's sides"
    if spec.reduce == "none" or spec.antialias:
        return "its manifest wants every pixel as its family's own code makes it"
    if spec.channels not in ("rgb", "bgr"):
        return f"its input is {spec.channels}"
    return None


@dataclass(frozen=True, slots=True)
class Geometry:
    """How decoded pixels get into a model's input.

    `cut` (left, top, right, bottom, in decoded pixels) is resized to `content`, of which `window` is kept (all of it,
    where that is None). The upper left corner of that comes to (`left`, `top`) of the input; what it leaves free is
    filled.
    """

    cut: tuple[int, int, int, int]
    content: Size
    left: int
    top: int
    placement: Placement
    window: Window | None = None


def geometry(
    decoded: Size, original: Size, spec: InputSpec, factor: int = 1, offset: tuple[float, float] = (0.0, 0.0)
) -> Geometry:
    """The way into the input for a picture of the upright size `original` that was decoded at the size `decoded`.

    A point x of the original is at x / `factor` + `offset` there (see `image.Picture`).
    """
    target = target_size(original, spec)
    cut, content, left, top, window = (0, 0, *decoded), target, 0, 0, None
    if spec.resize == "center_crop" and _in_one_step(spec):
        window = _middle_window(target, spec.size, math.floor if spec.crop_rounding == "floor" else round)
        left, top = -window.left, -window.top
    elif spec.resize == "center_crop":
        cut, content = _crop(decoded, target, spec.size), spec.size
    elif spec.align == "center" and spec.resize != "fit_height":
        left, top = (spec.size.width - target.width) // 2, (spec.size.height - target.height) // 2
    # Cuts are at whole pixels and reductions round up, so the scale is what it came to, not what was asked for.
    scale_x, scale_y = (_scale(length, side, spec) for length, side in _lengths(cut, content))
    start_x, start_y = float(left), float(top)
    if spec.unscale == "ratio" and spec.resize == "letterbox":
        scale_x = scale_y = _ratio(original, spec) * factor
        if spec.align == "center":  # YOLOv5's code halves what the ratio leaves free, not what whole pixels do
            aimed = (side * scale_x / factor for side in original)
            start_x, start_y = ((side - taken) / 2 for side, taken in zip(spec.size, aimed, strict=True))
    offset_x, offset_y = start_x + (offset[0] - cut[0]) * scale_x, start_y + (offset[1] - cut[1]) * scale_y
    placement = Placement(scale_x / factor, scale_y / factor, offset_x, offset_y, original, spec.size)
    return Geometry(cut, content, max(left, 0), max(top, 0), placement, window)


def _lengths(cut: tuple[int, int, int, int], content: Size) -> tuple[tuple[int, int], tuple[int, int]]:
    return (cut[2] - cut[0], content.width), (cut[3] - cut[1], content.height)


def _in_one_step(spec: InputSpec) -> bool:
    """Whether a part of the resized picture is made by itself, to the pixel as the whole would be."""
    return spec.interpolation != "area" and (spec.reduce == "none" or spec.antialias)


def _middle_window(whole: Size, part: Size, rounded: Callable[[float], int]) -> Window:
    """As torchvision's `CenterCrop` has it, with `round`, or transformers, with `floor`."""
    left, top = rounded((whole.width - part.width) / 2), rounded((whole.height - part.height) / 2)
    return Window(left, top, left + part.width, top + part.height)


def _is_halved(spec: InputSpec) -> bool:
    """Whether a picture that is much too large is halved before it is resized."""
    return spec.reduce == "auto" and spec.interpolation != "area" and not spec.antialias


def halvings(size: Size, target: Size) -> list[Size]:
    """The sizes that a picture passes through before it is resized to `target`, so that nothing is aliased.

    Linear and cubic look at a few neighbours only, so a picture that is twice too large or more is halved first: at
    half the size, linear is the mean of two neighbours. After a scaled JPEG decode there is nothing left to halve. The
    last pixel of an odd side becomes one by itself, as in such a decode, so that both show a model the same.
    """
    width, height = size
    sizes = []
    while width >= 2 * target.width or height >= 2 * target.height:
        width = (width + 1) // 2 if width >= 2 * target.width else width
        height = (height + 1) // 2 if height >= 2 * target.height else height
        sizes.append(Size(width, height))
    return sizes


def _scale(length: int, target: int, spec: InputSpec) -> float:
    """How long a pixel becomes where so many become `target` on the way that `halvings` says."""
    factor = 1
    while _is_halved(spec) and length >= 2 * target:
        length, factor = (length + 1) // 2, 2 * factor
    return target / (length * factor)


def prepare(picture: Picture, spec: InputSpec, out: NDArray[Any]) -> Placement:
    """Resize, place and normalise `picture` into `out`: one row of a batch, of `spec.shape` and `spec.numpy_dtype`.

    Every element of `out` is written. Safe to call from many threads with different rows.
    """
    height, width = picture.pixels.shape[:2]
    way = geometry(Size(width, height), picture.size, spec, picture.factor, picture.offset)
    x0, y0, x1, y1 = way.cut
    content = _resized(picture.pixels[y0:y1, x0:x1], way.content, way.window, spec)
    _write(content, way.left, way.top, spec, out)
    return way.placement


def _crop(decoded: Size, target: Size, crop: Size) -> tuple[int, int, int, int]:
    """The pixels under the centre crop. They are cut before the resize: a thin picture's whole would be enormous."""
    x0, x1 = _middle(decoded.width, crop.width / target.width)
    y0, y1 = _middle(decoded.height, crop.height / target.height)
    return x0, y0, x1, y1


def _middle(length: int, share: float) -> tuple[int, int]:
    kept = min(length, max(1, round(length * share)))
    start = (length - kept) // 2
    return start, start + kept


def _resized(pixels: MatLike, size: Size, window: Window | None, spec: InputSpec) -> MatLike:
    """Resize as the spec says; by default without aliasing, at a tenth of the price of `INTER_AREA`."""
    exact = spec.antialias or not spec.round_pixels
    if window is not None or (exact and (pixels.shape[1], pixels.shape[0]) != size):
        assert spec.interpolation != "area"
        part = window or Window(0, 0, *size)
        whole = np.asarray(pixels, np.uint8)
        how = Resampling(spec.interpolation, spec.antialias, spec.round_pixels, spec.first_pass)
        return resample(whole, size, part, how)
    if _is_halved(spec):
        for step in halvings(Size(pixels.shape[1], pixels.shape[0]), size):
            pixels = _halved(pixels, step)
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return cv2.resize(pixels, size, interpolation=_INTERPOLATIONS[spec.interpolation])


def _halved(pixels: MatLike, size: Size) -> MatLike:
    """Halve one or both sides; the last pixel of an odd one is not mixed with any other."""
    height, width = pixels.shape[:2]
    across, down = 1 + (size.width < width), 1 + (size.height < height)
    columns, rows = width // across, height // down
    if (columns, rows) == size:
        return cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    halved = np.empty((size.height, size.width, pixels.shape[2]), np.uint8)
    even = pixels[: rows * down, : columns * across]
    cv2.resize(even, (columns, rows), dst=halved[:rows, :columns], interpolation=cv2.INTER_LINEAR)
    if columns < size.width:
        halved[:rows, -1:] = cv2.resize(pixels[: rows * down, -1:], (1, rows), interpolation=cv2.INTER_LINEAR)
    if rows < size.height:
        halved[-1:, :columns] = cv2.resize(
            pixels[-1:, : columns * across], (columns, 1), interpolation=cv2.INTER_LINEAR
        )
        halved[-1, -1] = pixels[-1, -1] if columns < size.width else halved[-1, -1]
    return halved


def _write(content: MatLike, left: int, top: int, spec: InputSpec, out: NDArray[Any]) -> None:
    """Normalise `content` into `out` and fill the margins, channel by channel.

    Measured on 416 x 416: splitting first, then one multiply and one subtract a plane, is the fastest of eleven ways.
    """
    height, width = content.shape[:2]
    for index, plane in enumerate(_planes(content, spec)):
        channel = out[index] if spec.layout == "nchw" else out[..., index]
        channel[:top], channel[top + height :] = (spec.padding[index],) * 2
        channel[:, :left], channel[:, left + width :] = (spec.padding[index],) * 2
        _normalize(plane, index, spec, channel[top : top + height, left : left + width])


def _planes(content: MatLike, spec: InputSpec) -> list[MatLike]:
    """The channels of RGB or RGBA, in the input's order; what has no alpha channel is opaque."""
    if spec.channels == "grey":
        return [cv2.cvtColor(content, cv2.COLOR_RGB2GRAY)]
    planes = list(cv2.split(content))
    colours = planes[:3] if spec.channels.startswith("rgb") else planes[2::-1]
    if not spec.has_alpha:
        return colours
    return [*colours, planes[3] if len(planes) > 3 else np.full_like(planes[0], 255)]


def _normalize(plane: MatLike, index: int, spec: InputSpec, out: NDArray[Any]) -> None:
    if spec.dtype == "uint8":
        np.copyto(out, plane)
    elif spec.dtype == "float16":
        np.take(
            spec.table[index], np.asarray(plane, np.uint8), out=out, mode="clip"
        )  # arithmetic in float16 would round twice
    else:
        np.multiply(plane, np.float32(spec.factors[index]), out=out)
        if spec.offsets[index]:
            np.subtract(out, np.float32(spec.offsets[index]), out=out)
