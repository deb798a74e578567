"""What every format has in common."""

from dataclasses import dataclass
from pathlib import Path

from app.wire.prediction import Prediction


@dataclass(frozen=True, slots=True)
class AskedModel:
    """The model that answers: its task by name, and its labels in the order of its class ids."""

    name: str
    task: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Where to and how. `normalized`: boxes as shares of the picture, in formats that leave it open; `save_conf`: the
    score last in YOLO's lines.
    """

    out: Path
    model: AskedModel
    normalized: bool = False
    save_conf: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """A picture with its answer, whose boxes are in pixels.

    `number` is its place among all, from 0; `path` what the user called it; `file_name` its path below the folder that
    the user named, with slashes; `name` the same without a suffix, unique among all pictures.
    """

    number: int
    path: Path
    file_name: str
    name: str
    prediction: Prediction


class Output:
    """One format. Both verbs may raise `OSError`; `save` any `RequestError` as well."""

    def save(self, answered: Answered, content: bytes) -> None:
        """Write the files that are this picture's own. Called from several threads at once, in any order."""

    def append(self, answered: Answered) -> None:
        """Write on in files that all pictures share. Called for one picture after the other, in their order."""

    def close(self) -> None:
        """Finish the shared files; after an interruption too, so that they can be read."""


def new_file(path: Path) -> Path:
    """The path of a file to be written, with the folders above it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
