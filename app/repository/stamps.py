"""Whether the files of a model are still those that were read, without reading them."""

from collections.abc import Iterable
from pathlib import Path
from stat import S_ISREG

from app.repository import manifest, pipeline

File = tuple[str, int, int, int]
"""Its path, its size, when it was changed (nanoseconds), and its inode."""
Stamp = tuple[File, ...]
"""Of each file, sorted."""


def of_version(folder: Path) -> Stamp:
    """The stamp of a version's files; empty where there are none."""
    return tuple(sorted(_files(folder, folder.rglob("*"))))


def of_model(folder: Path) -> Stamp:
    """The stamp of a model's manifest, of what lies beside it and of its versions; its examples may change."""
    there = list(folder.iterdir())
    versions = (file for path in there if path.name.isdecimal() for file in path.rglob("*"))
    return tuple(sorted(_files(folder, [*there, *versions])))


def of_models(root: Path, only: str | None) -> dict[str, Stamp]:
    """The stamp of every model and chain of the repository at `root`, by name; with `only`, `root` is that one model's
    folder.

    Raises `OSError` where the folder cannot be listed.
    """
    folders = {only: root} if only is not None else {path.name: path for path in root.iterdir()}
    return {name: of_model(folder) for name, folder in folders.items() if _is_described(folder)}


def _is_described(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (manifest.FILE_NAME, pipeline.FILE_NAME))


def _files(root: Path, paths: Iterable[Path]) -> list[File]:
    found = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue  # it went meanwhile
        if S_ISREG(status.st_mode):
            found.append((str(path.relative_to(root)), status.st_size, status.st_mtime_ns, status.st_ino))
    return found
