"""`roo-vision models add`: an ONNX file to a ready entry of a model repository."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console

from app.commands import entries, graphs
from app.commands.graphs import Conclusion
from app.engines import catalog, devices
from app.engines.base import Array, Engine, EngineOptions
from app.errors import InvalidManifest, StartupError
from app.settings import usable_cores
from app.vision.image import Size

TOLERANCE = 1e-4
"""How far rows of a batch may be from the same pictures by themselves, as a share of the largest value."""

console = Console()


@dataclass(frozen=True, slots=True)
class Addition:
    """What the command line asks for. `pixels` are the fields of `input:` that no graph tells (scale, mean, …)."""

    file: Path
    task: Literal["classification", "detection", "segmentation"]
    out: Path
    labels: str | None
    name: str | None
    size: Size | None
    decoder: str | None
    dynamic_batch: bool
    pixels: Mapping[str, Any]


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
    return Size(*map(int, sides))


def run(asked: Addition) -> None:
    """Inspect the graph, write the entry, load it as serving would; nothing stays where anything fails.

    Raises `StartupError` saying what was wrong or ambiguous, `EngineUnavailable` where `dynamic_batch` lacks onnx.
    """
    labels = None if asked.labels is None else entries.read_labels(asked.labels)
    with entries.new_entry(asked.out, asked.name or asked.file.stem) as folder:
        path = folder / entries.VERSION / "model.onnx"
        shutil.copyfile(asked.file, path)
        section, section_of_task = _inspect(asked, path, None if labels is None else len(labels))
        classes = section_of_task.classes
        if classes is None and labels is None:
            raise InvalidManifest("The graph does not say how many classes there are; name them with --labels.")
        manifest = {
            "task": asked.task,
            "description": f"Added from {asked.file.name}",
            "input": {**section.section, **_preparation(asked), **asked.pixels},
            asked.task: section_of_task.section,
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
    engine = _open(path)
    try:
        section = graphs.conclude_input(engine, asked.size)
        size = Size(*section.section["size"])
        rows = {
            name: output[0] for name, output in _answers(engine, _noise(section, engine.input.batch_size or 1)).items()
        }
        if asked.task == "classification":
            return section, graphs.conclude_classifier(rows)
        if asked.task == "segmentation":
            return section, graphs.conclude_segmenter(rows, size)
        return section, graphs.conclude_detector(rows, size, labels, asked.decoder)
    finally:
        engine.close()


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


def _open(path: Path) -> Engine:
    return catalog.open_engine("onnx", path, EngineOptions(devices.choose("cpu", None), threads=usable_cores()))


def _answers(engine: Engine, batch: Array) -> dict[str, Array]:
    try:
        outputs = engine.run(batch)
    except Exception as error:  # the runtime raises many unrelated types, all meaning: not this batch
        raise InvalidManifest(f"the graph fails on pictures of shape {list(batch.shape)}: {_first(error)}") from error
    short = [name for name, rows in outputs.items() if rows.ndim == 0 or len(rows) != len(batch)]
    if short:
        raise InvalidManifest(f"the output {short[0]} has not one row for each of {len(batch)} pictures")
    return outputs


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _noise(section: Conclusion, count: int) -> Array:
    """Random pictures as the graph takes them, values of 0 to 1, or to 255 in bytes; each is another."""
    width, height = section.section["size"]
    shape = (count, 3, height, width) if section.section["layout"] == "nchw" else (count, height, width, 3)
    random = np.random.default_rng(0)
    if section.section["dtype"] == "uint8":
        return random.integers(0, 256, shape, np.uint8)
    return random.random(shape, np.float32).astype(section.section["dtype"])


def _preparation(asked: Addition) -> dict[str, Any]:
    return {"resize": "center_crop" if asked.task == "classification" else "letterbox"}


def _assumptions(asked: Addition) -> list[str]:
    given = ", ".join(asked.pixels) or "none given"
    return [
        f"assumed, as no graph tells it: resize {_preparation(asked)['resize']}, and of scale, mean, std and channels "
        f"those not given ({given}) as in docs/models.md; try a picture, and correct model.yaml where it is wrong"
    ]
