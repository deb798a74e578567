"""How a detector's outputs are to be read, from their shapes and from what they hold for pictures.

What can be read in two ways is refused with both of them and with the field that chooses, all that is open at once. A
field that is settled already, by the command line or by a family's name, is never concluded against.
"""

from collections.abc import Callable, Mapping

from app.commands.box_formats import first_axis, places
from app.commands.detector_tables import conclude_table, detections, head
from app.commands.detector_values import (
    Array,
    Found,
    Known,
    background,
    refuse_mixed,
    sigmoid,
    sigmoid_or_nothing,
    together,
)
from app.commands.graphs import Conclusion, shapes
from app.commands.label_offsets import label_offset
from app.commands.looks import Looks, Rows
from app.errors import InvalidManifest
from app.vision.decoders.base import OutputDecoder
from app.vision.decoders.registry import decoder_for
from app.vision.detection_spec import DetectionSpec

Chosen = Callable[[Rows], list[Array]]
"""The outputs that are read, in the decoder's order."""


def conclude_detector(looks: Looks, known: Known) -> Conclusion:
    """Which decoder reads the outputs, and how; raises `InvalidManifest` naming all that is open."""
    if "decoder" in known.settled:
        return _asked(looks, known)
    rows = _named(looks.rows, known.settled)
    if len(rows) == 1:
        return conclude_table(looks, rows, known)
    if len(rows) == 2:
        return _boxes_scores(looks, rows, known)
    counts = [name for name, row in rows.items() if row.size == 1] if len(rows) == 4 else []
    if len(rows) - len(counts[:1]) == 3:
        return _boxes_scores_labels(looks, rows, known, counts[:1])
    raise InvalidManifest(
        f"{shapes(rows)}: it cannot be told how {len(rows)} outputs are read. Name those to read and how, as in "
        "--set detection.decoder=yolo --set detection.outputs=[NAME], or --like FAMILY."
    )


def _named(rows: Rows, settled: Mapping[str, object]) -> Rows:
    """The outputs that were named, in that order; all where none was."""
    names = settled.get("outputs")
    if not isinstance(names, list | tuple):
        return rows
    missing = [name for name in names if name not in rows]
    if missing:
        raise InvalidManifest(f"{shapes(rows)}: there is no {missing[0]} among them; correct detection.outputs.")
    return {name: rows[name] for name in names}


def _asked(looks: Looks, known: Known) -> Conclusion:
    """A decoder that was named: whether it fits and, unless a family says it, what the values tell of the rest."""
    rows = looks.rows
    spec = DetectionSpec.model_validate(dict(known.settled))
    decoder = decoder_for(spec.decoder)
    if not isinstance(decoder, OutputDecoder):
        return Conclusion({}, (f"{shapes(rows)}: read by {spec.decoder}, as was asked",))
    classes = decoder.class_count(spec, rows)
    across = max(row.shape[-1] for row in rows.values() if row.ndim)
    if spec.decoder == "yolo" and not spec.transposed and (classes or 0) + 4 > across:
        raise InvalidManifest(
            f"{shapes(rows)}: more rows than columns, which is not yolo's [4 + C, M] but a row for each candidate: "
            "yolo_objectness, or yolo with --set detection.transposed=true."
        )

    def chosen(rows: Rows) -> list[Array]:
        return decoder.choose(spec, rows)

    if spec.decoder == "yolo" and "extras" not in known.settled and classes:
        (table,) = chosen(rows)
        together(shapes(rows), lambda: refuse_mixed((table if spec.transposed else table.T)[:, 4:]))
    why = f"{shapes(rows)}: read as {spec.decoder}, as was asked"
    if classes is None or not known.asked:
        return Conclusion({}, (why,), classes or None)
    section, reasons = _of_values(looks, spec, chosen, known)
    nothing = 1 if section.get("background") else 0
    return Conclusion(section, (why, *reasons), classes - nothing or None)


def _of_values(
    looks: Looks, spec: DetectionSpec, chosen: Chosen, known: Known
) -> tuple[dict[str, object], tuple[str, ...]]:
    """What the values tell for a decoder that was named, beside its defaults."""
    said = shapes(looks.rows)
    if spec.decoder in ("yolo", "yolo_objectness"):
        rowwise = spec.decoder == "yolo_objectness" or spec.transposed

        def table(rows: Rows) -> Array:
            (only,) = chosen(rows)
            across = only if rowwise else only.T
            return across[:, : across.shape[1] - spec.extras]

        return head(looks, said, known, table, spec.box_format)
    if spec.decoder == "end_to_end":
        return detections(looks, said, known, spec.columns, lambda rows: chosen(rows)[0])
    if spec.decoder == "boxes_scores":
        return together(
            said, *_of_boxes(looks, known, chosen), lambda: _of_scores(_table(chosen(looks.rows)[1]), known)
        )
    if spec.decoder == "boxes_scores_labels":
        return together(said, *_of_boxes(looks, known, chosen), lambda: _of_numbers(looks, known, chosen))
    return {}, ()


