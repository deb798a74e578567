"""A new model repository entry: written aside, loaded as serving would, and put in place whole or not at all."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import yaml

from app.core.model import Model
from app.engines import devices, onnx_weights
from app.engines.base import EngineName
from app.errors import InvalidManifest, StartupError
from app.host.process import usable_cores
from app.loading import loader
from app.loading.serving import Serving
from app.repository import repository
from app.repository.labels import checked_names, read_names
from app.repository.manifest import FILE_NAME
from app.repository.repository import INT8_FILE, MODEL_FILES

VERSION = "1"
LABELS_FILE = "labels.txt"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@contextmanager
def new_entry(out: Path, name: str, source: Path | None = None) -> Iterator[Path]:
    """A folder to write the entry `out/name` in: renamed to that when the block ends well, removed when it fails, with
    the folders made for it.

    It lies one folder deeper than a repository's models, so that no service takes it for one. Raises `StartupError`
    where the name cannot be a model's, is taken, or the folder cannot be written; those of the block name `source`,
    the file that the user knows, and the entry's own folder, not the one for the time being.
    """
    if not _NAME.fullmatch(name):
        raise StartupError(
            f"{name!r} cannot be a model's name: letters, digits, '-', '_' and '.'; give another --name."
        )
    target = out / name
    if target.exists():
        version = "" if source is None else ", or make the file another version of it with --version next"
        raise StartupError(f"{target} is there already. Give another --name or --out, remove it first{version}.")
    with written_aside(out) as aside:
        folder = aside / name
        (folder / VERSION).mkdir(parents=True)
        with named({folder / VERSION / MODEL_FILES[0]: source or target, folder: target}):
            yield folder
        folder.rename(target)


@contextmanager
def written_aside(out: Path) -> Iterator[Path]:
    """A folder within `out`, made where it is not there, in which no service looks for models; removed after the block,
    with the folders that were made and hold nothing. Raises `StartupError` where something cannot be written.
    """
    missing = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".new-", dir=out))
    except OSError as error:
        _remove_empty(missing)
        raise StartupError(f"{out} cannot be written: {error.strerror}. Give another --out.") from error
    try:
        yield aside
    except OSError as error:
        raise StartupError(f"{out} cannot be written: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        _remove_empty(missing)


@contextmanager
def named(places: Mapping[Path, Path]) -> Iterator[None]:
    """Errors of the block name the places that the user knows instead of those for the time being."""
    try:
        yield
    except StartupError as error:
        text = str(error)
        for place, known in places.items():
            text = text.replace(str(place), str(known))
        raise type(error)(text) from error


def copy_graph(source: Path, target: Path) -> None:
    """Copy an ONNX file, and the files that hold its weights to the same places beside it.

    Raises `InvalidManifest` where those are not there or lie elsewhere, `OSError` where something cannot be read.
    """
    shutil.copyfile(source, target)
    for file in onnx_weights.files(source):
        copy = target.parent / file.relative_to(source.parent)
        if copy.name in (*MODEL_FILES, INT8_FILE):
            raise InvalidManifest(
                f"{file}: holds weights of {source.name}, and its name is one that a repository keeps for graphs. "
                "Save the model with another name for that file."
            )
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)


def write_manifest(folder: Path, manifest: Mapping[str, Any], labels: tuple[str, ...]) -> None:
    """Write `model.yaml`, the labels beside it, where there are any, and the digests of all files of version 1."""
    content = {"task": manifest["task"], "description": manifest["description"]}
    if labels:
        content["labels"] = LABELS_FILE
    content |= {name: section for name, section in manifest.items() if name not in content}
    content["sha256"] = {VERSION: digests(folder / VERSION)}
    if labels:
        (folder / LABELS_FILE).write_text("".join(f"{label}\n" for label in labels), "utf-8")
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)
    (folder / FILE_NAME).write_text(text, "utf-8")


def digests(folder: Path) -> dict[str, str]:
    """The digest of each file of a version, by its place in the version's folder."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {path.relative_to(folder).as_posix(): _digest(path) for path in files}


@contextmanager
def loaded(folder: Path, engine: Literal["auto"] | EngineName = "auto") -> Iterator[Model]:
    """The entry as serving on the CPU would have it: digests checked, loaded, warmed up; closed after the block.

    Raises `InvalidManifest` where serving would.
    """
    serving = Serving(devices.choose("cpu", None), engine, precision="fp32", threads=usable_cores())
    with ExitStack() as closing:
        (model,) = loader.load(repository.read_entry(folder), serving)
        closing.callback(model.close)
        yield model


def read_labels(given: str) -> tuple[str, ...]:
    """Class names from a file with one a line or, where there is no such file, from names with commas between.

    Raises `StartupError` where there are none, one between others is blank, or the file cannot be read.
    """
    path = Path(given)
    try:
        # Not Path.is_file, which raises where many names are too long for a file's.
        labels = read_names(path) if os.path.isfile(given) else checked_names(given.split(","))
    except (OSError, UnicodeDecodeError) as error:
        raise StartupError(f"--labels {given}: cannot be read as text: {error}.") from error
    except ValueError as error:
        raise StartupError(f"--labels {given}: {error}.") from None
    if len(labels) == 1 and path.suffix and not os.path.isfile(given):
        raise StartupError(f"--labels {given}: there is no such file.")
    return labels


def fit_labels(labels: tuple[str, ...] | None, classes: int, source: str = "--labels") -> tuple[str, ...]:
    """These labels or, where there are none, the classes' numbers; raises `InvalidManifest` where those of `source` do
    not fit.
    """
    if labels is None:
        return tuple(str(number) for number in range(classes))
    if len(labels) != classes:
        raise InvalidManifest(
            f"The model has {classes} classes, but {source} names {len(labels)}. Give the right names with --labels."
        )
    return labels


def _remove_empty(folders: list[Path]) -> None:
    """Remove those that hold nothing, the deepest first."""
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
