"""Semantic segmentation: which class every part of a picture shows."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import EngineFailure, InvalidManifest
from app.vision.class_names import ClassNames
from app.vision.header import Size
from app.vision.map_cells import cells_of_picture
from app.vision.preprocessing import Placement
from app.vision.region import Region
from app.vision.tasks import (
    OF_BOXES,
    OF_MAPS,
    OF_VECTORS,
    Grey,
    Options,
    Outputs,
    TaskSpec,
    chosen_output,
    refuse,
)

UNKNOWN = 255
"""What a map has where the model's number is no label's; in PASCAL VOC's masks it means the same."""

_NOT_FINITE = "The model's answer for this picture holds numbers that are not finite."
# Level 6: a map of 704 x 704 takes 3 ms and a seventh of the bytes that OpenCV's own choice, 1 ms, gives.
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 6)


class SegmentationSpec(TaskSpec):
    """The manifest's section for `task: segmentation`.

    With C classes, of which `labels` names every one, the output is

    - `logits`: scores [C, h, w], of which the largest wins (probabilities will do as well);
    - `class_map`: the classes' numbers [h, w], of any type.

    h and w need not be the input's. `output` names the output to read, where the graph has several. With `background`,
    class 0 means nothing: it has a label and is in the map, but is neither listed nor drawn.
    """

    layout: Literal["logits", "class_map"] = "logits"
    output: str | None = None
    background: bool = False


@dataclass(frozen=True, slots=True)
class Segmentation:
    """Which class every part of a picture shows.

    `class_map` uint8 [h, w] holds class ids, `UNKNOWN` where there is none, in the resolution of the model's output;
    all of it lies on `map_box`, x0, y0, x1, y1 in pixels of the upright original: the whole picture or, after a centre
    crop, what the model has seen of it. `png` is the same map as a file.

    Of each class that is there, the largest first: `class_ids` int64 [n], `labels` their names, `shares` float32 [n]
    of the whole picture, 0 to 1, and `boxes` float32 [n, 4] around them, in pixels of the upright original.
    """

    class_map: NDArray[np.uint8]
    map_box: tuple[float, float, float, float]
    png: bytes
    class_ids: NDArray[np.int64]
    labels: tuple[str, ...]
    shares: NDArray[np.float32]
    boxes: NDArray[np.float32]


