"""A batch's outputs as one picture's rows each: rows must never shift to another caller."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from app.engines.base import Array
from app.errors import EngineFailure

if TYPE_CHECKING:
    import torch

Rows = TypeVar("Rows", Array, "torch.Tensor")
"""A batch on the host or on the device."""

Outputs = dict[str, Array]


def one_by_one(batch: Rows, run: Callable[[Rows], Outputs]) -> list[Outputs]:
    """The outputs of each row of a graph without a batch dimension in its outputs."""
    return [run(batch[index : index + 1]) for index in range(len(batch))]


def together(
    batch: Rows, run: Callable[[Rows], Outputs], pad: Callable[[Rows, int], Rows], fixed: int | None
) -> list[Outputs]:
    """The output rows of each row of a batch, of which the graph takes any number, or `fixed` at once.

    Raises `EngineFailure` where an output's length is not the batch's.
    """
    outputs = _checked(batch, run) if fixed in (None, len(batch)) else _in_chunks(batch, run, pad, fixed)
    return [{name: rows[index] for name, rows in outputs.items()} for index in range(len(batch))]


def _in_chunks(batch: Rows, run: Callable[[Rows], Outputs], pad: Callable[[Rows, int], Rows], size: int) -> Outputs:
    """The graph is called as often as needed; the last call is padded."""
    chunks = []
    for start in range(0, len(batch), size):
        chunk = batch[start : start + size]
        outputs = _checked(pad(chunk, size), run)
        chunks.append({name: rows[: len(chunk)] for name, rows in outputs.items()})
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _checked(batch: Rows, run: Callable[[Rows], Outputs]) -> Outputs:
    outputs = run(batch)
    for name, rows in outputs.items():
        if len(rows) != len(batch):
            raise EngineFailure(f"The model returned {len(rows)} rows of {name} for {len(batch)} pictures.")
    return outputs
