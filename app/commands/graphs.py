"""What an ONNX graph seems to be, from its shapes and from what it answers to random pictures, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.engines.base import Array, Engine
from app.errors import InvalidManifest
from app.vision.image import Size

_DTYPES = ("float32", "float16", "uint8")
_STRIDES = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A section of the manifest, why it is so, and how many classes there are (None where the graph does not tell)."""

    section: dict[str, Any]
    reasons: tuple[str, ...]
    classes: int | None = None


def conclude_input(engine: Engine, size: Size | None) -> Conclusion:
    """Size, layout and dtype of the graph's input; `size` is for graphs that take any.

    Raises `InvalidManifest` where it is no picture, or could be two things.
    """
    spec = engine.input
    shape = [side or "any" for side in spec.shape]
    said = f"the input {spec.name} is {spec.dtype} {shape}"
    if len(shape) != 4 or spec.dtype.name not in _DTYPES:
        raise InvalidManifest(f"{said}, but a picture's is {' or '.join(_DTYPES)} with 4 dimensions.")
    layouts = [layout for layout, place in (("nchw", 1), ("nhwc", 3)) if spec.shape[place] == 3]
    if len(layouts) != 1:
        words = "both its second and last dimensions are" if layouts else "neither its second nor its last dimension is"
        raise InvalidManifest(f"{said}: {words} 3, so it cannot be told where the channels are.")
    sides = spec.shape[2:] if layouts[0] == "nchw" else spec.shape[1:3]
    height, width = sides
    if size is not None and (width not in (None, size.width) or height not in (None, size.height)):
        raise InvalidManifest(f"{said}: --size {size.width},{size.height} does not fit it; leave it out.")
    if size is None and (width is None or height is None):
        raise InvalidManifest(f"{said}: it takes any size; say which is to be served with --size WIDTH,HEIGHT.")
    chosen = size or Size(width or 0, height or 0)
    section = {"size": list(chosen), "layout": layouts[0], "dtype": spec.dtype.name}
    return Conclusion(section, (f"{said}: {layouts[0]}, {chosen.width} x {chosen.height}",))


def conclude_classifier(rows: Mapping[str, Array]) -> Conclusion:
    """Which output has the scores, and whether they are probabilities; `rows` are one picture's outputs.

    Raises `InvalidManifest` where not exactly one output is a row of scores.
    """
    fitting = [name for name, row in rows.items() if row.size > 1 and row.size == max(row.shape)]
    if len(fitting) != 1:
        raise InvalidManifest(f"{_shapes(rows)}: not exactly one of them is a row of scores, so this is no classifier.")
    name, scores = fitting[0], rows[fitting[0]].astype(np.float64)
    probable = bool((scores >= 0).all() and abs(scores.sum() - 1) < 1e-3)
    why = "not negative and sum to 1, so they are probabilities" if probable else "no probabilities, so softmax follows"
    section = {"softmax": not probable} | ({"output": name} if len(rows) > 1 else {})
    return Conclusion(section, (f"the output {name} has {scores.size} scores: {why}",), scores.size)


def conclude_segmenter(rows: Mapping[str, Array], size: Size) -> Conclusion:
    """Which output has the scores or the classes of each place; `rows` are one picture's outputs.

    Raises `InvalidManifest` where not exactly one output can be such a map.
    """
    logits = [name for name, row in rows.items() if row.ndim == 3 and len(row) > 1]
    maps = [name for name, row in rows.items() if row.ndim in (2, 3) and row.size == row.shape[-1] * row.shape[-2] > 0]
    if len(logits) + len(maps) != 1:
        raise InvalidManifest(
            f"{_shapes(rows)}: not exactly one of them is scores [classes, h, w] or class numbers [h, w], so it cannot "
            "be told which is the map; write model.yaml by hand."
        )
    name = (logits or maps)[0]
    output = {"output": name} if len(rows) > 1 else {}
    if maps:
        if (rows[name] != np.rint(rows[name])).any():
            raise InvalidManifest(
                f"{_shapes(rows)}: {name} is no class numbers but one score for each place, a binary mask, which is "
                "not read. Let the graph compare it with its threshold."
            )
        return Conclusion({"layout": "class_map"} | output, (f"{_shapes(rows)}: {name} is class numbers",))
    first, second, third = rows[name].shape
    aspect = size.height / size.width
    if abs(second / third - aspect) > abs(first / second - aspect):
        raise InvalidManifest(
            f"{_shapes(rows)}: {name} seems to have the classes last; let the graph transpose it to [classes, h, w]."
        )
    why = f"{_shapes(rows)}: {name} is the scores of {first} classes for {third} x {second} places"
    return Conclusion({"layout": "logits"} | output, (why,), first)


def conclude_detector(rows: Mapping[str, Array], size: Size, labels: int | None, decoder: str | None) -> Conclusion:
    """Which decoder reads the outputs; `rows` are one picture's, `labels` how many names were given.

    `decoder` settles what would be ambiguous. Raises `InvalidManifest` naming the ambiguity.
    """
    if len(rows) == 1:
        return _conclude_table(rows, size, labels, decoder)
    if len(rows) == 2:
        return _conclude_boxes_scores(rows, size, labels)
    if len(rows) == 3:
        return _conclude_boxes_scores_labels(rows, size)
    raise InvalidManifest(f"{_shapes(rows)}: no decoder reads {len(rows)} outputs.")


