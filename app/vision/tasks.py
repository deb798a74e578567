"""What every task has in common: what a request may change, a section of the manifest, and the protocol."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from app.errors import InvalidManifest, InvalidRequest
from app.vision.header import Size
from app.vision.image import Picture
from app.vision.preprocessing import Placement
from app.vision.region import Region
from app.vision.tiling import Tiles, TilesWish

Outputs = Mapping[str, NDArray[np.generic]]
"""One picture's rows of a model's outputs by name, in the graph's order, each without the batch dimension."""

Grey = Picture
"""A whole picture in grey, upright, its pixels [height, width]."""

Coordinates = Literal["pixels", "normalized"]
"""Of boxes: pixels of the upright picture, or 0 to 1 of its width and height."""

MaskFormat = Literal["polygon", "rle", "uncompressed_rle", "png"]
"""How masks are told: outlines, COCO's run lengths, compressed or not, or pictures."""

MaskWish = Literal["polygon", "rle", "uncompressed_rle", "png", "none"]
"""The same, or that they are not even made."""

EmbeddingFormat = Literal["json", "float32", "float16"]
"""How an embedding's numbers are told: as JSON, or in base64 as little-endian numbers of so many bits."""

MapSize = Literal["model", "original"]
"""How large maps are: as the model's output, or as the upright picture."""
Box = tuple[float, float, float, float]

P_co = TypeVar("P_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Options:
    """What one request may change; `None` means the manifest's value.

    Thresholds are 0 to 1; counts are positive. `classes` are names or numbers of those that are answered.
    `coordinates` is how boxes are told, not how they are found: a prediction's own are pixels always. `masks` is how
    each detection's mask is told. `region` is the part of the picture that is asked about: x, y, width, height in
    `coordinates`. `tiles` is how it, or the whole picture, is divided into parts that are looked at by themselves.
    `normalize` is whether an embedding's length becomes 1, `embedding_format` how its numbers are told; `map_size` is
    how large maps are.
    """

    score_threshold: float | None = None
    iou_threshold: float | None = None
    max_detections: int | None = None
    top_k: int | None = None
    read_barcodes: bool | None = None
    classes: tuple[str, ...] | None = None
    class_agnostic: bool | None = None
    coordinates: Coordinates | None = None
    masks: MaskWish | None = None
    normalize: bool | None = None
    embedding_format: EmbeddingFormat | None = None
    map_size: MapSize | None = None
    region: Box | None = None
    tiles: TilesWish | None = None


DEFAULTS = Options()


class TaskSpec(BaseModel):
    """A task's section of `model.yaml`; each task has its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Task(Protocol[P_co]):
    """Turns one picture's rows of a model's outputs into a prediction."""

    name: ClassVar[str]
    labels: tuple[str, ...]

    def check(self, outputs: Outputs) -> None:
        """Check one picture's output rows at warm-up.

        Raises `InvalidManifest` where the manifest's decoder or labels do not fit them.
        """

    def check_options(self, options: Options) -> None:
        """Raise `InvalidRequest` for what cannot be obeyed: ignored, it would make a wrong answer look right."""

    def finish(self, outputs: Outputs, placement: Placement, options: Options) -> P_co:
        """Decode one picture's output rows into pixels of the upright original."""

    def refine(self, prediction: Any, grey: Callable[[], Grey], options: Options) -> Any:
        """Look again at the picture itself, where the task wants to; `grey` decodes it at its full size.

        Takes and returns a prediction of `finish`.
        """

    def moved(self, prediction: Any, region: Region, whole: Size) -> Any:
        """A prediction of a part of a picture in the coordinates of the whole, which is of that upright size."""


AnyTask = Task[Any]


@dataclass(frozen=True, slots=True)
class Part:
    """A task's prediction of a part of a picture, in the part's own coordinates."""

    prediction: Any
    region: Region


@runtime_checkable
class JoiningTask(Protocol):
    """A task that can put what it says of a picture's parts together."""

    @property
    def tiles(self) -> Tiles | None:
        """How pictures are divided where the request does not say it."""

    def join(self, parts: Sequence[Part], size: Size, options: Options) -> Any:
        """One prediction of parts that overlap, of a picture of that upright size, in which their regions lie."""


OF_VECTORS = ("normalize", "embedding_format")
"""Options that only an embedding can obey."""
OF_MAPS = ("map_size",)
"""Options that only maps can obey."""
OF_BOXES = ("iou_threshold", "max_detections", "class_agnostic", "masks")
"""Options that only a detection can obey."""


def refuse(options: Options, names: tuple[str, ...], why: str) -> None:
    """Raise `InvalidRequest` where one of these options is asked for."""
    asked = [name for name in names if getattr(options, name) is not None]
    if asked:
        raise InvalidRequest(f"{', '.join(asked)} cannot be obeyed: {why}. Leave it out.")


def chosen_output(outputs: Outputs, name: str | None) -> NDArray[Any]:
    """The output `name`, or where that is None the only one.

    Raises `InvalidManifest` where there is no such output, or there are several and none is named.
    """
    if name is None and len(outputs) == 1:
        return next(iter(outputs.values()))
    if name is None:
        raise InvalidManifest(f"output: the model has several ({', '.join(outputs)}); name the one to read")
    if name not in outputs:
        raise InvalidManifest(f"output: the model has no {name!r}; it has {', '.join(outputs)}")
    return outputs[name]
