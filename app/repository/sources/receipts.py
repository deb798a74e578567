"""What earlier pulls have brought: it tells what need not come again, and what may be replaced."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from app.repository.sources.base import SourceFile
from app.repository.sources.files import write_whole


@dataclass(frozen=True, slots=True)
class Kept:
    """A file as it was pulled: what its place said of it, and its SHA-256."""

    stamp: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """One model as it was pulled: from where, and its files by their path in its folder."""

    source: str
    files: dict[str, Kept]


@dataclass(slots=True)
class Receipts:
    """Receipts by model, in a file."""

    path: Path
    models: dict[str, Receipt] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "Receipts":
        """Those of the file; none where it is not there, or is not to be read, which costs downloads and no more."""
        try:
            content = json.loads(path.read_text("utf-8"))
            models = {
                name: Receipt(said["source"], {inner: Kept(**kept) for inner, kept in said["files"].items()})
                for name, said in content.items()
            }
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            models = {}
        return cls(path, models)

    def known(self, name: str, inner: str, source: str, file: SourceFile) -> str | None:
        """The SHA-256 that a file of the place has, as far as that is known before it is read."""
        receipt = self.models.get(name)
        kept = receipt.files.get(inner) if receipt is not None and receipt.source == source else None
        if kept is not None and (kept.stamp, kept.size) == (file.stamp, file.size):
            return kept.sha256
        return file.sha256

    def brought(self, name: str) -> dict[str, str]:
        """The SHA-256 of each file that the last pull of this model has brought."""
        receipt = self.models.get(name)
        return {} if receipt is None else {inner: kept.sha256 for inner, kept in receipt.files.items()}

    def write(self) -> None:
        """Keep them; no file where there are none."""
        if self.models:
            write_whole(self.path, json.dumps({name: asdict(said) for name, said in self.models.items()}, indent=1))
        else:
            self.path.unlink(missing_ok=True)
