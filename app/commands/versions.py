"""A second file for a model that is there already: its next version, read by the same manifest."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from app.commands import entries
from app.commands.addition import Addition
from app.core.model import Model
from app.engines import onnx
from app.engines.base import TensorSpec
from app.errors import InvalidManifest, StartupError
from app.repository import repository, yaml_text
from app.repository.manifest import FILE_NAME, read_manifest
from app.repository.repository import EXAMPLES


@contextmanager
def added(asked: Addition) -> Iterator[tuple[Model, list[str]]]:
    """The file as a version of the model `asked.model`, loaded as serving would; put in place when the block ends well.

    Raises `StartupError` where there is no such model, or that version is there, or what the file takes and gives does
    not fit the manifest and the version before.
    """
    _refuse_options(asked)
    folder = repository.model_folder(asked.out, asked.model)
    numbers = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    number = asked.version or max(numbers, default=0) + 1
    target = folder / str(number)
    if target.exists():
        raise StartupError(f"{target} is there already. Give another --version, or `next`.")
    with entries.written_aside(asked.out) as aside:
        trying = aside / asked.model
        new = trying / str(number)
        new.mkdir(parents=True)
        with entries.named({new / "model.onnx": asked.file, trying: folder}):
            entries.copy_graph(asked.file, new / "model.onnx")
            _refuse_others(asked.file, new / "model.onnx", folder)
            _copy_manifest(folder, trying)
            with entries.loaded(trying) as model:
                reasons = [f"version {number} takes and gives what model.yaml says; that is kept"]
                yield model, reasons
        reasons += _note_digests(folder / FILE_NAME, number, entries.digests(new))
        reasons += _note_unserved(folder, number)
        new.rename(target)


def _refuse_options(asked: Addition) -> None:
    """Raise `StartupError` where more is asked for: a version is read by the manifest that is there."""
    given = {
        "--task": asked.task,
        "--labels": asked.labels,
        "--like": asked.like,
        "--decoder": asked.decoder,
        "--size": asked.size,
        "--dynamic-batch": asked.dynamic_batch,
        "--set, --manifest, --scale, --mean, --std or --channels": asked.fields or asked.pixels,
    }
    wrong = [option for option, value in given.items() if value]
    if wrong:
        raise StartupError(
            f"{wrong[0]}: does not go with --version, as another version is read by the model.yaml that is there. "
            "Leave it out; or change model.yaml, or add the file as a model of its own with --name."
        )


def _copy_manifest(folder: Path, trying: Path) -> None:
    """The manifest for the new version alone, its labels and examples beside it."""
    content = yaml_text.load((folder / FILE_NAME).read_text("utf-8"))
    content |= {"versions": "latest", "precisions": ["fp32"]}
    content.pop("sha256", None)
    (trying / FILE_NAME).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), "utf-8")
    if isinstance(content.get("labels"), str):
        (trying / content["labels"]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / content["labels"], trying / content["labels"])
    if (folder / EXAMPLES).is_dir():
        (trying / EXAMPLES).symlink_to((folder / EXAMPLES).resolve())


def _refuse_others(file: Path, path: Path, folder: Path) -> None:
    """Raise `InvalidManifest` where inputs or outputs are not those of the version before."""
    before = repository.described_entry(folder).versions
    known = list(before.values())[-1].with_name("model.onnx")
    if not known.is_file():
        return
    for kind, old, new in zip(("inputs", "outputs"), onnx.signature(known), onnx.signature(path), strict=True):
        differences = _differences(list(old), list(new))
        if differences:
            raise InvalidManifest(
                f"{file}: its {kind} are not those of version {known.parent.name}: {'; '.join(differences)}. Export it "
                "as that one was, or add it as a model of its own with another --name and without --version."
            )


def _differences(old: list[TensorSpec], new: list[TensorSpec]) -> list[str]:
    there = {spec.name: spec for spec in new}
    found = [f"there is no {spec.name}" for spec in old if spec.name not in there]
    found += [f"{name} is new" for name in there if name not in {spec.name for spec in old}]
    for spec in old:
        other = there.get(spec.name)
        if other is not None and not _alike(spec, other):
            found.append(f"{spec.name} is {_told(other)} instead of {_told(spec)}")
    return found


def _alike(one: TensorSpec, other: TensorSpec) -> bool:
    """The batch may be fixed in one of them, and a side unknown."""
    sides = zip(one.shape[1:], other.shape[1:], strict=False)
    return (
        one.dtype == other.dtype
        and len(one.shape) == len(other.shape)
        and all(None in pair or pair[0] == pair[1] for pair in sides)
    )


def _told(spec: TensorSpec) -> str:
    return f"{spec.dtype} {[side or 'any' for side in spec.shape]}"


def _note_digests(path: Path, number: int, digests: dict[str, str]) -> list[str]:
    """Add the version's digests to a manifest that has some, as one more line of it, so that comments stay; returns
    what to say where that cannot be.
    """
    text = path.read_text("utf-8")
    content = yaml_text.load(text)
    if "sha256" not in content:
        return []
    wanted = {**content, "sha256": {**content["sha256"], str(number): digests}}
    line = f"'{number}': {{{', '.join(f'{name}: {digest}' for name, digest in digests.items())}}}"
    before, key, after = text.partition("\nsha256:")
    following = after.partition("\n")[2]
    indent = " " * (len(following) - len(following.lstrip(" ")))
    changed = f"{before}{key}\n{indent}{line}{after}"
    try:
        fits = yaml_text.load(changed) == wanted
    except yaml.YAMLError:
        fits = False
    if not fits:
        return [f"add this to `sha256:` of {path}: {line}"]
    temporary = path.with_suffix(".yaml.new")
    temporary.write_text(changed, "utf-8")
    os.replace(temporary, path)
    return []


def _note_unserved(folder: Path, number: int) -> list[str]:
    versions = read_manifest(folder / FILE_NAME).versions
    if versions == "latest":
        return []
    return [f"model.yaml serves versions {', '.join(versions)}; add {number} to `versions:` to serve this one"]
