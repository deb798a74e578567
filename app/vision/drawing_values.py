"""Maps and embeddings drawn: numbers as colours, and a legend that says which is which."""

import cv2
import numpy as np
from numpy.typing import NDArray

from app.vision.embedding import Embedding
from app.vision.maps import Maps
from app.vision.pen import INK_LIGHT, LINE, Canvas, Pen, darken, strips

OPACITY = 0.8
_COLOURS: NDArray[np.uint8] = np.ascontiguousarray(
    cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_INFERNO)[:, 0, ::-1], np.uint8
)
"""Dark to bright, evenly to the eye and in grey as well: uint8 [256, 3] RGB. What is larger is brighter."""


def draw_map(canvas: Canvas, found: Maps, box: NDArray[np.float32], pen: Pen) -> None:
    """The first map's colours over its part of the canvas, `box`, so that the picture shines through, and a legend."""
    plane, file = found.planes[0], found.files[0]
    left, top, right, bottom = (round(edge) for edge in box.tolist())
    region = canvas[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    spread = file.maximum - file.minimum
    shades = ((plane.astype(np.float64) - file.minimum) * (255 / spread if spread else 0)).astype(np.float32)
    height, width = region.shape[:2]
    for strip, start in strips(region):
        shown: NDArray[np.uint8] = _COLOURS[_rows_of(shades, (height, width), start, len(strip))]
        strip[:] = cv2.addWeighted(strip, 1 - OPACITY, shown, OPACITY, 0)
    more = f" (1 of {len(found.labels)})" if len(found.labels) > 1 else ""
    _draw_legend(canvas, f"{found.labels[0]}{more}, {found.unit}", (_told(file.minimum), _told(file.maximum)), pen)


def draw_vector(canvas: Canvas, found: Embedding, pen: Pen) -> None:
    """A panel with the count of dimensions, and a strip in which each number has its colour."""
    largest = float(np.abs(found.vector).max()) or 1.0
    shades = ((found.vector / largest + 1) * 127.5).astype(np.uint8)
    words = f"{len(found.vector)} dimensions{', length 1' if found.normalized else ''}"
    _draw_legend(canvas, words, (_told(-largest), _told(largest)), pen, _COLOURS[shades])


def _rows_of(shades: NDArray[np.float32], size: tuple[int, int], start: int, count: int) -> NDArray[np.uint8]:
    """Rows `start` to `start + count` of the shades resized to `size` (height, width), without the rest."""
    height, width = size
    rows, columns = shades.shape
    ys = np.clip((np.arange(start, start + count, dtype=np.float32) + 0.5) * (rows / height) - 0.5, 0, rows - 1)
    xs = np.clip((np.arange(width, dtype=np.float32) + 0.5) * (columns / width) - 0.5, 0, columns - 1)
    above, before = ys.astype(np.intp), xs.astype(np.intp)
    below, after = np.minimum(above + 1, rows - 1), np.minimum(before + 1, columns - 1)
    down, along = (ys - above)[:, None], (xs - before)[None]
    upper = shades[above]
    lines = upper + (shades[below] - upper) * down
    first = lines[:, before]
    shown: NDArray[np.uint8] = np.rint(first + (lines[:, after] - first) * along).astype(np.uint8)
    return shown


def _draw_legend(
    canvas: Canvas, title: str, ends: tuple[str, str], pen: Pen, bar: NDArray[np.uint8] = _COLOURS
) -> None:
    """A dark panel in the upper left corner: a title, a bar of colours [n, 3], and what its two ends are."""
    gap, height = 2 * pen.margin, round(LINE * pen.text)
    room = canvas.shape[1] - 4 * gap
    tall = 3 * height + 4 * pen.margin
    if room < 2 * pen.text or canvas.shape[0] < tall + 3 * gap:
        return
    title = pen.shortened(title, room)
    low, high = ends
    inner = min(room, max(14 * pen.text, pen.width_of(title), pen.width_of(f"{low}   {high}")))
    darken(canvas, gap, gap, 3 * gap + inner, 2 * gap + tall, radius=gap)
    left, top = 2 * gap, 2 * gap - pen.margin
    pen.write(canvas, title, left, top, INK_LIGHT)
    colours = cv2.resize(
        bar[None], (inner, height), interpolation=cv2.INTER_AREA if len(bar) > inner else cv2.INTER_LINEAR
    )
    canvas[top + height + pen.margin : top + 2 * height + pen.margin, left : left + inner] = colours
    ends_top = top + 2 * height + 2 * pen.margin
    pen.write(canvas, low, left, ends_top, INK_LIGHT)
    pen.write(canvas, high, left + inner - pen.width_of(high), ends_top, INK_LIGHT)


def _told(number: float) -> str:
    return f"{number:.3g}"
