"""How a detector's single output is to be read: a row or a column for each candidate; see `detector_graphs`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.commands.box_formats import first_axis, places
from app.commands.detector_values import Found, Known, refuse_empty, sigmoid, together
from app.commands.graphs import Conclusion
from app.commands.label_offsets import label_offset
from app.commands.looks import Looks, Rows
from app.errors import InvalidManifest
from app.vision.image import Size

Array = NDArray[Any]

_STRIDES = (8, 16, 32)
_FEWEST_NUMBERS = 6
_CLEARLY_MORE = 2
"""From so many times as many candidates as numbers of each on it is clear which are which."""


def conclude_table(looks: Looks, rows: Rows, known: Known) -> Conclusion:
    """Which decoder reads the only output of `rows`; raises `InvalidManifest` naming what is open."""
    ((name, table),) = rows.items()
    said = f"the output {name} is {list(table.shape)}"
    if table.ndim != 2 or table.shape[0] == table.shape[1]:
        raise InvalidManifest(f"{said} a picture: no decoder reads that (yolo: [4 + C, M]; yolox: [M, 5 + C]).")
    together(said, lambda: refuse_empty(table))
    _refuse_both_ways(said, table, known.labels)
    if table.shape[0] < table.shape[1]:
        return _columns(looks, said, table, known)
    rows_of_six = _rows_of_six(looks, said, table, known) if table.shape[1] == 6 else None
    if rows_of_six is not None:
        return rows_of_six
    features, labels = table.shape[1], known.labels
    if labels == features - 4:
        section, reasons = head(looks, said, known, _only, "cxcywh")
        why = f"{said}: 4 + C by candidates, in rows, so yolo with {labels} classes"
        return Conclusion({"decoder": "yolo", "transposed": True, **section}, (why, *reasons), labels)
    if labels is None and features > 6:
        raise InvalidManifest(
            f"{said}: that is {features - 5} classes and an objectness (yolo_objectness, yolox), or {features - 4} "
            "classes without (yolo, transposed). Give the names with --labels; their number tells."
        )
    return _with_objectness(looks, said, table, known)


def head(
    looks: Looks, said: str, known: Known, take: Callable[[Rows], Array], default: str, boxes: bool = True
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What the values of a table [M, 4 + scores] tell of its boxes and scores, `take` being where it is; raises
    `InvalidManifest` naming what is open.
    """
    table = take(looks.rows)

    def axis() -> str | None:
        return first_axis(looks, lambda rows: (take(rows)[:, :4], take(rows)[:, 4:]))

    questions: list[Callable[[], Found]] = [lambda: sigmoid(table[:, 4:], known.settled)]
    if boxes:
        questions.insert(0, lambda: places(table[:, :4], known, default, axis))
    return together(said, *questions)