class SegmentationTask:
    """Turns a segmentation model's outputs into a `Segmentation`."""

    name: ClassVar[str] = "segmentation"

    def __init__(self, spec: SegmentationSpec, labels: tuple[str, ...]) -> None:
        """`labels` are the names of the classes, the background's included."""
        self.spec = spec
        self.labels = labels
        self._names = ClassNames(labels)

    def check(self, outputs: Outputs) -> None:
        """Check one picture's output rows at warm-up.

        Raises `InvalidManifest` where `output` is missing or ambiguous, or the layout or the labels do not fit it.
        """
        if len(self.labels) > UNKNOWN:
            raise InvalidManifest(f"labels: there are {len(self.labels)}; a map holds at most {UNKNOWN} classes")
        table = chosen_output(outputs, self.spec.output)
        if self.spec.layout == "class_map":
            if _plane(table).ndim != 2 or not table.size:
                raise InvalidManifest(
                    f"layout: class_map is [height, width] a picture, but the model's output is {list(table.shape)}"
                    + ("; choose layout: logits" if table.ndim == 3 else "; choose another output")
                )
        else:
            self._check_logits(table)

    def check_options(self, options: Options) -> None:
        """See `Task.check_options`."""
        names = ("score_threshold", "top_k", *OF_BOXES, *OF_VECTORS, *OF_MAPS)
        refuse(options, names, "the model is a segmentation, whose places each have one class")
        if options.classes is not None:
            self._names.ids(options.classes)

    def finish(self, outputs: Outputs, placement: Placement, options: Options) -> Segmentation:
        """Decode one picture's output rows: what is left when a letterbox's margins are cut away. A request's `classes`
        are those that are listed; the map has all.

        Raises `EngineFailure` where the outputs hold anything but finite numbers.
        """
        table = chosen_output(outputs, self.spec.output)
        rows, columns = cells_of_picture(table.shape[-2:], placement)
        table = table[..., rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        numbers = _best(table) if self.spec.layout == "logits" else _known(_plane(table), len(self.labels))
        class_map = numbers[np.ix_(rows - rows[0], columns - columns[0])]
        map_box = placement.to_original(np.array([placement.visible], np.float32))[0]
        wanted = None if options.classes is None else self._names.ids(options.classes)
        return self._summed_up(class_map, map_box, placement, wanted)

    def refine(self, prediction: Segmentation, grey: Callable[[], Grey], options: Options) -> Segmentation:
        """Nothing to look at again."""
        return prediction

    def moved(self, prediction: Segmentation, region: Region, whole: Size) -> Segmentation:
        """The map keeps its cells; what is outside of the part is outside of the map."""
        left, top, right, bottom = prediction.map_box
        shift = np.array([region.left, region.top] * 2, np.float32)
        share = np.float32(region.pixels / (whole.width * whole.height))
        box = left + region.left, top + region.top, right + region.left, bottom + region.top
        return replace(prediction, map_box=box, shares=prediction.shares * share, boxes=prediction.boxes + shift)

    def _check_logits(self, table: NDArray[Any]) -> None:
        shape, classes = list(table.shape), len(self.labels)
        if _plane(table).ndim == 2:
            raise InvalidManifest(
                f"layout: logits are [classes, height, width] a picture, but the model's output is {shape}: if those "
                "are class numbers, choose layout: class_map; a single score for each place (a binary mask) is not "
                "read, so let the graph compare it with its threshold"
            )
        if table.ndim != 3 or not table.size:
            raise InvalidManifest(
                f"layout: logits are [classes, height, width] a picture, but the model's output is {shape}; "
                "choose another output"
            )
        if shape[0] == classes:
            return
        if shape[2] == classes:
            raise InvalidManifest(
                f"layout: the model's output is {shape}, with the classes last; logits are [classes, height, width], "
                "so let the graph transpose them"
            )
        raise InvalidManifest(f"labels: the model scores {shape[0]} classes, but the manifest lists {classes} labels")

    def _summed_up(
        self,
        class_map: NDArray[np.uint8],
        box: NDArray[np.float32],
        placement: Placement,
        wanted: NDArray[np.int64] | None,
    ) -> Segmentation:
        counts = np.bincount(class_map.reshape(-1), minlength=UNKNOWN + 1)[:UNKNOWN]
        counts[: int(self.spec.background)] = 0
        if wanted is not None:
            counts[np.setdiff1d(np.arange(UNKNOWN), wanted)] = 0
        present = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
        seen = float((box[2] - box[0]) * (box[3] - box[1])) / (placement.size.width * placement.size.height)
        return Segmentation(
            class_map=class_map,
            map_box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
            png=encode_map(class_map),
            class_ids=present.astype(np.int64),
            labels=tuple(self.labels[class_id] for class_id in present.tolist()),
            shares=(counts[present] * (min(1.0, seen) / class_map.size)).astype(np.float32),
            boxes=_boxes(class_map, present.tolist(), box),
        )


def encode_map(class_map: NDArray[np.uint8]) -> bytes:
    """A map uint8 [h, w] as a grey PNG of 8 bits, whose values are the class ids."""
    _, file = cv2.imencode(".png", class_map, _PNG)
    return file.tobytes()


def decode_map(png: bytes) -> NDArray[np.uint8]:
    """The map uint8 [h, w] in a file that `encode_map` made; raises `ValueError` where it is no such file."""
    class_map = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED) if png else None
    if class_map is None or class_map.ndim != 2 or class_map.dtype != np.uint8:
        raise ValueError("it is no grey PNG of 8 bits")
    return np.asarray(class_map, np.uint8)


def _plane(table: NDArray[Any]) -> NDArray[Any]:
    """[h, w], where that was [1, h, w]."""
    return table[0] if table.ndim == 3 and len(table) == 1 else table


def _best(logits: NDArray[Any]) -> NDArray[np.uint8]:
    """The class of the largest score, the first of equal ones: [C, h, w] to uint8 [h, w].

    With OpenCV, plane by plane, that takes an eighth of numpy's `argmax` over the first axis.
    """
    planes = np.ascontiguousarray(logits, np.float32)
    best, numbers = planes[0].copy(), np.zeros(planes.shape[1:], np.uint8)
    for number, plane in enumerate(planes):
        if not np.isfinite(plane).all():
            raise EngineFailure(_NOT_FINITE)
        better = cv2.compare(plane, best, cv2.CMP_GT)  # 255 where it is
        np.maximum(numbers, better & np.uint8(number), out=numbers)  # a later class has the larger number
        np.maximum(best, plane, out=best)
    return numbers


def _known(numbers: NDArray[Any], classes: int) -> NDArray[np.uint8]:
    """A graph's own class numbers [h, w]; what is no label's becomes `UNKNOWN`."""
    if numbers.dtype.kind == "f" and not np.isfinite(numbers).all():
        raise EngineFailure(_NOT_FINITE)
    return np.where((numbers >= 0) & (numbers < classes), numbers, UNKNOWN).astype(np.uint8)


def _boxes(class_map: NDArray[np.uint8], class_ids: list[int], box: NDArray[np.float32]) -> NDArray[np.float32]:
    """Boxes float32 [n, 4] around the classes, in the unit of `box`, on which the map lies."""
    cells = [cv2.boundingRect((class_map == class_id).view(np.uint8)) for class_id in class_ids]
    corners = np.array(cells, np.float64).reshape(-1, 4)
    corners[:, 2:] += corners[:, :2]
    height, width = class_map.shape
    cell = np.array([(box[2] - box[0]) / width, (box[3] - box[1]) / height] * 2, np.float64)
    return np.asarray(box[[0, 1, 0, 1]] + corners * cell, np.float32)
