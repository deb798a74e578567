"""`roo-vision models inspect`: what an ONNX file says of itself, and what each decoder would make of it."""

import json
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from app.commands import entries, graphs, probing, readings, trial, ultralytics
from app.commands.readings import Attempts, Reading
from app.commands.trial import Sample
from app.engines import onnx, onnx_file, onnx_weights
from app.engines.base import TensorSpec
from app.errors import InvalidManifest, StartupError
from app.repository import repository
from app.vision.image import Size

_SHOWN_TEXT = 160

console = Console()


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the command line asks for; `model` is a file's path, or the name of a model in the repository."""

    model: str
    models_dir: Path
    picture: Path | None
    labels: str | None
    size: Size | None
    json: bool


def run(asked: Inspection) -> None:
    """Print what is found; raises `StartupError` where the file cannot be read."""
    path, known = _file(asked)
    sample = trial.bundled_sample(asked.models_dir) if asked.picture is None else trial.read_sample(asked.picture)
    facts = _facts(path)
    tried = _tried(asked, path, known, sample)
    if asked.json:
        found = tried if isinstance(tried, str) else [_reading(reading) for reading in tried]
        console.print_json(json.dumps({**facts, "picture": sample.name, "readings": found}), default=str)
        return
    _print_facts(facts)
    console.print()
    if isinstance(tried, str):
        console.print(f"Not tried on a picture: {tried}", markup=False, highlight=False, soft_wrap=True)
    else:
        _print_readings(tried, sample)


def _file(asked: Inspection) -> tuple[Path, tuple[str, ...] | None]:
    """The graph, and its classes' names where it is a model of the repository."""
    path = Path(asked.model)
    if path.suffix == ".onnx" or path.is_file():
        if not path.is_file():
            raise StartupError(f"{path}: there is no such file.")
        return path, None
    entry = repository.described_entry(repository.model_folder(asked.models_dir, asked.model))
    served = list(entry.versions.values())[-1]
    file = repository.model_file(served.parent, "onnx")
    if file is None:
        raise StartupError(f"{served}: is no ONNX graph; only those are inspected.")
    return file, entry.labels or None


def _facts(path: Path) -> dict[str, Any]:
    onnx_weights.files(path)
    inputs, outputs = onnx.signature(path)
    facts = onnx_file.read(path)
    return {
        "file": str(path),
        "bytes": path.stat().st_size,
        "producer": facts.producer or None,
        "opsets": facts.opsets,
        "ir_version": facts.ir_version,
        "parameters": facts.parameters,
        "quantization": facts.quantization,
        "weights_beside": {location: (path.parent / location).stat().st_size for location in facts.external},
        "inputs": [_tensor(spec) for spec in inputs],
        "outputs": [_tensor(spec) for spec in outputs],
        "metadata": facts.metadata,
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype.name, "shape": [side or "any" for side in spec.shape]}


def _tried(asked: Inspection, path: Path, known: tuple[str, ...] | None, sample: Sample) -> list[Reading] | str:
    """The readings or, where the graph takes no picture, why."""
    inputs, outputs = onnx.signature(path)
    try:
        metadata = onnx_file.read(path).metadata
        told = ultralytics.read(metadata, tuple(spec.name for spec in outputs), asked.labels is not None)
        names = known or told.labels if asked.labels is None else entries.read_labels(asked.labels)
        pictures = [spec for spec in inputs if len(spec.shape) == graphs.PICTURE_DIMENSIONS] or inputs
        shape = graphs.conclude_input(pictures[0], asked.size or told.size).section
    except InvalidManifest as error:
        return str(error)
    ways = readings.candidates(None if names is None else len(names), told)
    with closing(Attempts(lambda constants: probing.open_with(path, constants), shape, sample, names)) as attempts:
        found = [_relative(attempts.read(candidate), path) for candidate in ways]
    return sorted(found, key=lambda reading: (reading.answer is None, reading.doubt is not None))


def _relative(reading: Reading, path: Path) -> Reading:
    """Without the file's name, which all of them share."""
    return replace(reading, problem=(reading.problem or "").removeprefix(f"{path}: ") or None)


def _reading(reading: Reading) -> dict[str, Any]:
    return {
        "options": reading.candidate.options,
        "found": None if reading.answer is None else trial.in_words(reading.answer),
        "doubt": reading.doubt,
        "problem": reading.problem,
    }


def _print_facts(facts: Mapping[str, Any]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in facts.items():
        if name in ("inputs", "outputs"):
            value = "\n".join(f"{each['name']}: {each['dtype']} {each['shape']}" for each in value)
        elif name == "weights_beside":
            value = ", ".join(f"{file} ({_size(count)})" for file, count in value.items())
        elif isinstance(value, dict):
            value = "\n".join(f"{key}: {_short(str(text))}" for key, text in value.items())
        elif name == "bytes":
            name, value = "size", _size(value)
        elif name == "parameters":
            value = f"{value:,}"
        table.add_row(name.replace("_", " "), _plain(value))
    console.print(table)


def _plain(value: object) -> str:
    return str(value or "none").replace("[", "\\[")


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count:,} bytes"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN_TEXT else f"{text[:_SHOWN_TEXT]} …"


def _print_readings(found: list[Reading], sample: Sample) -> None:
    answers: dict[tuple[str, str], list[str]] = defaultdict(list)
    problems: dict[str, list[str]] = defaultdict(list)
    for reading in found:
        if reading.answer is None:
            problems[reading.problem or ""].append(reading.candidate.name)
        else:
            words = trial.in_words(reading.answer)
            answers[reading.candidate.task, words + (f"\nbut: {reading.doubt}" if reading.doubt else "")].append(
                reading.candidate.options
            )
    table = Table("read with", "finds", title=f"What would be read of {sample.name}", title_justify="left")
    for (_, words), options in answers.items():
        table.add_row(_plain("\n".join(options)), _plain(words))
    console.print(table if answers else f"Nothing reads its outputs of {sample.name}.")
    console.print("Not read:" if problems else "")
    for problem, names in problems.items():
        console.print(f"- {', '.join(names)}: {problem.split('; ')[0]}", markup=False, highlight=False, soft_wrap=True)
