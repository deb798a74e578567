"""The pictures that come with models, for who has none at hand."""

from dataclasses import dataclass
from pathlib import Path

from app.repository.repository import folder_examples

MOST_EXAMPLES = 12
"""Of each model."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Pictures in the folders `examples` of the model repository at `root`, which is one model's own where `only` names
    it; none of more than `max_bytes`.
    """

    root: Path
    only: str | None
    max_bytes: int

    def of(self, model: str) -> list[Path]:
        """A served model's pictures, `MOST_EXAMPLES` at most, by name; without links that lead out of its folder."""
        folder = (self.root if model == self.only else self.root / model).resolve()
        found = [path for path in folder_examples(folder) if self._is_ours(path, folder)]
        return found[:MOST_EXAMPLES]

    def _is_ours(self, path: Path, folder: Path) -> bool:
        there = path.resolve()
        return there.is_relative_to(folder) and there.is_file() and there.stat().st_size <= self.max_bytes