def _conclude_table(rows: Mapping[str, Array], size: Size, labels: int | None, decoder: str | None) -> Conclusion:
    """A single output: `yolo` [4 + C, M], `yolo_objectness` or `yolox` [M, 5 + C]."""
    ((name, table),) = rows.items()
    said = f"the output {name} is {list(table.shape)}"
    if table.ndim != 2 or table.shape[0] == table.shape[1]:
        raise InvalidManifest(f"{said} a picture: no decoder reads that (yolo: [4 + C, M]; yolox: [M, 5 + C]).")
    features, across = min(table.shape), table.shape[0] < table.shape[1]
    if across:
        found, classes, why = "yolo", features - 4, f"{said}: few rows of many columns are 4 + C by candidates"
    else:
        found, why = _objectness(table, size, said, decoder)
        classes = features - 5
    if decoder is not None and decoder != found:
        raise InvalidManifest(f"{said}: that is not {decoder}'s; it looks like {found}'s.")
    if classes < 1 or labels not in (None, classes):
        raise InvalidManifest(
            f"{said}: as {found} that is {classes} classes, but there are {labels or 0} labels. "
            "Give the model's own labels, or write model.yaml by hand."
        )
    # Scores of YOLO heads are made by the graph, but for a few exports that leave the last step out.
    scores = table[4:] if across else table[:, 4:]
    section: dict[str, Any] = {"decoder": found}
    return Conclusion(section | _sigmoid(scores), (why, f"so {found} with {classes} classes"), classes)


def _objectness(table: Array, size: Size, said: str, decoder: str | None) -> tuple[str, str]:
    values = table.astype(np.float64)
    cells = sum((size.width // stride) * (size.height // stride) for stride in _STRIDES)
    if len(table) != cells:
        return "yolo_objectness", f"{said}, and not one row a cell of strides 8, 16, 32: decoded boxes"
    if decoder in ("yolox", "yolo_objectness"):
        return decoder, f"{said}, read as {decoder} because --decoder says so"
    if (values[:, 2:4] <= 0).any():
        return "yolox", f"{said}, a row for each cell, and some sizes are not positive: logarithms, not yet decoded"
    if values[:, 0].max() > size.width / 2 and values[:, 1].max() > size.height / 2:
        return "yolo_objectness", f"{said}, a row for each cell, and the centres spread over the input: decoded"
    raise InvalidManifest(
        f"{said}, a row for each cell: that is yolox (raw) or yolo_objectness (decoded), and its values do not tell. "
        "Say which with --decoder."
    )


def _conclude_boxes_scores(rows: Mapping[str, Array], size: Size, labels: int | None) -> Conclusion:
    boxes = [name for name, row in rows.items() if row.ndim == 2 and row.shape[1] == 4]
    if len(boxes) == 2:  # as many classes as a box has sides
        boxes = [name for name in boxes if "box" in name.lower()]
    if len(boxes) != 1:
        raise InvalidManifest(f"{_shapes(rows)}: it cannot be told which one is the boxes [M, 4] and which the scores.")
    box = boxes[0]
    (score,) = (name for name in rows if name != box)
    table = rows[score]
    if table.ndim not in (1, 2) or len(table) != len(rows[box]):
        raise InvalidManifest(f"{_shapes(rows)}: boxes [M, 4] and scores [M, C] need the same M.")
    columns = 1 if table.ndim == 1 else table.shape[1]
    background = labels is not None and columns == labels + 1
    if labels not in (None, columns) and not background:
        raise InvalidManifest(f"{_shapes(rows)}: {columns} scores a box, but there are {labels} labels.")
    places, reason = _places(rows[box], size)
    section = {"decoder": "boxes_scores", "outputs": [box, score], **places, **_sigmoid(table)}
    section |= {"background": True} if background else {}
    why = f"{_shapes(rows)}: {box} are the boxes, {score} their scores"
    more = ("one score more than labels: class 0 is the background",) if background else ()
    return Conclusion(section, (why, reason, *more), columns - background)


def _conclude_boxes_scores_labels(rows: Mapping[str, Array], size: Size) -> Conclusion:
    boxes = [name for name, row in rows.items() if row.ndim == 2 and row.shape[1] == 4]
    flat = [name for name, row in rows.items() if row.ndim == 1]
    numbers = [name for name in flat if rows[name].dtype.kind in "iu"]
    numbers = numbers or [name for name in flat if "label" in name.lower() or "class" in name.lower()]
    if len(boxes) != 1 or len(flat) != 2 or len(numbers) != 1:
        raise InvalidManifest(f"{_shapes(rows)}: they are not boxes [M, 4], scores [M] and class numbers [M].")
    (score,) = (name for name in flat if name not in numbers)
    places, reason = _places(rows[boxes[0]], size)
    section = {"decoder": "boxes_scores_labels", "outputs": [boxes[0], score, numbers[0]], "nms": False, **places}
    return Conclusion(section, (f"{_shapes(rows)}: boxes, scores and class numbers, already suppressed", reason))


def _places(boxes: Array, size: Size) -> tuple[dict[str, Any], str]:
    """Coordinates and format of boxes [M, 4]; corners in pixels are the manifest's default."""
    values = boxes.astype(np.float64)
    section: dict[str, Any] = {}
    if len(values) and np.abs(values).max() <= 2 < min(size):
        section["coordinates"] = "normalized"
    if len(values) and (values[:, 2:] < values[:, :2]).any():
        section["box_format"] = "cxcywh"
    unit = "shares of the input" if "coordinates" in section else "pixels"
    form = "centre and size, as some ends lie before their starts" if "box_format" in section else "corners"
    return section, f"the boxes' values look like {unit}, {form}" if len(values) else "no boxes came to look at: pixels"


def _sigmoid(scores: Array) -> dict[str, Any]:
    return {"apply_sigmoid": True} if scores.size and (scores.min() < -1e-3 or scores.max() > 1 + 1e-3) else {}


def _shapes(rows: Mapping[str, Array]) -> str:
    return "the outputs are " + ", ".join(f"{name} {list(row.shape)}" for name, row in rows.items()) + " a picture"
