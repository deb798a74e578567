"""Maps: a number for every part of a picture, such as its depth or how much it shows of something."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import EngineFailure, InvalidManifest
from app.vision.class_names import ClassNames
from app.vision.image import Size
from app.vision.map_cells import cells_of_picture, seen_box
from app.vision.preprocessing import Placement
from app.vision.region import Region
from app.vision.tasks import OF_BOXES, OF_VECTORS, Grey, MapSize, Options, Outputs, TaskSpec, chosen_output, refuse

Unit = Literal["metres", "relative", "inverse", "score"]
Plane = NDArray[np.float32]

ONLY_LABEL = "map"
"""The name of a single map that nobody named."""
MOST_VALUES = 2**22
"""Of all maps of one answer together."""
LEVELS = 2**16 - 1
_INTERPOLATIONS = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}
# Level 1: what is gained by more is little where the lower bits are noise, and takes five times as long.
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)


class MapsSpec(TaskSpec):
    """The manifest's section for `task: maps`.

    The output is one map [h, w], or one for each of C labels [C, h, w]; h and w need not be the input's. `output` names
    the output to read, where the graph has several. `unit` says what the numbers are: `metres`; `relative` distances,
    larger is farther; `inverse` ones, larger is nearer (as of disparities); or a `score` of 0 to 1, which
    `apply_sigmoid` makes of logits. `size` is how large maps are answered where a request does not say it: as the
    model's output is, or as the upright picture. On the way to that numbers are interpolated as `interpolation` says;
    by default scores linearly, so that they stay scores, and others by cubic convolution.
    """

    output: str | None = None
    unit: Unit = "relative"
    apply_sigmoid: bool = False
    size: MapSize = "model"
    interpolation: Literal["linear", "cubic"] | None = None

    @property
    def how(self) -> Literal["linear", "cubic"]:
        """The interpolation."""
        return self.interpolation or ("linear" if self.unit == "score" else "cubic")


@dataclass(frozen=True, slots=True)
class MapFile:
    """One map as a grey PNG of 16 bits: a number is its pixel * `scale` + `offset`; `minimum` and `maximum` are the
    smallest and the largest number of the map itself.
    """

    png: bytes
    scale: float
    offset: float
    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Maps:
    """Maps of a picture: `planes` float32 [n, h, w] in `unit`, of `class_ids` int64 [n] and their `labels`.

    All of them lie on `map_box`, x0, y0, x1, y1 in pixels of the upright original: the whole picture or, after a centre
    crop, what the model has seen of it. `files` are the same as they are answered.
    """

    planes: Plane
    unit: Unit
    map_box: tuple[float, float, float, float]
    class_ids: NDArray[np.int64]
    labels: tuple[str, ...]
    files: tuple[MapFile, ...]


class MapsTask:
    """Turns a dense model's outputs into `Maps`."""

    name: ClassVar[str] = "maps"

    def __init__(self, spec: MapsSpec, labels: tuple[str, ...]) -> None:
        """`labels` name the output's channels in their order; a single one needs no name."""
        self.spec = spec
        self.labels = labels or (ONLY_LABEL,)
        self._names = ClassNames(self.labels)

    def check(self, outputs: Outputs) -> None:
        """Check one picture's output rows at warm-up.

        Raises `InvalidManifest` where `output` is missing or ambiguous, or its shape or its numbers do not fit.
        """
        table = chosen_output(outputs, self.spec.output)
        shape = list(table.shape)
        if table.ndim not in (2, 3) or not table.size or table.dtype.kind not in "fiu":
            raise InvalidManifest(
                f"output: maps are numbers [height, width] or [channels, height, width] a picture, but the model's "
                f"output is {table.dtype} {shape}; choose another output"
            )
        channels = 1 if table.ndim == 2 else shape[0]
        if channels != len(self.labels):
            if shape[-1] == len(self.labels):
                raise InvalidManifest(
                    f"output: the model's is {shape}, with the channels last; maps are [channels, height, width], so "
                    "let the graph transpose them"
                )
            raise InvalidManifest(f"labels: the model gives {channels} maps, but {len(self.labels)} have a name")
        if table.size > MOST_VALUES:
            raise InvalidManifest(
                f"output: the model's {shape} holds {table.size} numbers a picture; an answer has at most {MOST_VALUES}"
            )
        if self.spec.unit == "score" and not self.spec.apply_sigmoid and (table.min() < -0.01 or table.max() > 1.01):
            raise InvalidManifest(
                f"unit: the model's numbers are {float(table.min()):.3g} to {float(table.max()):.3g}, which are no "
                "scores of 0 to 1; write `apply_sigmoid: true` where they are logits, or another unit"
            )

    def check_options(self, options: Options) -> None:
        """See `Task.check_options`."""
        names = ("score_threshold", "top_k", *OF_BOXES, *OF_VECTORS)
        refuse(options, names, "the model answers maps, which are numbers for every place")
        if options.classes is not None:
            self._names.ids(options.classes)

    def finish(self, outputs: Outputs, placement: Placement, options: Options) -> Maps:
        """One picture's maps: what is left when a letterbox's margins are cut away, of the request's `classes` alone.

        Raises `EngineFailure` where the outputs hold numbers that are not finite.
        """
        table = chosen_output(outputs, self.spec.output)
        table = table[None] if table.ndim == 2 else table
        wanted = np.arange(len(table)) if options.classes is None else np.sort(self._names.ids(options.classes))
        rows, columns = cells_of_picture(table.shape[1:], placement)
        planes = np.asarray(table[np.ix_(wanted, rows, columns)], np.float32)
        if not np.isfinite(planes).all():
            raise EngineFailure("The model's answer for this picture holds numbers that are not finite.")
        if self.spec.apply_sigmoid:
            planes = np.asarray(0.5 * (1 + np.tanh(0.5 * planes)), np.float32)  # 1 / (1 + exp(-x)) would overflow
        box = seen_box(placement)
        if (options.map_size or self.spec.size) == "original":
            planes = _resized(planes, _size_on(box, len(planes)), self.spec.how)
        if self.spec.unit == "score":
            planes = np.clip(planes, 0, 1)  # at last: cubic convolution goes beyond what it is between
        return Maps(
            planes=planes,
            unit=self.spec.unit,
            map_box=box,
            class_ids=wanted.astype(np.int64),
            labels=tuple(self.labels[class_id] for class_id in wanted.tolist()),
            files=tuple(map(encode_plane, planes)),
        )

    def refine(self, prediction: Maps, grey: Callable[[], Grey], options: Options) -> Maps:
        """Nothing to look at again."""
        return prediction

    def moved(self, prediction: Maps, region: Region, whole: Size) -> Maps:
        """The maps keep their cells; what is outside of the part is outside of them."""
        left, top, right, bottom = prediction.map_box
        box = left + region.left, top + region.top, right + region.left, bottom + region.top
        return replace(prediction, map_box=box)


