"""How a detector's outputs are to be read, from their shapes and from what they hold for a random picture.

What can be read in two ways is refused with both of them and with the field that chooses. A field that is settled
already, by the command line or by a family's name, is never concluded against.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.commands.detector_values import (
    background,
    coordinates,
    places,
    refuse_background,
    refuse_empty,
    refuse_mixed,
    sigmoid,
)
from app.commands.graphs import Conclusion, shapes
from app.errors import InvalidManifest
from app.vision.decoders.base import OutputDecoder
from app.vision.decoders.registry import decoder_for
from app.vision.detection_spec import DetectionSpec
from app.vision.image import Size

Array = NDArray[Any]

_STRIDES = (8, 16, 32)
_FEWEST_NUMBERS = 6
_CLEARLY_MORE = 2
"""From so many times as many candidates as numbers of each on it is clear which are which."""


def conclude_detector(
    rows: Mapping[str, Array], size: Size, labels: int | None, settled: Mapping[str, Any]
) -> Conclusion:
    """Which decoder reads the outputs; `rows` are one picture's, `labels` how many names were given, `settled` the
    fields of the section that are known.

    Raises `InvalidManifest` naming the ambiguity.
    """
    if "decoder" in settled:
        found = _settled(rows, settled)
    elif len(rows) == 1:
        found = _conclude_table(rows, size, labels, settled)
    elif len(rows) == 2:
        found = _conclude_boxes_scores(rows, size, labels, settled)
    elif len(rows) == 3:
        found = _conclude_boxes_scores_labels(rows, size, settled)
    else:
        raise InvalidManifest(
            f"{shapes(rows)}: it cannot be told how {len(rows)} outputs are read. Name those to read and how, as in "
            "--set detection.decoder=yolo --set detection.outputs=[NAME], or --like FAMILY."
        )
    return found


def _settled(rows: Mapping[str, Array], settled: Mapping[str, Any]) -> Conclusion:
    spec = DetectionSpec.model_validate(dict(settled))
    decoder = decoder_for(spec.decoder)
    classes = decoder.class_count(spec, rows) if isinstance(decoder, OutputDecoder) else None
    across = max(row.shape[-1] for row in rows.values() if row.ndim)
    if spec.decoder == "yolo" and not spec.transposed and (classes or 0) + 4 > across:
        raise InvalidManifest(
            f"{shapes(rows)}: more rows than columns, which is not yolo's [4 + C, M] but a row for each candidate: "
            "yolo_objectness, or yolo with --set detection.transposed=true."
        )
    if spec.decoder == "yolo" and "extras" not in settled and classes:
        table = rows[spec.outputs[0] if spec.outputs else next(iter(rows))]
        refuse_mixed(shapes(rows), (table if spec.transposed else table.T)[:, 4:])
    return Conclusion({}, (f"{shapes(rows)}: read as {spec.decoder}, as was asked",), classes or None)


def _conclude_table(
    rows: Mapping[str, Array], size: Size, labels: int | None, settled: Mapping[str, Any]
) -> Conclusion:
    """A single output: a row or a column for each candidate."""
    ((name, table),) = rows.items()
    said = f"the output {name} is {list(table.shape)}"
    if table.ndim != 2 or table.shape[0] == table.shape[1]:
        raise InvalidManifest(f"{said} a picture: no decoder reads that (yolo: [4 + C, M]; yolox: [M, 5 + C]).")
    refuse_empty(said, table)
    _refuse_both_ways(said, table, size, labels)
    if table.shape[0] < table.shape[1]:
        return _conclude_columns(said, table, size, labels, settled)
    rows_of_six = _conclude_rows_of_six(said, table, size, labels) if table.shape[1] == 6 else None
    if rows_of_six is not None:
        return rows_of_six
    features = table.shape[1]
    if labels == features - 4:
        section = {"decoder": "yolo", "transposed": True, **coordinates(said, table[:, :4], size, settled)}
        why = f"{said}: 4 + C by candidates, in rows, so yolo with {labels} classes"
        return Conclusion(section | sigmoid(said, table[:, 4:], settled), (why,), labels)
    if labels is None and features > 6:
        raise InvalidManifest(
            f"{said}: that is {features - 5} classes and an objectness (yolo_objectness, yolox), or {features - 4} "
            "classes without (yolo, transposed). Give the names with --labels; their number tells."
        )
    found, why = _objectness(table, size, said)
    _check_classes(said, found, features - 5, labels, 5)
    section = {"decoder": found} | (
        coordinates(said, table[:, :4], size, settled) if found == "yolo_objectness" else {}
    )
    section |= sigmoid(said, table[:, 4:], settled)
    return Conclusion(section, (why, f"so {found} with {features - 5} classes"), features - 5)


def _refuse_both_ways(said: str, table: Array, size: Size, labels: int | None) -> None:
    """A table nearly as high as wide may have its candidates in rows or in columns."""
    first, second = table.shape
    in_rows, in_columns = labels in (None, second - 4, second - 5), labels in (None, first - 4)
    few = max(first, second) < _CLEARLY_MORE * min(first, second)
    if min(first, second) > _FEWEST_NUMBERS and few and in_rows and in_columns and first < second:
        raise InvalidManifest(
            f"{said}, which has two readings: {second} candidates of {first - 4} classes in columns, or {first} "
            f"candidates of {second - 5} classes and an objectness in rows. Choose with --decoder yolo, or with "
            "--decoder yolo_objectness (or yolox)."
        )


def _conclude_columns(
    said: str, table: Array, size: Size, labels: int | None, settled: Mapping[str, Any]
) -> Conclusion:
    classes = len(table) - 4
    if labels is None and classes > 1 and "extras" not in settled:
        raise InvalidManifest(
            f"{said}: that is {classes} classes, or fewer and further numbers behind them (mask coefficients, "
            "keypoints, an angle). Give the classes' names with --labels, whose number tells; or say that all "
            "are classes with --decoder yolo."
        )
    _check_classes(said, "yolo", classes, labels, 4)
    section = {
        "decoder": "yolo",
        **coordinates(said, table[:4].T, size, settled),
        **sigmoid(said, table[4:].T, settled),
    }
    why = f"{said}: few rows of many columns are 4 + C by candidates"
    return Conclusion(section, (why, f"so yolo with {classes} classes"), classes)


def _conclude_rows_of_six(said: str, table: Array, size: Size, labels: int | None) -> Conclusion | None:
    """[M, 6]: end-to-end rows, or one class with an objectness, or two without."""
    values = table.astype(np.float64)
    there = values[np.abs(values).sum(axis=1) > 0]
    readings = {
        "box, score, class": _are_detections(there[:, 4], there[:, 5], labels),
        "class, score, box": _are_detections(there[:, 1], there[:, 0], labels),
    }
    fitting = [reading for reading, fits in readings.items() if fits]
    if not fitting:
        return None
    if len(there) == 0 or len(fitting) > 1:
        raise InvalidManifest(
            f"{said}, whose values do not tell which of these a row is: {'; '.join(readings)}; or a box, an objectness "
            "and one class (yolo_objectness). Choose with --set detection.decoder=end_to_end and "
            "--set detection.columns=[box,score,class], or with --decoder yolo_objectness."
        )
    columns = fitting[0].split(", ")
    section: dict[str, Any] = {"decoder": "end_to_end"}
    section |= {} if columns[0] == "box" else {"columns": columns}
    place = 0 if columns[0] == "box" else 2
    boxes = there[:, place : place + 4]
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise InvalidManifest(
            f"{said}: rows of {fitting[0]}, but of some boxes the ends lie before the starts, so they are no corners. "
            "Say what they are with --set detection.decoder=end_to_end --set detection.box_format=cxcywh."
        )
    section |= coordinates(said, boxes, size, {})
    return Conclusion(section, (f"{said}: each row is {fitting[0]}, as some numbers are whole and others 0 to 1",))


def _are_detections(scores: Array, numbers: Array, labels: int | None) -> bool:
    """Whether these can be scores and class numbers: the latter whole, and none that no label has."""
    most = np.inf if labels is None else labels
    whole = bool((numbers == np.rint(numbers)).all() and (numbers >= 0).all() and (numbers <= most).all())
    return whole and bool((scores >= 0).all() and (scores <= 1).all())


def _objectness(table: Array, size: Size, said: str) -> tuple[str, str]:
    values = table.astype(np.float64)
    cells = sum((size.width // stride) * (size.height // stride) for stride in _STRIDES)
    if len(table) != cells:
        return "yolo_objectness", f"{said}, and not one row a cell of strides 8, 16, 32: decoded boxes"
    if (values[:, 2:4] <= 0).any():
        return "yolox", f"{said}, a row for each cell, and some sizes are not positive: logarithms, not yet decoded"
    if values[:, 0].max() > size.width / 2 and values[:, 1].max() > size.height / 2:
        return "yolo_objectness", f"{said}, a row for each cell, and the centres spread over the input: decoded"
    raise InvalidManifest(
        f"{said}, a row for each cell: that is yolox (raw) or yolo_objectness (decoded), and its values do not tell. "
        "Say which with --decoder."
    )


def _check_classes(said: str, decoder: str, classes: int, labels: int | None, others: int) -> None:
    if classes >= 1 and labels in (None, classes):
        return
    more = classes - (labels or 0)
    if classes >= 1 and more > 0:
        turned = ", or an angle (--set detection.rotated=true as well)" if more == 1 else ""
        raise InvalidManifest(
            f"{said}: as {decoder} that is {classes} classes, but there are {labels or 0} labels. Give the model's own "
            f"labels; or, where {more} numbers are mask coefficients or keypoints{turned}: --decoder {decoder} "
            f"--set detection.extras={more}."
        )
    raise InvalidManifest(
        f"{said}: as {decoder} that is {max(classes, 0)} classes, but there are {labels or 0} labels. "
        "Give the model's own labels, or write model.yaml by hand."
    )


def _conclude_boxes_scores(
    rows: Mapping[str, Array], size: Size, labels: int | None, settled: Mapping[str, Any]
) -> Conclusion:
    boxes = [name for name, row in rows.items() if row.ndim == 2 and row.shape[1] == 4]
    if len(boxes) == 2:  # as many classes as a box has sides
        boxes = [name for name in boxes if "box" in name.lower()]
    if len(boxes) != 1:
        raise InvalidManifest(
            f"{shapes(rows)}: it cannot be told which one is the boxes [M, 4] and which the scores. Where one output "
            "holds both: --decoder yolo --set detection.outputs=[NAME], with --set detection.extras=N for masks."
        )
    box = boxes[0]
    (score,) = (name for name in rows if name != box)
    scores = rows[score]
    if scores.ndim not in (1, 2) or len(scores) != len(rows[box]):
        raise InvalidManifest(f"{shapes(rows)}: boxes [M, 4] and scores [M, C] need the same M.")
    table = scores[:, None] if scores.ndim == 1 else scores
    columns = table.shape[1]
    if labels not in (None, columns) and columns != (labels or 0) + 1:
        raise InvalidManifest(f"{shapes(rows)}: {columns} scores a box, but there are {labels} labels.")
    refuse_empty(shapes(rows), rows[box])
    found, reason = places(shapes(rows), rows[box], size, settled)
    section: dict[str, Any] = {"decoder": "boxes_scores", "outputs": [box, score], **found}
    why = f"{shapes(rows)}: {box} are the boxes, {score} their scores"
    if labels is not None and columns == labels + 1:
        nothing, more = background(shapes(rows), table, settled)
        return Conclusion(section | nothing, (why, reason, more), labels)
    if labels is None and columns > 1:
        refuse_background(shapes(rows), table, settled)
    return Conclusion(section | sigmoid(shapes(rows), table, settled), (why, reason), columns)


def _conclude_boxes_scores_labels(rows: Mapping[str, Array], size: Size, settled: Mapping[str, Any]) -> Conclusion:
    boxes = [name for name, row in rows.items() if row.ndim == 2 and row.shape[1] == 4]
    flat = [name for name, row in rows.items() if row.ndim == 1]
    numbers = [name for name in flat if rows[name].dtype.kind in "iu"]
    numbers = numbers or [name for name in flat if "label" in name.lower() or "class" in name.lower()]
    if len(boxes) != 1 or len(flat) != 2 or len(numbers) != 1:
        raise InvalidManifest(
            f"{shapes(rows)}: they are not boxes [M, 4], scores [M] and class numbers [M]. Where the outputs are those "
            "of a single picture, without a batch dimension: --set batching.batch_dimension=false."
        )
    (score,) = (name for name in flat if name not in numbers)
    refuse_empty(shapes(rows), rows[boxes[0]])
    found, reason = places(shapes(rows), rows[boxes[0]], size, settled)
    section = {"decoder": "boxes_scores_labels", "outputs": [boxes[0], score, numbers[0]], "nms": False, **found}
    return Conclusion(section, (f"{shapes(rows)}: boxes, scores and class numbers, already suppressed", reason))
