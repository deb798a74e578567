"""`roo-vision models add`: an ONNX file to a ready entry of a model repository."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import ValidationError
from rich.console import Console

from app.commands import entries, graphs
from app.commands.detector_graphs import conclude_detector
from app.commands.graphs import Conclusion
from app.engines import catalog, devices
from app.engines.base import Array, Engine, EngineOptions
from app.errors import InvalidManifest, StartupError
from app.repository import presets
from app.settings import usable_cores
from app.vision.image import Size
from app.vision.input_spec import LARGEST_INPUT
from app.vision.preprocessing import InputSpec

TOLERANCE = 1e-4
"""How far rows of a batch may be from the same pictures by themselves, as a share of the largest value."""

console = Console()


@dataclass(frozen=True, slots=True)
class Addition:
    """What the command line asks for.

    `pixels` are the fields of `input:` that no graph tells (scale, mean, …), `fields` any others of the manifest by
    section, `like` the family whose fields stand behind them all.
    """

    file: Path
    task: Literal["classification", "detection", "segmentation"]
    out: Path
    labels: str | None
    name: str | None
    size: Size | None
    decoder: str | None
    dynamic_batch: bool
    pixels: Mapping[str, Any]
    like: str | None = None
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def given(self) -> dict[str, dict[str, Any]]:
        """What the command line says of the manifest's sections."""
        sections: dict[str, dict[str, Any]] = {name: dict(section) for name, section in self.fields.items()}
        if self.pixels:
            sections["input"] = {**sections.get("input", {}), **self.pixels}
        if self.decoder is not None:
            sections[self.task] = {"decoder": self.decoder, **sections.get(self.task, {})}
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


def read_numbers(option: str, text: str, count: int) -> list[float]:
    """Numbers with commas between; raises `StartupError` where they are not numbers or not so many."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise StartupError(f"{option} {text}: must be {count} numbers with commas between.")
    return numbers


def read_size(text: str) -> Size:
    """WIDTH,HEIGHT; raises `StartupError` where they are not two whole numbers of pixels."""
    sides = read_numbers("--size", text, 2)
    if not all(side.is_integer() and side >= 1 for side in sides):
        raise StartupError(f"--size {text}: must be two whole numbers of pixels, such as 640,480.")
    if max(sides) > LARGEST_INPUT:
        raise StartupError(f"--size {text}: a model's input has at most {LARGEST_INPUT} pixels a side.")
    return Size(*map(int, sides))


def read_fields(texts: list[str]) -> dict[str, dict[str, Any]]:
    """SECTION.FIELD=VALUE, the value in YAML; raises `StartupError` where one is not of that form."""
    fields: dict[str, dict[str, Any]] = {}
    for text in texts:
        path, equals, value = text.partition("=")
        section, dot, name = path.partition(".")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            equals = ""
        if not (section and dot and name and equals):
            raise StartupError(f"--set {text}: must be SECTION.FIELD=VALUE, such as detection.box_format=cxcywh.")
        fields.setdefault(section, {})[name] = parsed
    return fields


def run(asked: Addition) -> None:
    """Inspect the graph, write the entry, load it as serving would; nothing stays where anything fails.

    Raises `StartupError` saying what was wrong or ambiguous, `EngineUnavailable` where `dynamic_batch` lacks onnx.
    """
    labels = None if asked.labels is None else entries.read_labels(asked.labels)
    with entries.new_entry(asked.out, asked.name or asked.file.stem, asked.file) as folder:
        path = folder / entries.VERSION / "model.onnx"
        entries.copy_graph(asked.file, path)
        section, section_of_task = _inspect(asked, path, None if labels is None else len(labels))
        classes = section_of_task.classes
        if classes is None and labels is None:
            raise InvalidManifest("The graph does not say how many classes there are; name them with --labels.")
        given = asked.given()
        manifest = {
            "task": asked.task,
            "description": f"Added from {asked.file.name}",
            **({} if asked.like is None else {"like": asked.like}),
            **given,
            "input": {**section.section, **_preparation(asked), **given.get("input", {})},
            asked.task: {**section_of_task.section, **given.get(asked.task, {})},
        }
        names = labels if classes is None and labels is not None else entries.fit_labels(labels, classes or 0)
        entries.write_manifest(folder, manifest, names)
        if asked.dynamic_batch:
            _free_batch(asked, path, section)
            entries.write_manifest(folder, manifest, names)
        with entries.loaded(folder):
            pass
    for reason in (*section.reasons, *section_of_task.reasons, *_assumptions(asked)):
        console.print(f"- {reason}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{asked.out / (asked.name or asked.file.stem)}: loaded and warmed as serving would", soft_wrap=True)


def _inspect(asked: Addition, path: Path, labels: int | None) -> tuple[Conclusion, Conclusion]:
    settled = asked.settled()
    known = settled.get(asked.task) or {}
    engine = _open(path, settled)
    try:
        section = graphs.conclude_input(engine.input, asked.size)
        size = Size(*section.section["size"])
        rows = _rows(engine, section, settled)
        if asked.task == "classification":
            return section, graphs.conclude_classifier(rows, labels, known)
        if asked.task == "segmentation":
            return section, graphs.conclude_segmenter(rows, size)
        return section, conclude_detector(rows, size, labels, known)
    except ValidationError as error:
        raise InvalidManifest(f"the fields that were given do not fit each other: {error}") from None
    finally:
        engine.close()


def _rows(engine: Engine, section: Conclusion, settled: Mapping[str, Any]) -> dict[str, Array]:
    """One picture's outputs."""
    if (settled.get("batching") or {}).get("batch_dimension", True):
        try:
            outputs = _answers(engine, _noise(section, engine.input.batch_size or 1))
        except InvalidManifest as error:
            raise InvalidManifest(
                f"{error}. Where its outputs are those of a single picture, without a batch dimension: "
                "--set batching.batch_dimension=false."
            ) from error
        return {name: output[0] for name, output in outputs.items()}
    return _answers(engine, _noise(section, 1), batched=False)


