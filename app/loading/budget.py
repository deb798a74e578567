"""How much memory the loaded models may take together, and who goes where another needs room."""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from app.core.model import Model
from app.errors import CannotLoad
from app.repository.repository import ModelEntry

MIB = 2**20


class Budget:
    """Bytes of the models by name: their files, and for each lane the largest batch with its outputs, as found
    when the model was warmed. What the process grows by would be more of it and says less: others are served
    meanwhile, and the first of an engine's models brings the engine along.
    """

    def __init__(self, limit: int | None) -> None:
        """Without a limit everything fits."""
        self.limit = limit
        self._sizes: dict[str, int] = {}
        self._batches: dict[str, int] = {}

    def expected(self, entry: ModelEntry) -> int:
        """What a model takes: its files as they are now, and its batches as they were measured, if they were."""
        return files_of(entry.versions.values()) + self._batches.get(entry.name, 0)

    def measured(self, entry: ModelEntry, models: Sequence[Model], lanes: int) -> int:
        """These versions of a model are loaded, for so many lanes. Returns what they take."""
        self._batches[entry.name] = lanes * sum(model.max_batch_size * _row_bytes(model) for model in models)
        self._sizes[entry.name] = self.expected(entry)
        return self._sizes[entry.name]

    def makes_room(self, name: str, size: int, loaded: Iterable[str], stays: Callable[[str], bool]) -> list[str]:
        """Which of the `loaded` models, those first that were not asked for longest, must go so that one of `size` fits
        beside the others.

        Raises `CannotLoad` with the figures where it does not fit even if all go that may.
        """
        if self.limit is None:
            return []
        others = [other for other in loaded if other != name]
        taken = sum(self._sizes.get(other, 0) for other in others)
        gone: list[str] = []
        for other in others:
            if taken + size <= self.limit:
                break
            if not stays(other):
                gone.append(other)
                taken -= self._sizes.get(other, 0)
        if taken + size > self.limit:
            raise CannotLoad(
                f"The model {name} takes {size / MIB:.0f} MiB, and models that must stay {taken / MIB:.0f}; "
                f"ROO_MODELS_MEMORY is {self.limit / MIB:.0f} MiB."
            )
        return gone


def files_of(paths: Iterable[Path]) -> int:
    """Bytes of these model files and of what lies beside each: weights may."""
    return sum(file.stat().st_size for path in paths for file in path.parent.iterdir() if file.is_file())


def _row_bytes(model: Model) -> int:
    return math.prod(model.row_shape) * model.row_dtype.itemsize + model.row_output_bytes
