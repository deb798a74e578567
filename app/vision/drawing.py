"""A prediction drawn onto its picture, for people to look at."""

import colorsys
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.vision.classification import Classification
from app.vision.detection import Detections
from app.vision.image import Picture, Size

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_GOLDEN_ANGLE = 0.381966
_FIRST_HUE = 0.57
_PANEL = (17, 20, 26)
_INK_LIGHT, _INK_DARK = (255, 255, 255), (16, 18, 22)


def draw(picture: Picture, prediction: Detections | Classification) -> NDArray[np.uint8]:
    """The picture with the prediction on it: uint8 [height, width, 3] RGB at the upright original's size.

    A class has the same colour on every picture. `picture` itself is not changed.
    """
    pixels = picture.pixels
    if pixels.shape[:2] != (picture.size.height, picture.size.width):
        pixels = np.asarray(cv2.resize(pixels, picture.size, interpolation=cv2.INTER_CUBIC), np.uint8)
    canvas = Image.fromarray(pixels)
    if isinstance(prediction, Detections):
        _draw_detections(canvas, prediction)
    else:
        _draw_classification(canvas, prediction)
    return np.asarray(canvas, np.uint8).copy()


def encode(pixels: NDArray[np.uint8], media_type: Literal["image/jpeg", "image/png"], quality: int = 90) -> bytes:
    """RGB pixels uint8 [height, width, 3] as a file; `quality` 1 to 100 is JPEG's.

    Raises `ValueError` for a size that the format cannot hold (JPEG: 65,535 pixels a side).
    """
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    if media_type == "image/jpeg":
        done, file = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    else:
        done, file = cv2.imencode(".png", bgr)
    if not done:
        raise ValueError(f"{pixels.shape[1]} x {pixels.shape[0]} pixels do not fit into {media_type}")
    return file.tobytes()


def colour_of(class_id: int) -> Colour:
    """A class's colour, the same for ever; neighbours in number are far apart in hue (steps of the golden angle)."""
    hue = (_FIRST_HUE + class_id * _GOLDEN_ANGLE) % 1
    lightness, saturation = ((0.55, 0.85), (0.68, 0.90), (0.44, 0.80))[class_id // 5 % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


@dataclass(frozen=True, slots=True)
class _Pen:
    """Widths, in pixels, that suit a picture's size, and its font."""

    line: int
    margin: int
    font: Font

    @classmethod
    def for_picture(cls, size: Size | tuple[int, int]) -> "_Pen":
        side = (size[0] * size[1]) ** 0.5
        text = max(10, min(round(side / 42), min(size) // 6, 96))
        return cls(line=max(1, round(side / 340)), margin=max(2, round(text * 0.32)), font=_font(text))


@lru_cache(maxsize=64)
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _draw_detections(canvas: Image.Image, found: Detections) -> None:
    pen, ink = _Pen.for_picture(canvas.size), ImageDraw.Draw(canvas)
    # The best last, so that nothing lies over it; and every plate over every box.
    ranked = range(len(found.labels))[::-1]
    boxes = found.boxes.tolist()
    for index in ranked:
        _draw_box(ink, boxes[index], colour_of(int(found.class_ids[index])), pen)
    for index in ranked:
        text = f"{found.labels[index]} {found.scores[index]:.0%}"
        _draw_plate(ink, boxes[index], text, colour_of(int(found.class_ids[index])), pen, canvas.size)


def _draw_box(ink: ImageDraw.ImageDraw, box: list[float], colour: Colour, pen: _Pen) -> None:
    left, top, right, bottom = (round(edge) for edge in box)
    # A box's right edge is the border between two pixels; the line is drawn on the inner one.
    right, bottom = max(left, right - 1), max(top, bottom - 1)
    halo = max(1, pen.line // 2)
    grown = (left - halo, top - halo, right + halo, bottom + halo)
    ink.rectangle(grown, outline=_INK_DARK, width=halo)
    ink.rectangle((left, top, right, bottom), outline=colour, width=pen.line)


def _draw_plate(
    ink: ImageDraw.ImageDraw, box: list[float], text: str, colour: Colour, pen: _Pen, size: tuple[int, int]
) -> None:
    """The label on a plate above the box, or inside its upper edge where there is no room, never out of the picture."""
    text = _shortened(text, pen, size[0] - 2 * pen.margin)
    ascent = _extent("Ag", pen)[1]
    width, height = _extent(text, pen)[0] + 2 * pen.margin, ascent + 2 * pen.margin
    left = min(max(0, round(box[0])), max(0, size[0] - width))
    top = round(box[1]) - height
    if top < 0:
        top = min(max(0, round(box[1])), max(0, size[1] - height))
    ink.rectangle((left, top, left + width - 1, top + height - 1), fill=colour)
    ink.text((left + pen.margin, top + height / 2), text, _readable_on(colour), pen.font, anchor="lm")


def _shortened(text: str, pen: _Pen, room: int) -> str:
    text = " ".join(text.split())
    if _extent(text, pen)[0] <= room:
        return text
    for kept in range(min(len(text), 80) - 1, 0, -1):
        if _extent(text[:kept] + "…", pen)[0] <= room:
            return text[:kept] + "…"
    return ""


def _extent(text: str, pen: _Pen) -> tuple[int, int]:
    left, top, right, bottom = pen.font.getbbox(text)
    return round(right - min(left, 0)), round(bottom - top)


def _readable_on(colour: Colour) -> Colour:
    red, green, blue = colour
    return _INK_DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else _INK_LIGHT


def _draw_classification(canvas: Image.Image, found: Classification) -> None:
    """A dark panel in the upper left corner: a line a label, its score, and a bar as long as the score."""
    if not found.labels:
        return
    pen = _Pen.for_picture(canvas.size)
    gap, line = 2 * pen.margin, _extent("Ag", pen)[1]
    row = line + 3 * pen.margin
    scores = [f"{score:.0%}" for score in found.scores.tolist()]
    score_width = _extent("100%", pen)[0]
    room = canvas.width - 4 * gap - score_width - gap
    labels = [_shortened(label, pen, room) for label in found.labels]
    inner = max(max(_extent(label, pen)[0] for label in labels) + gap + score_width, 8 * line)
    inner = min(inner, canvas.width - 4 * gap)
    rows = max(1, min(len(labels), (canvas.height - 3 * gap) // row))
    panel = (gap, gap, gap + inner + 2 * gap, gap + rows * row + gap)
    _darken(canvas, panel, radius=gap)
    ink = ImageDraw.Draw(canvas)
    for index in range(rows):
        left, top = 2 * gap, gap + pen.margin + index * row
        right, colour = left + inner, colour_of(int(found.class_ids[index]))
        ink.text((left, top + line / 2 + pen.margin), labels[index], _INK_LIGHT, pen.font, anchor="lm")
        ink.text((right, top + line / 2 + pen.margin), scores[index], _INK_LIGHT, pen.font, anchor="rm")
        bar = top + line + 2 * pen.margin
        ink.rectangle((left, bar, right, bar + pen.line), fill=(70, 74, 82))
        ink.rectangle((left, bar, left + inner * float(found.scores[index]), bar + pen.line), fill=colour)


def _darken(canvas: Image.Image, panel: tuple[int, int, int, int], radius: int) -> None:
    left, top, right, bottom = panel
    mask = Image.new("L", (max(1, right - left), max(1, bottom - top)), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), radius, fill=205)
    canvas.paste(Image.new("RGB", mask.size, _PANEL), (left, top), mask)
