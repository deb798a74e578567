"""What `roo-vision models add` was asked for, from its options, from a manifest that was begun, and from the graph."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from app.commands import entries, ultralytics
from app.commands.ultralytics import Task
from app.engines import onnx, onnx_file
from app.errors import StartupError
from app.repository import presets, yaml_text
from app.repository.manifest import Manifest
from app.vision.image import Size
from app.vision.input_spec import LARGEST_INPUT

_TASKS = ("classification", "detection", "segmentation", "embedding", "maps")
_BY_THEMSELVES = ("description", "engine", "precisions", "versions")
"""Fields of the manifest that are no sections and have no option of their own."""


@dataclass(frozen=True, slots=True)
class Addition:
    """What the command line asks for.

    `pixels` are the fields of `input:` that no graph tells (scale, mean, …), `fields` any others of the manifest by
    section, `like` the family whose fields stand behind them all, `told` what the graph's metadata says. `version` is
    that of a model that is there already, 0 its next one.
    """

    file: Path
    task: Task | None
    out: Path
    labels: str | tuple[str, ...] | None
    name: str | None
    size: Size | None
    decoder: str | None
    dynamic_batch: bool
    pixels: Mapping[str, Any]
    like: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    version: int | None = None
    picture: Path | None = None
    drawn: Path | None = None
    told: ultralytics.Told = field(default_factory=ultralytics.Told)

    @property
    def model(self) -> str:
        """The model's name."""
        return self.name or self.file.stem

    @property
    def names(self) -> tuple[str, ...] | None:
        """The classes' names, None where nobody gives them."""
        if self.labels is None:
            return self.told.labels
        return entries.read_labels(self.labels) if isinstance(self.labels, str) else self.labels

    @property
    def names_source(self) -> str:
        """Who gives the classes' names."""
        return "the graph's metadata" if self.labels is None else "--labels"

    def given(self) -> dict[str, Any]:
        """What is said of the manifest's sections."""
        assert self.task is not None
        sections: dict[str, Any] = {
            name: dict(section) if isinstance(section, Mapping) else section for name, section in self.fields.items()
        }
        if self.pixels:
            sections["input"] = {**sections.get("input", {}), **self.pixels}
        if self.decoder is not None:
            sections[self.task] = {"decoder": self.decoder, **sections.get(self.task, {})}
        if self.told.input:
            sections["input"] = {**self.told.input, **sections.get("input", {})}
        if self.told.section:
            sections[self.task] = {**self.told.section, **sections.get(self.task, {})}
        return sections

    def settled(self) -> dict[str, Any]:
        """What is known before the graph is looked at: what was given, and what the family's name stands for.

        Raises `StartupError` where there is no such family.
        """
        if self.like is None:
            return self.given()
        size = {} if self.size is None else {"size": list(self.size)}
        sections = self.given()
        sections["input"] = {**size, **sections.get("input", {})}
        try:
            return presets.expanded({"task": self.task, "like": self.like, **sections})
        except ValueError as error:
            raise StartupError(f"--like {self.like}: {error}.") from None

    def completed(self, path: Path) -> "Addition":
        """This with what the metadata of the graph at `path` says; what was given counts for more.

        Raises `StartupError` where nobody says what the model does, `InvalidManifest` where the metadata tells of what
        is not served.
        """
        inputs, outputs = onnx.signature(path)
        names = tuple(spec.name for spec in outputs)
        told = ultralytics.read(onnx_file.read(path).metadata, names, self.labels is not None)
        task = self.task or told.task
        if task is None:
            raise StartupError(f"{self.file}: does not say what it does; say it with --task: {', '.join(_TASKS)}.")
        told = replace(told, labels=told.labels if self.labels is None else None)
        if task != told.task or self.like not in (None, told.like) or self._is_read_otherwise(task, told):
            told = replace(told, like=None, section={}, input={}, reasons=told.reasons[:1] if told.labels else ())
        free = any(None in spec.shape[1:] for spec in inputs)
        size = told.size if self.size is None and free else self.size
        return replace(self, task=task, told=told, size=size, like=self.like or told.like)

    def _is_read_otherwise(self, task: Task, told: ultralytics.Told) -> bool:
        decoder = self.decoder or (self.fields.get(task) or {}).get("decoder")
        return decoder not in (None, told.section.get("decoder"))


