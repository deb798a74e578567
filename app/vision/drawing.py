"""A prediction drawn onto its picture, for people to look at."""

import colorsys
from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from app.vision.classification import Classification
from app.vision.detection import Detections
from app.vision.drawing_shapes import draw_box, draw_keypoints, draw_polygon
from app.vision.drawing_text import draw_lines
from app.vision.drawing_values import draw_map, draw_vector
from app.vision.embedding import Embedding
from app.vision.image import Picture, Size
from app.vision.instance_masks import Masks
from app.vision.maps import Maps
from app.vision.pen import INK_DARK, INK_LIGHT, LINE, Canvas, Colour, Pen, darken, fill, readable_on, strips
from app.vision.segmentation import Segmentation
from app.vision.text_detection import TextDetection
from app.vision.text_recognition import TextRecognition

Names = tuple[str, ...]

Notes = Sequence[Sequence[str]]

DRAWN_PIXELS = 3840 * 2160
"""Most pixels of a drawn picture: as many as a large screen shows."""

MOST_NOTES = 6
"""Lines below one box."""

_GOLDEN_ANGLE = 0.381966
_FIRST_HUE = 0.57
_TRACK = (70, 74, 82)


def canvas_size(size: Size) -> Size:
    """How large a picture of this upright size is drawn: as it is, or reduced to `DRAWN_PIXELS`."""
    share = (DRAWN_PIXELS / (size.width * size.height)) ** 0.5
    if share >= 1:
        return size
    width, height = (max(1, int(side * share)) for side in size)
    width = min(width, DRAWN_PIXELS // height)  # one of a single row was reduced by its length alone
    return Size(width, min(height, DRAWN_PIXELS // width))


def draw(
    picture: Picture,
    prediction: Detections | Classification | Segmentation | TextDetection | TextRecognition | Embedding | Maps | None,
    size: Size | None = None,
    colours: Sequence[Colour] | None = None,
    notes: Notes = (),
) -> NDArray[np.uint8]:
    """The picture with the prediction on it, where there is one: uint8 [height, width, 3] RGB, of `size` or else
    `canvas_size`.

    A class has the same colour on every picture, unless `colours` has one for each detection. `notes` has for each
    detection lines that are written below its box, where there are any. `picture` itself is not changed.
    """
    size = canvas_size(picture.size) if size is None else size
    height, width = picture.pixels.shape[:2]
    across, down = size.width / width, size.height / height
    if (size.width, size.height) == (width, height):
        canvas = picture.pixels.copy()
    else:
        way = cv2.INTER_AREA if across <= 1 and down <= 1 else cv2.INTER_CUBIC
        canvas = np.asarray(cv2.resize(picture.pixels, size, interpolation=way), np.uint8)
    if prediction is None:
        return canvas
    stretch = np.array([across, down] * 2, np.float32)
    pen = Pen.for_picture(size)
    if isinstance(prediction, Detections):
        located = _on_canvas(picture, prediction, across, down)
        colours = colours or list(map(colour_of, prediction.class_ids.tolist()))
        if prediction.masks is not None:
            whole = picture.located(np.array([[0, 0, *picture.size]], np.float32))[0] * stretch
            _paint_masks(canvas, prediction.masks, colours, whole)
        _draw_detections(canvas, located, colours, pen)
        _draw_notes(canvas, located, notes, colours, pen)
        return canvas
    if isinstance(prediction, Embedding):
        draw_vector(canvas, prediction, pen)
        return canvas
    if isinstance(prediction, Maps):
        draw_map(canvas, prediction, picture.located(np.array([prediction.map_box], np.float32))[0] * stretch, pen)
        return canvas
    if isinstance(prediction, TextDetection):
        _draw_text(canvas, prediction, picture, stretch, notes, pen)
        return canvas
    if isinstance(prediction, TextRecognition):
        _draw_panel(canvas, (prediction.text,), [0], [prediction.score], pen)
        return canvas
    if isinstance(prediction, Segmentation):
        _paint(canvas, prediction, picture.located(np.array([prediction.map_box], np.float32))[0] * stretch)
        shares = prediction.shares
    else:
        shares = prediction.scores
    _draw_panel(canvas, prediction.labels, prediction.class_ids.tolist(), shares.tolist(), pen)
    return canvas


def encode(pixels: NDArray[np.uint8], media_type: Literal["image/jpeg", "image/png"], quality: int = 90) -> bytes:
    """RGB pixels uint8 [height, width, 3] as a file; `quality` 1 to 100 is JPEG's.

    Raises `ValueError` for a size that the format cannot hold (JPEG: 65,500 pixels a side).
    """
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    try:
        if media_type == "image/jpeg":
            done, file = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
        else:
            done, file = cv2.imencode(".png", bgr)
    except cv2.error:
        done = False
    if not done:
        raise ValueError(f"{pixels.shape[1]} x {pixels.shape[0]} pixels do not fit into {media_type}")
    return file.tobytes()


def colour_of(class_id: int) -> Colour:
    """A class's colour, the same for ever; neighbours in number are far apart in hue (steps of the golden angle)."""
    hue = (_FIRST_HUE + class_id * _GOLDEN_ANGLE) % 1
    lightness, saturation = ((0.55, 0.85), (0.68, 0.90), (0.44, 0.80))[class_id // 5 % 3]
    red, green, blue = colorsys.hls_to_rgb(hue, lightness, saturation)
    return round(red * 255), round(green * 255), round(blue * 255)


def _draw_text(
    canvas: Canvas, found: TextDetection, picture: Picture, stretch: NDArray[np.float32], notes: Notes, pen: Pen
) -> None:
    """Each line with what others say of it, or with its number."""
    corners = found.quads.reshape(-1, 4)  # two points each, which is what `located` takes
    quads = (picture.located(corners) * stretch).reshape(-1, 4, 2)
    captions = [" ".join(lines) or str(place) for place, lines in enumerate(notes or [()] * len(quads), 1)]
    draw_lines(canvas, quads, captions, list(map(colour_of, range(len(quads)))), pen)


def _draw_detections(canvas: Canvas, found: Detections, colours: Sequence[Colour], pen: Pen) -> None:
    # The best last, so that nothing lies over it; and every plate over every box.
    ranked = range(len(found.labels))[::-1]
    boxes = found.boxes.tolist()
    for index in ranked:
        _draw_outline(canvas, found, index, boxes[index], colours[index], pen)
    if found.keypoints is not None:
        for index in ranked:
            draw_keypoints(canvas, found.keypoints, index, colours[index], pen)
    for index in ranked:
        top = _upper_left(found, index, boxes[index])
        _draw_plate(canvas, top, _caption(found, index), float(found.scores[index]), colours[index], pen)


def _on_canvas(picture: Picture, found: Detections, across: float, down: float) -> Detections:
    """In pixels of a canvas that has so many for each of the picture's that were decoded."""
    left, top = picture.offset
    return found.moved((across / picture.factor, down / picture.factor), (left * across, top * down))


def _draw_outline(canvas: Canvas, found: Detections, index: int, box: list[float], colour: Colour, pen: Pen) -> None:
    if found.oriented is None:
        draw_box(canvas, box, colour, pen)
    else:
        draw_polygon(canvas, found.oriented.polygons[index], colour, pen)


def _upper_left(found: Detections, index: int, box: list[float]) -> tuple[float, float]:
    """Where a plate lies: of a turned box at its highest corner, from which an upright one's may be far."""
    if found.oriented is None:
        return box[0], box[1]
    x, y = min(found.oriented.polygons[index].tolist(), key=lambda corner: corner[1])
    return x, y


def _caption(found: Detections, index: int) -> str:
    """The label; or, of more use to a reader, what the barcodes on it say."""
    codes = found.barcodes[index] if found.barcodes else ()
    return " · ".join(code.text for code in codes) or found.labels[index]


def _draw_plate(canvas: Canvas, at: tuple[float, float], label: str, score: float, colour: Colour, pen: Pen) -> None:
    """The label on a plate above a box whose upper left corner is given, or inside its upper edge where there is no
    room; never out of the picture.
    """
    canvas_height, canvas_width = canvas.shape[:2]
    ending = f" {score:.0%}"
    room = canvas_width - 2 * pen.margin
    text = (pen.shortened(label, room - pen.width_of(ending)) + ending).strip()
    width, height = pen.width_of(text) + 2 * pen.margin, round(LINE * pen.text) + 2 * pen.margin
    left = max(0, min(round(at[0]), canvas_width - width))
    top = round(at[1]) - height
    if top < 0:
        top = max(0, min(round(at[1]), canvas_height - height))
    fill(canvas, left, top, left + width, top + height, colour)
    pen.write(canvas, text, left + pen.margin, top + pen.margin, readable_on(colour))


def _draw_notes(canvas: Canvas, found: Detections, notes: Notes, colours: Sequence[Colour], pen: Pen) -> None:
    """What others say of each box, on a dark plate below it, or inside its lower edge where there is no room."""
    canvas_height, canvas_width = canvas.shape[:2]
    for lines, box, colour in reversed(list(zip(notes, found.boxes.tolist(), colours, strict=False))):
        texts = [pen.shortened(line, canvas_width - 2 * pen.margin - pen.line) for line in lines[:MOST_NOTES]]
        if not texts:
            continue
        line_height = round(LINE * pen.text)
        width = max(map(pen.width_of, texts)) + 2 * pen.margin + pen.line
        height = line_height * len(texts) + 2 * pen.margin
        left = max(0, min(round(box[0]), canvas_width - width))
        top = max(0, min(round(box[3]), canvas_height - height))
        fill(canvas, left, top, left + width, top + height, INK_DARK)
        fill(canvas, left, top, left + pen.line, top + height, colour)
        for index, text in enumerate(texts):
            pen.write(canvas, text, left + pen.line + pen.margin, top + pen.margin + index * line_height, INK_LIGHT)


def _paint(canvas: Canvas, found: Segmentation, box: NDArray[np.float32]) -> None:
    """Each class's colour over its places; what is no class that is listed stays as it is."""
    listed, colours = np.zeros(256, np.uint8), np.zeros((256, 3), np.uint8)
    for class_id in found.class_ids.tolist():
        listed[class_id], colours[class_id] = 1, colour_of(class_id)
    _tint(canvas, found.class_map, listed, colours, box)


def _paint_masks(canvas: Canvas, found: Masks, colours: Sequence[Colour], whole: NDArray[np.float32]) -> None:
    """Each mask in its detection's colour, the best one on top; `whole` is where the picture lies on the canvas."""
    numbers = np.zeros((found.grid.height, found.grid.width), np.uint16)
    for number, mask in reversed(list(enumerate(found.masks, 1))):
        height, width = mask.bits.shape
        under = numbers[mask.top : mask.top + height, mask.left : mask.left + width]
        under[mask.bits > 0] = number
    listed = np.ones(len(found.masks) + 1, np.uint8)
    listed[0] = 0
    _tint(canvas, numbers, listed, np.array([(0, 0, 0), *colours], np.uint8), whole)


def _tint(
    canvas: Canvas,
    numbers: NDArray[np.unsignedinteger[Any]],
    listed: NDArray[np.uint8],
    colours: NDArray[np.uint8],
    box: NDArray[np.float32],
) -> None:
    """Half of a number's colour over its cells [h, w], which lie on `box`; those of numbers that are not listed stay.

    In strips, so that it takes little more memory than the picture has.
    """
    left, top, right, bottom = (round(edge) for edge in box.tolist())
    region = canvas[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]
    rows, columns = (
        (2 * np.arange(length) + 1) * cells // max(1, 2 * length)  # the cell under each pixel's centre
        for length, cells in zip(region.shape[:2], numbers.shape, strict=True)
    )
    for strip, start in strips(region):
        shown = numbers[np.ix_(rows[start : start + len(strip)], columns)]
        tinted = cv2.addWeighted(strip, 0.5, colours.take(shown, axis=0), 0.5, 0)
        cv2.copyTo(tinted, listed.take(shown), strip)  # a hundred times faster than numpy's


def _draw_panel(canvas: Canvas, names: Names, class_ids: list[int], shares: list[float], pen: Pen) -> None:
    """A dark panel in the upper left corner: a line a label, its share, and a bar of its colour as long as that."""
    gap, height = 2 * pen.margin, round(LINE * pen.text)
    row = height + 2 * pen.margin + 2 * pen.line
    room = canvas.shape[1] - 4 * gap
    rows = min(len(names), (canvas.shape[0] - 3 * gap) // row)
    share_width = pen.width_of("100%") + gap
    labels = [pen.shortened(name, room - share_width) for name in names[: max(0, rows)]]
    if not labels or room <= 0:
        return
    inner = min(room, max(10 * pen.text, share_width + max(pen.width_of(label) for label in labels)))
    darken(canvas, gap, gap, 3 * gap + inner, 2 * gap + rows * row, radius=gap)
    left, right = 2 * gap, 2 * gap + inner
    for index, label in enumerate(labels):
        top, share = 2 * gap + index * row, shares[index]
        pen.write(canvas, label, left, top, INK_LIGHT)
        pen.write(canvas, f"{share:.0%}", right - pen.width_of(f"{share:.0%}"), top, INK_LIGHT)
        # However small a share is, its colour must be seen.
        bar, end = top + height + pen.margin // 2, left + max(2 * pen.line, round(inner * share))
        fill(canvas, left, bar, right, bar + 2 * pen.line, _TRACK)
        fill(canvas, left, bar, min(end, right), bar + 2 * pen.line, colour_of(class_ids[index]))
