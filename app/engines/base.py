"""The protocol that every engine keeps, and what an engine is opened with."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from app.engines.devices import Device

if TYPE_CHECKING:
    import torch

Array = NDArray[np.generic]
EngineName = Literal["onnx", "openvino", "torch", "tensorrt"]
Precision = Literal["fp32", "bf16", "fp16", "int8"]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a graph. `shape` includes the batch dimension; a dynamic dimension is None."""

    name: str
    dtype: np.dtype[np.generic]
    shape: tuple[int | None, ...]

    @property
    def batch_size(self) -> int | None:
        """The fixed batch dimension, or None where it is dynamic."""
        return self.shape[0] if self.shape else None

    def one_by_one(self) -> "TensorSpec":
        """The same with a batch dimension of 1, where it is dynamic."""
        return self if self.batch_size is not None else replace(self, shape=(1, *self.shape[1:]))


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How a model file is to be opened.

    `precision` is that of the computation; inputs and outputs keep the graph's types. For `int8` the file must be a
    quantized graph (QDQ), whose other nodes are computed in fp32. `lanes` is how many threads will call `run` at once,
    `threads` how many cores each of them may use; `max_batch` bounds the batch. `memory_limit` bounds what the engine
    takes of a GPU's memory, in bytes, where it can be bounded. `cache_dir` is a folder where
    compiled models may be kept between starts. `graphs` says whether CUDA graphs may be captured. `constants` are the
    values of the graph's inputs beside the picture, for one picture, by name.
    """

    device: Device
    precision: Precision = "fp32"
    lanes: int = 1
    threads: int = 1
    max_batch: int = 1
    memory_limit: int | None = None
    cache_dir: Path | None = None
    graphs: bool = True
    constants: Mapping[str, Array] = field(default_factory=dict)


class Engine(Protocol):
    """A model file on a device. `run` may be called from several threads at once."""

    name: str
    device: str
    precision: Precision
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]

    def run(self, batch: Array) -> dict[str, Array]:
        """Compute one batch.

        `batch` has the shape and dtype of `input`. Returns every output by name, in the graph's order, each `[batch,
        …]`. Anything it raises is taken as a failure of this batch.
        """

    def warm_up(self, batch: Array) -> dict[str, Array]:
        """Like `run`, in every place that may compute such a batch later, so that none meets its size for the first
        time in a request.
        """

    def host_buffer(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
        """Zeroed memory for batches, kept by a lane; where there is a GPU, memory that it copies from fastest."""

    def close(self) -> None:
        """Free what the engine holds; it is not used afterwards."""


@runtime_checkable
class IntegerEngine(Engine, Protocol):
    """An engine that computes quantized graphs, and can say how much of one it really computes in integers."""

    def integer_layers(self) -> tuple[int, int]:
        """How many of the convolutions and matrix products are computed in integers, and how many there are, in the
        graph as the engine has optimised it.
        """


@runtime_checkable
class TensorEngine(Engine, Protocol):
    """An engine that also takes batches which lie on its device already, as PyTorch tensors."""

    def run_on_device(self, batch: "torch.Tensor") -> dict[str, Array]:
        """Like `run`; nothing is copied to the host but the outputs.

        `batch` has the shape and dtype of `input`, is contiguous, lies on the engine's device, and is finished: no
        stream still writes into it. It is not used after the call.
        """
