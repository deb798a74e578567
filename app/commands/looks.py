"""What a graph gives for the pictures that are shown to it while it is added."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from app.commands import probing
from app.commands.graphs import Conclusion
from app.commands.trial import Sample
from app.engines.base import Array, Engine
from app.vision.preprocessing import InputSpec

Rows = Mapping[str, Array]
Part = Literal["right", "bottom"]
_CHANGED = 1 / 3
"""The share of a random picture that is another in `changed`."""


@dataclass(frozen=True)
class Looks:
    """A graph's outputs for one picture at a time, without the batch dimension; each is computed when it is first
    looked at.

    `section` is what was concluded of its input, `settled` the manifest's sections that are known, `picture` one that
    is no noise. All raise `InvalidManifest` where the graph fails.
    """

    engine: Engine
    section: Conclusion
    settled: Mapping[str, Any]
    picture: Sample

    @cached_property
    def noise(self) -> Rows:
        """For a random picture."""
        return probing.rows(self.engine, self.section, self.settled)

    @cached_property
    def sample(self) -> Rows:
        """For `picture`, prepared as far as is known how."""
        spec = InputSpec.model_validate({**self.section.section, **(self.settled.get("input") or {})})
        batch, _ = probing.prepared(self.picture, spec, self.engine.input.batch_size or 1)
        return probing.first_row(self.engine, batch, self.settled)

    @cached_property
    def rows(self) -> Rows:
        """For the random picture or, where nothing is found in that or all numbers are the same, for `picture`."""
        return self.noise if all(map(_tells, self.noise.values())) else self.sample

    def changed(self, part: Part) -> Rows:
        """For the random picture with another right or lower third."""
        batch = probing.noise(self.section, self.engine.input.batch_size or 1)
        other = probing.noise(self.section, len(batch), seed=1)
        rows_axis = 2 if self.section.section["layout"] == "nchw" else 1
        place: list[slice] = [slice(None)] * batch.ndim
        axis = rows_axis + (part == "right")
        place[axis] = slice(round(batch.shape[axis] * (1 - _CHANGED)), None)
        batch[tuple(place)] = other[tuple(place)]
        return probing.first_row(self.engine, np.ascontiguousarray(batch), self.settled)


def _tells(row: Array) -> bool:
    if row.dtype.kind != "f" or row.size < 2:
        return row.size > 0
    return bool(row.min() != row.max())