def with_draft(asked: Addition, draft: Path) -> Addition:
    """What was asked, with what a manifest says that was begun; the command line counts for more.

    Raises `StartupError` where that cannot be read.
    """
    try:
        content = yaml_text.load(draft.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise StartupError(f"--manifest {draft}: cannot be read: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise StartupError(f"--manifest {draft}: must be a mapping of fields such as `task: detection`.")
    unknown = [name for name in content if name not in Manifest.model_fields]
    if unknown:
        raise StartupError(f"--manifest {draft}: {unknown[0]} is not a field of the manifest; correct its spelling.")
    labels = content.pop("labels", None)
    if isinstance(labels, str):
        labels = str(draft.parent / labels)
    elif labels:
        labels = _draft_names(draft, labels)
    content.pop("sha256", None)
    task, like = content.pop("task", None), content.pop("like", None)
    if task is not None and task not in _TASKS:
        raise StartupError(f"--manifest {draft}: task: is one of {', '.join(_TASKS)}, not {task!r}.")
    fields = {name: _without_blanks(section) for name, section in content.items() if section is not None}
    return replace(
        asked,
        task=asked.task or task,
        like=asked.like or like,
        labels=asked.labels or labels or None,
        fields=_merged(fields, asked.fields),
    )


def _draft_names(draft: Path, labels: Any) -> tuple[str, ...]:
    named = isinstance(labels, list) and all(isinstance(name, str | int | float) for name in labels)
    if not named or any(isinstance(name, bool) for name in labels):
        hint = "; names such as yes, no, on and off need quotes in YAML"
        raise StartupError(f"--manifest {draft}: labels: must be a list of names or a file of them{hint}.")
    return tuple(map(str, labels))


def _without_blanks(section: Any) -> Any:
    """A field that is left empty is not given."""
    if not isinstance(section, dict):
        return section
    return {name: value for name, value in section.items() if value is not None}


def read_numbers(option: str, text: str, count: int) -> list[float]:
    """Numbers with commas between; raises `StartupError` where they are not numbers or not so many."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise StartupError(f"{option} {text}: must be {count} numbers with commas between.")
    return numbers


def read_levels(option: str, text: str) -> float | list[float]:
    """One number that stands for all channels, or as many as a picture has, with commas between; raises `StartupError`
    where they are neither.
    """
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 3, 4):
        raise StartupError(
            f"{option} {text}: must be one number for all channels, or one for each (3, or 4 with opacity) with commas "
            "between."
        )
    return numbers[0] if len(numbers) == 1 else numbers


def read_size(text: str) -> Size:
    """WIDTH,HEIGHT; raises `StartupError` where they are not two whole numbers of pixels."""
    sides = read_numbers("--size", text, 2)
    if not all(side.is_integer() and side >= 1 for side in sides):
        raise StartupError(f"--size {text}: must be two whole numbers of pixels, such as 640,480.")
    if max(sides) > LARGEST_INPUT:
        raise StartupError(f"--size {text}: a model's input has at most {LARGEST_INPUT} pixels a side.")
    return Size(*map(int, sides))


def read_version(text: str) -> int:
    """A version's number, or 0 for `next`; raises `StartupError` where it is neither."""
    if text == "next":
        return 0
    if not text.isdecimal() or text.startswith("0"):
        raise StartupError(f"--version {text}: must be a whole number from 1, or `next`.")
    return int(text)


def read_fields(texts: list[str]) -> dict[str, Any]:
    """SECTION.FIELD=VALUE, the value in YAML, deeper ones too; or FIELD=VALUE where the manifest has such a field.

    Raises `StartupError` where one is not of that form.
    """
    fields: dict[str, Any] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        names = path.split(".")
        try:
            parsed = yaml_text.load(value)
        except yaml.YAMLError:
            equals = ""
        if not (all(names) and equals) or (len(names) == 1 and names[0] not in _BY_THEMSELVES):
            raise StartupError(f"--set {text}: must be SECTION.FIELD=VALUE, such as detection.box_format=cxcywh.")
        for name in reversed(names):
            parsed = {name: parsed}
        fields = _merged(fields, parsed)
    return fields


def _merged(fields: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, Any]:
    """Both, the others' values where both have one."""
    found = dict(fields)
    for name, value in others.items():
        mine = found.get(name)
        found[name] = _merged(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return found
