"""The protocol that every engine keeps."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


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


class Engine(Protocol):
    """A model file on a device. `run` may be called from several threads at once."""

    name: str
    device: str
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]

    def run(self, batch: Array) -> dict[str, Array]:
        """Compute one batch.

        `batch` has the shape and dtype of `input`. Returns every output by name, in the graph's order, each `[batch,
        …]`. Anything it raises is taken as a failure of this batch.
        """

    def close(self) -> None:
        """Free what the engine holds; it is not used afterwards."""