def _free_batch(asked: Addition, path: Path, section: Conclusion) -> None:
    """Rewrite the graph, and compare three pictures at once with each by itself in the graph as it was."""
    before = _open(path)
    size = before.input.batch_size
    if size is None:
        raise InvalidManifest(f"--dynamic-batch: {asked.file.name} takes any batch already; leave it out.")
    from app.commands import dynamic_batch  # onnx, which only this needs

    pictures = _noise(section, 3)
    alone = [_answers(before, np.repeat(picture[None], size, axis=0)) for picture in pictures]
    before.close()
    dynamic_batch.rewrite(path)
    refusal = f"--dynamic-batch: {asked.file.name} cannot be rewritten"
    cure = "leave it out: the graph is then called once a picture"
    try:
        together = _together(path, pictures)
    except InvalidManifest as error:
        raise InvalidManifest(f"{refusal}: its nodes depend on the batch of {size} ({error}); {cure}.") from error
    for name, rows in together.items():
        wanted = np.stack([answers[name][0] for answers in alone])
        if rows.shape != wanted.shape or np.abs(rows - wanted).max(initial=0) > TOLERANCE * np.abs(wanted).max(
            initial=1
        ):
            raise InvalidManifest(f"{refusal}: {name} of three pictures is not that of each by itself; {cure}.")


def _together(path: Path, pictures: Array) -> dict[str, Array]:
    engine = _open(path)
    try:
        return _answers(engine, pictures)
    finally:
        engine.close()


def _open(path: Path, settled: Mapping[str, Any] | None = None) -> Engine:
    section = dict((settled or {}).get("input") or {})
    spec = InputSpec(size=Size(*section.get("size", (1, 1))), constants=section.get("constants", {}))
    constants = {name: spec.constant(name) for name in spec.constants}
    options = EngineOptions(devices.choose("cpu", None), threads=usable_cores(), constants=constants)
    return catalog.open_engine("onnx", path, options)


def _answers(engine: Engine, batch: Array, batched: bool = True) -> dict[str, Array]:
    try:
        outputs = engine.run(batch)
    except Exception as error:  # the runtime raises many unrelated types, all meaning: not this batch
        raise InvalidManifest(f"the graph fails on pictures of shape {list(batch.shape)}: {_first(error)}") from error
    short = [name for name, rows in outputs.items() if rows.ndim == 0 or len(rows) != len(batch)]
    if batched and short:
        raise InvalidManifest(f"the output {short[0]} has not one row for each of {len(batch)} pictures")
    return outputs


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _noise(section: Conclusion, count: int) -> Array:
    """Random pictures as the graph takes them, values of 0 to 1, or to 255 in bytes; each is another."""
    width, height = section.section["size"]
    channels = {"grey": 1, "rgba": 4}.get(section.section.get("channels", "rgb"), 3)
    shape = (count, channels, height, width)
    if section.section["layout"] == "nhwc":
        shape = (count, height, width, channels)
    random = np.random.default_rng(0)
    if section.section["dtype"] == "uint8":
        return random.integers(0, 256, shape, np.uint8)
    return random.random(shape, np.float32).astype(section.section["dtype"])


def _preparation(asked: Addition) -> dict[str, Any]:
    """What a family's name says too is left to that."""
    return (
        {} if asked.like is not None else {"resize": "center_crop" if asked.task == "classification" else "letterbox"}
    )


def _assumptions(asked: Addition) -> list[str]:
    if asked.like is not None:
        return [f"pictures are prepared as {asked.like}'s are; `roo-vision models show` prints what that stands for"]
    given = ", ".join(asked.pixels) or "none given"
    return [
        f"assumed, as no graph tells it: resize {_preparation(asked)['resize']}, and of scale, mean, std and channels "
        f"those not given ({given}) as in docs/models.md; try a picture, and correct model.yaml where it is wrong"
    ]
