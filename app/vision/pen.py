"""What is drawn with: lines, plates and letters of widths that suit a picture."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from app.vision.image import Size

Colour = tuple[int, int, int]
Canvas = NDArray[np.uint8]

INK_LIGHT, INK_DARK = (255, 255, 255), (16, 18, 22)
LONGEST_TEXT = 80
_PANEL = (17, 20, 26)
_STRIP_PIXELS = 2**18
# Inside the text's em: how far down the baseline lies, and how high a line is.
BASELINE, LINE = 0.80, 1.0


@dataclass(frozen=True, slots=True)
class Pen:
    """Widths in pixels that suit a picture's size: of lines, of margins around text, and of the text's em."""

    line: int
    margin: int
    text: int

    @classmethod
    def for_picture(cls, size: Size) -> "Pen":
        """That which suits a picture of this size."""
        side = (size.width * size.height) ** 0.5
        text = max(9, min(round(side / 62), min(size) // 6, 96))
        return cls(line=max(1, round(side / 340)), margin=max(2, round(text * 0.32)), text=text)

    def width_of(self, text: str) -> int:
        """How many pixels a line of text takes."""
        x, _, width, _ = cv2.getTextSize((0, 0), text, (0, 0), _font(), self.text, 400)
        return int(x + width)

    def write(self, canvas: Canvas, text: str, left: int, top: int, ink: Colour) -> None:
        """Write on one line, whose upper left corner is given."""
        cv2.putText(canvas, text, (left, top + round(BASELINE * self.text)), ink, _font(), self.text, 400)

    def shortened(self, text: str, room: int) -> str:
        """As much of the text as `room` pixels hold."""
        # What cannot be printed is left out: OpenCV 5.0 crashes on a lone surrogate.
        text = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * LONGEST_TEXT])
        text = " ".join(text.split())
        if len(text) <= LONGEST_TEXT and self.width_of(text) <= room:
            return text
        for kept in range(min(len(text), LONGEST_TEXT) - 1, 0, -1):
            if self.width_of(text[:kept] + "…") <= room:
                return text[:kept] + "…"
        return ""


def _font() -> cv2.FontFace:
    # OpenCV's own font knows most of the world's scripts (Pillow's stops at ASCII). One object shared by two threads
    # sometimes draws wrong letters; making one costs four microseconds.
    return cv2.FontFace("sans")


def readable_on(colour: Colour) -> Colour:
    """Ink that can be read on it."""
    red, green, blue = colour
    return INK_DARK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else INK_LIGHT


def fill(canvas: Canvas, left: int, top: int, right: int, bottom: int, colour: Colour) -> None:
    """A rectangle, as much of it as lies on the canvas; `right` and `bottom` are the first pixels outside."""
    canvas[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = colour


def darken(canvas: Canvas, left: int, top: int, right: int, bottom: int, radius: int) -> None:
    """A mostly opaque dark panel with round corners."""
    under = canvas[top:bottom, left:right]
    height, width = under.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    cv2.rectangle(mask, (radius, radius), (width - 1 - radius, height - 1 - radius), 255, 2 * radius, cv2.LINE_AA)
    mask[radius : height - radius, radius : width - radius] = 255
    for strip, start in strips(under):
        share = mask[start : start + len(strip), :, None] * np.float32(0.82 / 255)
        strip[:] = strip * (1 - share) + np.array(_PANEL, np.float32) * share


def strips(region: Canvas) -> Iterator[tuple[Canvas, int]]:
    """Some rows after the other, and where they begin, so that working on them takes little more memory."""
    height, width = region.shape[:2]
    rows = max(1, _STRIP_PIXELS // max(1, width))
    for start in range(0, height if width else 0, rows):
        yield region[start : start + rows], start
