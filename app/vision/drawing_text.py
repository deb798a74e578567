"""Lines of text drawn onto their picture: where each is, and in which order they are read."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.vision.drawing_shapes import draw_polygon
from app.vision.pen import LINE, Canvas, Colour, Pen, fill, readable_on


def draw_lines(
    canvas: Canvas, quads: NDArray[np.float32], captions: Sequence[str], colours: Sequence[Colour], pen: Pen
) -> None:
    """Outlines of `quads` [n, 4, 2] in pixels of the canvas, with a caption each above its upper left corner, or within
    where there is no room. What OpenCV's font lacks of a caption is drawn as question marks.
    """
    for quad, colour in zip(quads, colours, strict=True):
        draw_polygon(canvas, quad, colour, pen)
    for quad, caption, colour in zip(quads, captions, colours, strict=True):
        _draw_caption(canvas, quad, caption, colour, pen)


def _draw_caption(canvas: Canvas, quad: NDArray[np.float32], caption: str, colour: Colour, pen: Pen) -> None:
    pad = max(1, pen.margin // 2)
    text = pen.shortened(caption, canvas.shape[1] - 2 * pad)
    width, height = pen.width_of(text) + 2 * pad, round(LINE * pen.text) + 2 * pad
    left = max(0, min(round(float(quad[:, 0].min())), canvas.shape[1] - width))
    top = round(float(quad[:, 1].min())) - height - pen.line
    top = max(0, min(top, canvas.shape[0] - height))
    fill(canvas, left, top, left + width, top + height, colour)
    pen.write(canvas, text, left + pad, top + pad, readable_on(colour))