def encode_plane(plane: Plane) -> MapFile:
    """A map float32 [h, w] as a file, whose pixels are within half a step of its numbers."""
    exact = plane.astype(np.float64)
    low, high = float(exact.min()), float(exact.max())
    scale = (high - low) / LEVELS
    pixels = np.rint((exact - low) / scale) if scale else np.zeros_like(exact)
    _, file = cv2.imencode(".png", pixels.astype(np.uint16), _PNG)
    return MapFile(file.tobytes(), scale, low, low, high)


def decode_plane(png: bytes, scale: float, offset: float) -> Plane:
    """The map float32 [h, w] in a file that `encode_plane` made; raises `ValueError` where it is no such file."""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED) if png else None
    if pixels is None or pixels.ndim != 2 or pixels.dtype != np.uint16:
        raise ValueError("it is no grey PNG of 16 bits")
    return np.asarray(pixels.astype(np.float64) * scale + offset, np.float32)


def _size_on(box: tuple[float, float, float, float], count: int) -> Size:
    """The picture's own pixels under the box or, where so many maps of that size were too much, fewer."""
    width, height = max(1, round(box[2] - box[0])), max(1, round(box[3] - box[1]))
    most = MOST_VALUES // count
    share = min(1.0, (most / (width * height)) ** 0.5)
    width = min(max(1, int(width * share)), most)
    return Size(width, max(1, min(int(height * share), most // width)))


def _resized(planes: Plane, size: Size, how: Literal["linear", "cubic"]) -> Plane:
    resized = [cv2.resize(plane, size, interpolation=_INTERPOLATIONS[how]) for plane in planes]
    return np.asarray(np.stack(resized), np.float32)
