"""Embeddings: a picture as a vector, near to those of pictures that are alike."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from app.errors import EngineFailure, InvalidManifest, InvalidRequest
from app.vision.header import Size
from app.vision.preprocessing import Placement
from app.vision.region import Region
from app.vision.tasks import (
    OF_BOXES,
    OF_MAPS,
    EmbeddingFormat,
    Grey,
    Options,
    Outputs,
    TaskSpec,
    chosen_output,
    refuse,
)

MOST_DIMENSIONS = 65_536
_DIGITS = 7
"""Significant digits of float32, of the largest number in a vector."""
_TOKENS, _PLANES = 2, 3


class EmbeddingSpec(TaskSpec):
    """The manifest's section for `task: embedding`.

    `output` names the output to read, where the graph has several, and `pick` what of it is the vector of D numbers:

    - `none`: all of it, [D];
    - `cls`: the first of the tokens [T, D];
    - `mean`: the mean of the tokens [T, D], of which the first `skip_tokens` are left out (a class token, registers),
      or of the places of a map [D, h, w].

    With `normalize` the vector's length becomes 1 (L2). `format` is how it is told where a request does not say it.
    """

    output: str | None = None
    pick: Literal["none", "cls", "mean"] = "none"
    skip_tokens: int = Field(default=0, ge=0)
    normalize: bool = True
    format: EmbeddingFormat = "json"


@dataclass(frozen=True, slots=True)
class Embedding:
    """A picture's `vector`, float32 [D]; `normalized` where its length is 1.

    `told` is the vector as it is answered: numbers, or little-endian ones in base64, as `format` says.
    """

    vector: NDArray[np.float32]
    normalized: bool
    format: EmbeddingFormat
    told: list[float] | str


class EmbeddingTask:
    """Turns a model's outputs into an `Embedding`."""

    name: ClassVar[str] = "embedding"
    labels: tuple[str, ...] = ()

    def __init__(self, spec: EmbeddingSpec) -> None:
        self.spec = spec

    def check(self, outputs: Outputs) -> None:
        """Check one picture's output rows at warm-up.

        Raises `InvalidManifest` where `output` is missing or ambiguous, or `pick` does not fit its shape.
        """
        table = chosen_output(outputs, self.spec.output)
        if table.dtype.kind != "f":
            raise InvalidManifest(f"output: the model's is {table.dtype}, but a vector's numbers are floats")
        dimensions = _PICKS[self.spec.pick](table, self.spec.skip_tokens).size
        if not 2 <= dimensions <= MOST_DIMENSIONS:
            raise InvalidManifest(f"output: a vector has 2 to {MOST_DIMENSIONS} numbers, but the model's {dimensions}")

    def check_options(self, options: Options) -> None:
        """See `Task.check_options`."""
        names = ("score_threshold", "top_k", "classes", *OF_BOXES, *OF_MAPS)
        refuse(options, names, "the model is an embedding, which answers one vector")

    def finish(self, outputs: Outputs, placement: Placement, options: Options) -> Embedding:
        """One picture's vector.

        Raises `EngineFailure` where it is not finite; `InvalidRequest` where it has no length that could become 1, or
        its numbers are too large for the format that is asked for.
        """
        vector = _PICKS[self.spec.pick](chosen_output(outputs, self.spec.output), self.spec.skip_tokens)
        normalized = self.spec.normalize if options.normalize is None else options.normalize
        if not np.isfinite(vector).all():
            raise EngineFailure("The model's answer for this picture holds numbers that are not finite.")
        if normalized:
            vector = _of_length_one(vector)
        form = options.embedding_format or self.spec.format
        return Embedding(vector, normalized, form, told(vector, form))

    def refine(self, prediction: Embedding, grey: Callable[[], Grey], options: Options) -> Embedding:
        """Nothing to look at again."""
        return prediction

    def moved(self, prediction: Embedding, region: Region, whole: Size) -> Embedding:
        """It has no place."""
        return prediction


def told(vector: NDArray[np.float32], form: EmbeddingFormat) -> list[float] | str:
    """A vector [D] as it is answered. As JSON its numbers have seven digits of the largest.

    Raises `InvalidRequest` where its numbers are too large for float16.
    """
    if form == "json":
        largest = float(np.abs(vector).max(initial=0))
        decimals = _DIGITS - (int(np.floor(np.log10(largest))) + 1 if largest else 0)
        numbers: list[float] = vector.astype(np.float64).round(decimals).tolist()
        return numbers
    with np.errstate(over="ignore"):
        written = vector.astype("<f2" if form == "float16" else "<f4")
    if not np.isfinite(written).all():
        raise InvalidRequest(
            f"embedding_format: float16 cannot hold numbers as large as {np.abs(vector).max():.3g}, which this vector "
            "has; ask for float32, or for normalize=true."
        )
    return b64encode(written.tobytes()).decode()


def _of_length_one(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    exact = vector.astype(np.float64)
    length = float(np.sqrt(np.square(exact).sum()))
    if length == 0:
        raise InvalidRequest(
            "normalize: the model's vector for this picture is all zeros, which has no direction; ask for "
            "normalize=false."
        )
    return np.asarray(exact / length, np.float32)


def _whole(table: NDArray[Any], skipped: int) -> NDArray[np.float32]:
    if table.size != max(table.shape, default=0):
        hint = {_TOKENS: "pick: cls or mean", _PLANES: "pick: mean"}.get(table.ndim, "another output")
        raise InvalidManifest(
            f"pick: the model's output is {list(table.shape)} a picture, which is no single vector; choose {hint}"
        )
    if skipped:
        raise InvalidManifest("skip_tokens: belongs to pick: mean; remove it")
    return np.asarray(table.reshape(-1), np.float32)


def _first(table: NDArray[Any], skipped: int) -> NDArray[np.float32]:
    if table.ndim != _TOKENS or not table.size:
        raise InvalidManifest(
            f"pick: cls is the first of the tokens [T, D], but the model's output is {list(table.shape)} a picture"
        )
    if skipped:
        raise InvalidManifest("skip_tokens: belongs to pick: mean; remove it")
    return np.asarray(table[0], np.float32)


def _mean(table: NDArray[Any], skipped: int) -> NDArray[np.float32]:
    shape = list(table.shape)
    if table.ndim == _TOKENS and len(table) > skipped:
        return _averaged(table[skipped:], (0,))
    if table.ndim == _TOKENS:
        raise InvalidManifest(f"skip_tokens: the model's output {shape} has {len(table)} tokens; {skipped} leave none")
    if table.ndim != _PLANES or not table.size:
        raise InvalidManifest(
            f"pick: mean is of tokens [T, D] or of a map [D, h, w], but the model's output is {shape}"
        )
    if skipped:
        raise InvalidManifest(f"skip_tokens: belongs to tokens [T, D], but the model's output is {shape}; remove it")
    if shape[0] == shape[1] != shape[2]:
        raise InvalidManifest(
            f"pick: the model's output is {shape}, with the channels last; a map is [D, h, w], so let the graph "
            "transpose it"
        )
    return _averaged(table, (1, 2))


def _averaged(table: NDArray[Any], axes: tuple[int, ...]) -> NDArray[np.float32]:
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is found afterwards
        return np.asarray(table.mean(axis=axes, dtype=np.float64), np.float32)


_PICKS: dict[str, Callable[[NDArray[Any], int], NDArray[np.float32]]] = {"none": _whole, "cls": _first, "mean": _mean}