def detections(
    looks: Looks, said: str, known: Known, columns: tuple[str, ...], take: Callable[[Rows], Array]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What the values of rows [M, 6] with these columns tell of boxes and class numbers; raises as `head` does."""

    def parts(rows: Rows) -> Mapping[str, Array]:
        return _split(_filled(take(rows)), columns)

    boxes = parts(looks.rows)["box"]

    def axis() -> str:  # every family that gives such rows has x first
        return first_axis(looks, lambda rows: (parts(rows)["box"], parts(rows)["score"][:, 0])) or "x"

    def offset() -> Found:
        if "label_offset" in known.settled:
            return {}, None
        seen = [parts(rows)["class"][:, 0] for rows in (looks.noise, looks.sample)]
        return label_offset(np.concatenate(seen).tolist(), known.names, known.asked)

    return together(said, lambda: places(boxes, known, "xyxy", axis), offset)


def _split(table: Array, columns: tuple[str, ...]) -> dict[str, Array]:
    """The columns of rows of detections by their names, `box` being four."""
    found, place = {}, 0
    for name in columns:
        width = 4 if name == "box" else 1
        found[name] = table[:, place : place + width]
        place += width
    return found


def _filled(table: Array) -> Array:
    """Without the rows of zeros that fill a table up."""
    return np.asarray(table[np.abs(table.astype(np.float64)).sum(axis=1) > 0])


def _only(rows: Rows) -> Array:
    """The one output, or the first where the others were not asked for."""
    return next(iter(rows.values()))


def _refuse_both_ways(said: str, table: Array, labels: int | None) -> None:
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


def _columns(looks: Looks, said: str, table: Array, known: Known) -> Conclusion:
    extras = known.settled.get("extras", 0)
    classes = len(table) - 4 - extras
    if known.labels is None and classes > 1 and "extras" not in known.settled:
        raise InvalidManifest(
            f"{said}: that is {classes} classes, or fewer and further numbers behind them (mask coefficients, "
            "keypoints, an angle). Give the classes' names with --labels, whose number tells; or say that all "
            "are classes with --decoder yolo."
        )
    check_classes(said, "yolo", classes, known.labels)
    section, reasons = head(looks, said, known, lambda rows: _only(rows)[: 4 + classes].T, "cxcywh")
    why = f"{said}: few rows of many columns are 4 + C by candidates"
    return Conclusion({"decoder": "yolo", **section}, (why, *reasons, f"so yolo with {classes} classes"), classes)


def _rows_of_six(looks: Looks, said: str, table: Array, known: Known) -> Conclusion | None:
    """[M, 6]: end-to-end rows, or one class with an objectness, or two without."""
    there = _filled(table).astype(np.float64)
    readings = {
        "box, score, class": _are_detections(there[:, 4], there[:, 5]),
        "class, score, box": _are_detections(there[:, 1], there[:, 0]),
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
    columns = tuple(fitting[0].split(", "))
    section, reasons = detections(looks, f"{said}: rows of {fitting[0]}", known, columns, _only)
    section = {"decoder": "end_to_end", **({} if columns[0] == "box" else {"columns": list(columns)}), **section}
    why = f"{said}: each row is {fitting[0]}, as some numbers are whole and others 0 to 1"
    return Conclusion(section, (why, *reasons))


def _are_detections(scores: Array, numbers: Array) -> bool:
    """Whether these can be scores and class numbers, which are whole."""
    whole = bool((numbers == np.rint(numbers)).all() and (numbers >= 0).all())
    return whole and bool((scores >= 0).all() and (scores <= 1).all())


def _with_objectness(looks: Looks, said: str, table: Array, known: Known) -> Conclusion:
    classes = table.shape[1] - 5
    found, why = _objectness(table, known.size, said)
    check_classes(said, found, classes, known.labels)
    raw = found == "yolox"
    section, reasons = head(looks, said, known, _only, "cxcywh", boxes=not raw)
    return Conclusion({"decoder": found, **section}, (why, *reasons, f"so {found} with {classes} classes"), classes)


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
        "Say which with --decoder yolox or --decoder yolo_objectness."
    )


def check_classes(said: str, decoder: str, classes: int, labels: int | None) -> None:
    """Raise `InvalidManifest` where a head of so many classes does not fit the labels."""
    if classes >= 1 and labels in (None, classes):
        return
    more = classes - (labels or 0)
    if classes >= 1 and more > 0:
        turned = ", or an angle (--set detection.rotated=true as well)" if more == 1 else ""
        points = f", with --set detection.keypoints.names=[…] for {more // 3} points" if more % 3 == 0 else ""
        raise InvalidManifest(
            f"{said}: as {decoder} that is {classes} classes, but there are {labels or 0} labels. Give the model's own "
            f"labels; or, where {more} numbers are mask coefficients or keypoints{turned}: --decoder {decoder} "
            f"--set detection.extras={more}{points}."
        )
    raise InvalidManifest(
        f"{said}: as {decoder} that is {max(classes, 0)} classes, but there are {labels or 0} labels. "
        "Give the model's own labels, or write model.yaml by hand."
    )
