"""A repository to pull from, in a folder and in a container."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.repository.sources import pulling
from app.repository.sources.addresses import open_source
from tests.fixtures.blob_storage import Storage, blob_storage
from tests.fixtures.models import add_box_model, add_colour_model


@dataclass(slots=True)
class Told:
    """Keeps what a transfer tells."""

    total: int = 0
    done: int = 0
    lines: list[str] = field(default_factory=list)

    def begin(self, total: int) -> None:
        """So much is going to come."""
        self.total = total

    def advance(self, count: int) -> None:
        """So much more has come."""
        self.done += count

    def say(self, line: str) -> None:
        """A line."""
        self.lines.append(line)


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """A repository with the models `colour` and `box`."""
    add_colour_model(tmp_path / "released")
    add_box_model(tmp_path / "released")
    return tmp_path / "released"


@pytest.fixture
def storage() -> Iterator[Storage]:
    """An empty container."""
    with blob_storage() as running:
        yield running


@pytest.fixture
def into(tmp_path: Path) -> Path:
    """Where models are pulled to; not there yet."""
    return tmp_path / "into" / "models"


def upload(root: Path, storage: Storage, prefix: str = "") -> None:
    """Have every file of a repository in the container, uploaded as `az` does it."""
    for path in sorted(root.rglob("*")):
        if path.is_file():
            storage.put(prefix + path.relative_to(root).as_posix(), path.read_bytes())


def contents(root: Path) -> dict[str, bytes]:
    """All files of a repository but those of the hidden folder."""
    found = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(".pull/")}


def pull(address: object, into: Path, told: Told | None = None, **wanted: object) -> pulling.Pulled:
    """Pull as the command does."""
    with closing(open_source(str(address))) as source:
        return pulling.pull(source, into, pulling.Pull(**wanted), told or Told())  # type: ignore[arg-type]
