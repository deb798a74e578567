"""Which files of a place belong to which model, and that none of them leaves the repository."""

import re
from collections.abc import Iterable, Sequence

from app.errors import ModelsRefused
from app.repository import pipeline
from app.repository.manifest import FILE_NAME
from app.repository.sources.base import SourceFile

MOST_FILES = 20_000
DESCRIBE = (FILE_NAME, pipeline.FILE_NAME)
"""What makes a folder a model's, or a chain's."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")
_MOST_PATH, _MOST_PART = 1000, 255

Models = dict[str, dict[str, SourceFile]]
"""By model's name and the file's path inside of the model's folder."""


def models_of(files: Iterable[SourceFile], address: str, names: Sequence[str] = ()) -> Models:
    """The models among these files, sorted by name; only `names`, where some are given.

    Files of no model (at the top, or in a folder without `model.yaml` or `pipeline.yaml`) are left aside. Raises
    `ModelsRefused` where there is no model, not one of a name, too many files, or a path of a model leads out of it or
    is there twice.
    """
    found: Models = {}
    for count, file in enumerate(files, 1):
        if count > MOST_FILES:
            raise ModelsRefused(f"{address} has more than {MOST_FILES} files. Name a folder that holds only models.")
        _refuse_unsafe(file.path, address)
        name, _, inner = file.path.partition("/")
        if inner and _NAME.fullmatch(name):
            found.setdefault(name, {})[inner] = file
        elif name in DESCRIBE:
            raise ModelsRefused(f"{address} is one model's own folder. Name the one that it lies in.")
    models = {name: inside for name, inside in sorted(found.items()) if not inside.keys().isdisjoint(DESCRIBE)}
    for name, inside in models.items():
        _refuse_clashes(name, inside, address)
    if not found:
        raise ModelsRefused(f"{address} is not there, or holds no folder that could be a model.")
    missing = [name for name in names if name not in models]
    if missing or not models:
        there = ", ".join(models) or "none"
        wanted = f"no model {', '.join(missing)}" if missing else "no model"
        raise ModelsRefused(f"{address} has {wanted} (a folder with a {' or '.join(DESCRIBE)}); there are: {there}.")
    return {name: inside for name, inside in models.items() if not names or name in names}


def version_of(inner: str) -> str | None:
    """The version that a file belongs to, by its path in its model's folder; None where it belongs to them all."""
    folder, slash, _ = inner.partition("/")
    return folder if slash and folder.isdecimal() else None


def _refuse_unsafe(path: str, address: str) -> None:
    parts = path.split("/")
    if (
        _UNSAFE.search(path)
        or len(path) > _MOST_PATH
        or {"", ".", ".."} & set(parts)
        or any(len(part.encode()) > _MOST_PART for part in parts)
    ):
        raise ModelsRefused(f"{address}: the path {path[:200]!r} leads out of the repository, or cannot be a file's.")


def _refuse_clashes(name: str, inside: dict[str, SourceFile], address: str) -> None:
    folders = {inner[:place] for inner in inside for place, letter in enumerate(inner) if letter == "/"}
    clash = next((inner for inner in inside if inner in folders), None)
    if clash is not None:
        raise ModelsRefused(f"{address}: {name}/{clash} is a file and a folder at once. Remove one of them.")
