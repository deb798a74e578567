"""Two answers to one picture, drawn side by side: what only one of them says has a colour of its own."""

from collections.abc import Sequence

import numpy as np

from app.vision.agreement import partners
from app.vision.classification import Classification
from app.vision.detection import Detections
from app.vision.drawing import draw
from app.vision.embedding import Embedding
from app.vision.image import Picture, Size
from app.vision.maps import Maps
from app.vision.pen import INK_LIGHT, Canvas, Colour, Pen, fill
from app.vision.segmentation import Segmentation
from app.vision.text_detection import TextDetection
from app.vision.text_recognition import TextRecognition

SAME, CHANGED, LOST, GAINED = (150, 156, 164), (250, 204, 21), (239, 68, 36), (14, 165, 233)
"""Colours of detections that both have, that have another class in the other answer, and that the first or the second
alone has.
"""
LEGEND = {LOST: "only on the left", GAINED: "only on the right", CHANGED: "another class", SAME: "alike"}
SIDE = Size(760, 760)
"""The most that either side takes."""
_DARK = (17, 20, 26)
_PEN = Pen(line=1, margin=8, text=17)
_GAP = 6

Prediction = Detections | Classification | Segmentation | TextDetection | TextRecognition | Embedding | Maps


def side_size(size: Size) -> Size:
    """How large a picture of this upright size is drawn on either side."""
    share = min(SIDE.width / size.width, SIDE.height / size.height)
    return Size(max(1, round(size.width * share)), max(1, round(size.height * share)))


def draw_pair(picture: Picture, first: Prediction, second: Prediction, titles: tuple[str, str]) -> Canvas:
    """Both answers, of one task, on the picture, each under its title: uint8 [height, width, 3] RGB."""
    size = side_size(picture.size)
    sides: Sequence[tuple[Prediction, list[Colour] | None]]
    if isinstance(first, Detections) and isinstance(second, Detections):
        sides = _coloured(first, second)
    else:
        sides = [(first, None), (second, None)]
    drawn = [
        np.vstack([_strip(size.width, title), draw(picture, answer, size, colours)])
        for (answer, colours), title in zip(sides, titles, strict=True)
    ]
    return np.hstack([drawn[0], np.full((drawn[0].shape[0], _GAP, 3), 255, np.uint8), drawn[1]])


def draw_legend(width: int) -> Canvas:
    """A strip that says what the colours mean: uint8 [height, width, 3] RGB."""
    strip, left = _strip(width), _PEN.margin
    for colour, words in LEGEND.items():
        fill(strip, left, _PEN.margin, left + _PEN.text, _PEN.margin + _PEN.text, colour)
        left += _PEN.text + _PEN.margin
        _PEN.write(strip, words, left, _PEN.margin, INK_LIGHT)
        left += _PEN.width_of(words) + 3 * _PEN.margin
    return strip


def _coloured(first: Detections, second: Detections) -> list[tuple[Detections, list[Colour]]]:
    alike, changed = partners(first, second)
    ones, others = [LOST] * len(first.labels), [GAINED] * len(second.labels)
    for pairs, colour in ((alike, SAME), (changed, CHANGED)):
        for one, other in pairs:
            ones[one] = others[other] = colour
    return [_with_differences_above(first, ones), _with_differences_above(second, others)]


def _with_differences_above(found: Detections, colours: list[Colour]) -> tuple[Detections, list[Colour]]:
    """In the order in which the first lies above all others."""
    order = sorted(range(len(colours)), key=lambda index: colours[index] == SAME)
    return found.take(order), [colours[index] for index in order]


def _strip(width: int, title: str = "") -> Canvas:
    strip = np.empty((_PEN.text + 2 * _PEN.margin, width, 3), np.uint8)
    fill(strip, 0, 0, width, strip.shape[0], _DARK)
    _PEN.write(strip, _PEN.shortened(title, width - 2 * _PEN.margin), _PEN.margin, _PEN.margin, INK_LIGHT)
    return strip
