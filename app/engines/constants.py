"""A graph's inputs beside the picture: the manifest gives their values, the same for every picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from app.engines.base import Array, TensorSpec
from app.errors import InvalidManifest


def picture_input(inputs: Sequence[TensorSpec], constants: Mapping[str, Array], path: Path) -> TensorSpec:
    """The one input that has no value in `constants`.

    Raises `InvalidManifest` where there is not exactly one, or a constant belongs to no input.
    """
    names = [spec.name for spec in inputs]
    unknown = [name for name in constants if name not in names]
    if unknown:
        raise InvalidManifest(
            f"{path}: input.constants: the graph has no input {unknown[0]!r}; it has {', '.join(names)}."
        )
    left = [spec for spec in inputs if spec.name not in constants]
    if len(left) != 1:
        raise InvalidManifest(
            f"{path}: the graph must have exactly one input, a picture; it has {len(left)}"
            + (f": {', '.join(spec.name for spec in left)}. " if left else ". ")
            + "Give the values of the others in `input.constants`, such as `{orig_target_sizes: size}`."
        )
    return left[0]


class Constants:
    """The values of a graph's further inputs, for batches of any length."""

    def __init__(self, inputs: Sequence[TensorSpec], constants: Mapping[str, Array]) -> None:
        """`constants` are the values for one picture, by the input's name."""
        self._values = [(spec, constants[spec.name]) for spec in inputs if spec.name in constants]

    def of_batch(self, pictures: int) -> dict[str, Array]:
        """Each further input's array for so many pictures, as the graph takes it."""
        return {spec.name: _repeated(spec, value, pictures) for spec, value in self._values}


def _repeated(spec: TensorSpec, value: Array, pictures: int) -> Array:
    value = value.astype(spec.dtype)
    if value.ndim >= len(spec.shape):  # an input without a batch dimension
        return value
    return np.repeat(value[None], spec.batch_size or pictures, axis=0)
