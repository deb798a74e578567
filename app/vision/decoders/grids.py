"""Answers of heads that were exported without their own decoding: a row for each cell of several grids."""

import numpy as np

from app.errors import EngineFailure
from app.vision.decoders.base import (
    Array,
    Candidates,
    OutputDecoder,
    Rows,
    corners,
    refuse_nan,
    select_classes,
    softmax,
    strongest,
)
from app.vision.decoders.tables import YoloObjectness
from app.vision.detection_spec import DetectionSpec
from app.vision.image import Size

_DOES_NOT_FIT = "The model's grid does not fit its input: its manifest's `strides` or `size` are wrong."


class Yolox(YoloObjectness):
    """[M, 5 + C] as YOLOX's heads give it: (x + cell) * stride, exp(w) * stride (Ge et al. 2021, arXiv 2107.08430)."""

    def classes(self, spec: DetectionSpec, *outputs: Array) -> int | None:
        # All grids together are a multiple of this many cells, whatever the input's size.
        unit = sum((max(spec.strides) // stride) ** 2 for stride in spec.strides)
        return super().classes(spec, *outputs) if len(outputs[0]) % unit == 0 else None

    def _boxes(self, predictions: Array, rows: Rows, spec: DetectionSpec, model_size: Size) -> Array:
        places, stride = _cells(len(predictions), rows, spec, model_size)
        raw = predictions[rows, :4].astype(np.float32)
        return np.concatenate(((raw[:, :2] + places) * stride, np.exp(raw[:, 2:]) * stride), axis=1)


class Gfl(OutputDecoder):
    """Scores and, for each side of a box, a distribution of its distance from the cell in strides: NanoDet, PicoDet.

    [M, C + 4 * bins]; or scores [M, C] of every stride, and then distributions [M, 4 * bins] of every stride (Li et
    al. 2020, Generalized Focal Loss, arXiv 2006.04388).
    """

    def classes(self, spec: DetectionSpec, *outputs: Array) -> int | None:
        if any(output.ndim != 2 for output in outputs):
            return None
        if len(outputs) == 1:
            classes = outputs[0].shape[1] - 4 * spec.bins
            return classes if classes > 0 else None
        scores, sides = outputs[: len(spec.strides)], outputs[len(spec.strides) :]
        fits = all(len(a) == len(b) and b.shape[1] == 4 * spec.bins for a, b in zip(scores, sides, strict=True))
        return scores[0].shape[1] if fits and len({a.shape[1] for a in scores}) == 1 else None

    def candidates(self, spec: DetectionSpec, model_size: Size, threshold: float, *outputs: Array) -> Candidates:
        if len(outputs) == 1:
            scores, sides = outputs[0][:, : -4 * spec.bins], outputs[0][:, -4 * spec.bins :]
        else:
            scores, sides = (np.concatenate(part) for part in np.split(np.array(outputs, object), 2))
        rows, class_ids, kept = select_classes(scores, spec, threshold)
        places, stride = _cells(len(scores), rows, spec, model_size, round_up=True)
        shares = softmax(sides[rows].reshape(len(rows), 4, spec.bins))
        distances = shares @ np.arange(spec.bins, dtype=np.float32) * stride
        centre = (places + spec.cell_offset) * stride
        boxes = np.concatenate((centre - distances[:, :2], centre + distances[:, 2:]), axis=1)
        return Candidates(corners(boxes, spec, model_size), kept, class_ids, rows)


class FastestDet(OutputDecoder):
    """[5 + C, rows, columns] of a single grid: objectness, four numbers of a box, classes.

    Written from the project's own post-processing: tanh(x) + cell, sigmoid(w) of the picture, and a score of
    objectness ** 0.6 * class ** 0.4.
    """

    dimensions = (3,)

    def classes(self, spec: DetectionSpec, *outputs: Array) -> int | None:
        return outputs[0].shape[0] - 5 if outputs[0].ndim == 3 and outputs[0].shape[0] > 5 else None

    def candidates(self, spec: DetectionSpec, model_size: Size, threshold: float, *outputs: Array) -> Candidates:
        lines, columns = outputs[0].shape[1:]
        table = outputs[0].reshape(len(outputs[0]), -1).astype(np.float32)
        refuse_nan(table[4:])
        refuse_nan(table[0])
        classes = table[5:]
        scores = np.clip(table[0], 0, None) ** 0.6 * np.clip(classes.max(axis=0), 0, None) ** 0.4
        rows = strongest(scores, threshold, spec.max_candidates)
        grid = np.array((columns, lines), np.float32)
        centre = (np.tanh(table[1:3, rows]).T + np.stack((rows % columns, rows // columns), axis=1)) / grid
        boxes = np.concatenate((centre, 1 / (1 + np.exp(-table[3:5, rows].T))), axis=1)
        return Candidates(corners(boxes, spec, model_size), scores[rows], classes[:, rows].argmax(axis=0), rows)


def _cells(
    count: int, rows: Rows, spec: DetectionSpec, model_size: Size, round_up: bool = False
) -> tuple[Array, Array]:
    """Column and line [n, 2] of these rows' cells, and their strides [n, 1]; the grids follow each other.

    Raises `EngineFailure` where the grids of an input of this size have not `count` cells.
    """
    sizes = [
        tuple(-(-side // stride) if round_up else side // stride for side in model_size) for stride in spec.strides
    ]
    ends = np.cumsum([columns * lines for columns, lines in sizes])
    if ends[-1] != count:
        raise EngineFailure(_DOES_NOT_FIT)
    level = np.searchsorted(ends, rows, side="right")
    columns = np.array([columns for columns, _ in sizes])[level]
    cell = rows - np.concatenate(([0], ends))[level]
    places = np.stack((cell % columns, cell // columns), axis=1).astype(np.float32)
    return places, np.array(spec.strides, np.float32)[level][:, None]