def _of_boxes(looks: Looks, known: Known, chosen: Chosen) -> list[Callable[[], Found]]:
    def axis() -> str | None:
        def take(rows: Rows) -> tuple[Array, Array]:
            boxes, scores = chosen(rows)[:2]
            return boxes, scores

        return first_axis(looks, take)

    return [lambda: places(chosen(looks.rows)[0], known, "xyxy", axis)]


def _of_scores(table: Array, known: Known) -> Found:
    """Of scores [M, C]: whether one of them is of nothing, and whether they are logits."""
    if known.labels is not None and table.shape[1] == known.labels + 1:
        return background(table, known.settled)
    return sigmoid_or_nothing(table, known.settled) if known.labels is None else sigmoid(table, known.settled)


def _of_numbers(looks: Looks, known: Known, chosen: Chosen) -> Found:
    """Which number the first class has; what has no score is no detection."""
    if "label_offset" in known.settled:
        return {}, None
    seen = []
    for rows in (looks.noise, looks.sample):
        _, scores, numbers = chosen(rows)[:3]
        seen += numbers[scores > 0].tolist()
    return label_offset(seen, known.names, known.asked)


def _table(scores: Array) -> Array:
    return scores[:, None] if scores.ndim == 1 else scores


def _boxes_scores(looks: Looks, rows: Rows, known: Known) -> Conclusion:
    boxes = [name for name, row in rows.items() if row.ndim == 2 and row.shape[1] == 4]
    if len(boxes) == 2 and known.settled.get("outputs"):
        boxes = boxes[:1]
    elif len(boxes) == 2:  # as many classes as a box has sides
        boxes = [name for name in boxes if "box" in name.lower()]
    if len(boxes) != 1:
        two = all(row.ndim == 2 and row.shape[1] == 4 for row in rows.values())
        named = (
            f"Name the boxes first: --set detection.outputs=[{','.join(rows)}] or the other way round. " if two else ""
        )
        raise InvalidManifest(
            f"{shapes(rows)}: it cannot be told which one is the boxes [M, 4] and which the scores. {named}Where one "
            "output holds both: --decoder yolo --set detection.outputs=[NAME], with --set detection.extras=N for masks."
        )
    box = boxes[0]
    (score,) = (name for name in rows if name != box)
    if rows[score].ndim not in (1, 2) or len(rows[score]) != len(rows[box]):
        raise InvalidManifest(f"{shapes(rows)}: boxes [M, 4] and scores [M, C] need the same M.")
    columns, labels = _table(rows[score]).shape[1], known.labels
    if labels is not None and columns not in (labels, labels + 1):
        raise InvalidManifest(f"{shapes(rows)}: {columns} scores a box, but there are {labels} labels.")

    def chosen(rows: Rows) -> list[Array]:
        return [rows[box], rows[score]]

    section, reasons = together(
        shapes(rows), *_of_boxes(looks, known, chosen), lambda: _of_scores(_table(rows[score]), known)
    )
    why = f"{shapes(rows)}: {box} are the boxes, {score} their scores"
    return Conclusion(
        {"decoder": "boxes_scores", "outputs": [box, score], **section}, (why, *reasons), labels or columns
    )


def _unbatched(looks: Looks) -> str:
    if (looks.settled.get("batching") or {}).get("batch_dimension") is False:
        return ""
    return (
        " Where the outputs are those of a single picture, without a batch dimension: "
        "--set batching.batch_dimension=false."
    )


def _boxes_scores_labels(looks: Looks, rows: Rows, known: Known, count: list[str]) -> Conclusion:
    rows = {name: row for name, row in rows.items() if name not in count}
    boxes = [name for name, row in rows.items() if row.ndim == 2 and row.shape[1] == 4]
    flat = [name for name, row in rows.items() if row.ndim == 1]
    numbers = [name for name in flat if rows[name].dtype.kind in "iu"]
    numbers = numbers or [name for name in flat if "label" in name.lower() or "class" in name.lower()]
    if len(boxes) != 1 or len(flat) != 2 or len(numbers) != 1:
        raise InvalidManifest(
            f"{shapes(rows)}: they are not boxes [M, 4], scores [M] and class numbers [M]." + _unbatched(looks)
        )
    box, number = boxes[0], numbers[0]
    (score,) = (name for name in flat if name != number)

    def chosen(rows: Rows) -> list[Array]:
        return [rows[box], rows[score], rows[number]]

    section, reasons = together(
        shapes(rows), *_of_boxes(looks, known, chosen), lambda: _of_numbers(looks, known, chosen)
    )
    decoder = {"decoder": "boxes_scores_labels", "outputs": [box, score, number, *count], "nms": False}
    why = f"{shapes(rows)}: boxes, scores and class numbers, already suppressed"
    return Conclusion({**decoder, **section}, (why, *reasons))
