"""`roo-vision models quantize`: an int8 file for a model, and what it changes on one's own pictures."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.commands import quantization, quantize_report
from app.commands.quantize_report import Answer, Report
from app.commands.sources import find_pictures
from app.core.model import Model
from app.engines import devices
from app.engines.base import Array, IntegerEngine
from app.errors import InvalidManifest, RequestError, StartupError
from app.host.process import usable_cores
from app.loading import int8_trial, loader
from app.loading.int8_trial import INTEGER_LAYERS
from app.loading.serving import Serving
from app.repository import repository
from app.repository.manifest import FILE_NAME
from app.repository.repository import EXAMPLES, INT8_FILE, ModelEntry
from app.vision import image, preprocessing

FEWEST = 8
"""Pictures. Ranges from fewer would clip what the next picture shows."""
CALIBRATED, COMPARED = 48, 200
"""The most pictures that ranges are taken from, and that answers are compared on."""

console = Console()


@dataclass(frozen=True, slots=True)
class Quantizing:
    """What the command line asks for: which model, the pictures to do it by, and whether a file may be replaced."""

    models_dir: Path
    name: str
    data: Path
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Source:
    """The version that is quantized: its entry, in fp32, and its ONNX file."""

    entry: ModelEntry
    version: str
    path: Path


def run(job: Quantizing) -> Report:
    """Quantize, compare, print what changes, and put the file in place.

    Raises `StartupError` where there is no such model, too few pictures, or a file already; `InvalidManifest` where the
    graph cannot be quantized, or an engine would compute too little of it in integers.
    """
    source = _source(job)
    calibrated, compared = _pictures(job.data)
    with _staged(source) as staged, closing(_open(source, "fp32")) as exact:
        with _progress("calibrating", len(calibrated)) as told:
            rows = _rows(exact, calibrated)
            quantization.quantize(source.path, staged.path.with_name(INT8_FILE), rows, told)
        with closing(_open(staged, "int8")) as quantized:
            report = _compare(exact, quantized, compared, apart=set(calibrated).isdisjoint(compared))
        quantize_report.show(report, exact.task.name, console)
        target = source.path.with_name(INT8_FILE)
        os.replace(staged.path.with_name(INT8_FILE), target)
    _say_what_follows(source, target, report)
    return report


def _source(job: Quantizing) -> Source:
    folder = repository.model_folder(job.models_dir, job.name)
    entry = repository.described_entry(folder)
    manifest = entry.manifest.model_copy(update={"precisions": ["fp32"], "engine": "onnx"})
    version, served = list(entry.versions.items())[-1]
    path = repository.model_file(served.parent, "onnx")
    if path is None:
        raise StartupError(
            f"{served.parent}: holds no model.onnx, only {served.name}, and only ONNX graphs are quantized. "
            "`roo-vision models export --format both` writes both."
        )
    if manifest.input is None:
        raise StartupError(f"{folder / FILE_NAME}: task is tensors; only models that take pictures are quantized.")
    if manifest.input.dtype == "float16":
        raise StartupError(f"{path}: takes float16; give the graph in float32 that it was made from.")
    if path.with_name(INT8_FILE).exists() and not job.replace:
        raise StartupError(f"{path.with_name(INT8_FILE)} is there already; --replace writes it anew.")
    return Source(replace(entry, manifest=manifest, versions={version: path}), version, path)


def _pictures(data: Path) -> tuple[list[Path], list[Path]]:
    """Those that ranges are taken from and those that answers are compared on; apart, where there are enough."""
    if not data.is_dir():
        raise StartupError(f"--data {data} is not a folder; name one of pictures as the model will meet them.")
    found = [path for path in find_pictures([data]) if _is_served(path)]
    if len(found) < FEWEST:
        raise StartupError(
            f"--data {data} has {len(found)} pictures that can be read, and {FEWEST} are the least that ranges can be "
            f"taken from; {2 * CALIBRATED} or more are better, as different as those that the model will meet."
        )
    if len(found) < 2 * FEWEST:
        return found, found
    return found[::2][:CALIBRATED], found[1::2][:COMPARED]


def _is_served(path: Path) -> bool:
    try:
        image.read_header(path.read_bytes())
    except RequestError as error:
        console.print(f"left out: {path.name}: {error}", markup=False, highlight=False)
        return False
    return True


@contextmanager
def _staged(source: Source) -> Iterator[Source]:
    """A version's folder beside the repository's, in which the new file is tried before it is put in place.

    It lies one folder deeper than a repository's models, so that no service takes it for one.
    """
    root = source.path.parents[2]
    try:
        aside = Path(tempfile.mkdtemp(prefix=".new-", dir=root))
    except OSError as error:
        raise StartupError(f"{root} cannot be written: {error.strerror}.") from error
    try:
        folder = aside / source.entry.name / source.version
        folder.mkdir(parents=True)
        path = folder / source.path.name
        path.touch()  # stands for the graph, which nobody reads there: the int8 file lies beside it
        manifest = source.entry.manifest.model_copy(update={"precisions": ["fp32", "int8"]})
        entry = replace(source.entry, manifest=manifest, versions={source.version: path})
        yield Source(entry, source.version, path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _open(source: Source, wanted: str) -> Model:
    serving = Serving(
        devices.choose("cpu", None),
        "onnx",
        precision="int8" if wanted == "int8" else "fp32",
        threads=usable_cores(),
        max_batch=1,
    )
    model = loader.open_version(source.entry, source.version, source.path, serving)
    model.warm_up_batch(model.empty_batch()[:1])
    return model


@contextmanager
def _progress(what: str, total: int) -> Iterator["_Advance"]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        yield _Advance(progress, what, total)


class _Advance:
    """Called once a picture."""

    def __init__(self, progress: Progress, what: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(what, total=total)

    def __call__(self) -> None:
        self._progress.advance(self._task)


def _rows(model: Model, pictures: list[Path]) -> Iterator[Array]:
    for path in pictures:
        content = path.read_bytes()
        header = image.read_header(content)
        row = np.zeros((1, *model.input_spec.shape), model.input_spec.numpy_dtype)
        target = preprocessing.target_size(header.upright, model.input_spec)
        decoded = image.decode(content, header, target, model.input_spec.range)
        preprocessing.prepare(decoded, model.input_spec, row[0])
        yield row


def _compare(exact: Model, quantized: Model, pictures: list[Path], *, apart: bool) -> Report:
    assert isinstance(quantized.engine, IntegerEngine)
    integer, layers = quantized.engine.integer_layers()
    if integer < INTEGER_LAYERS * layers:
        raise InvalidManifest(
            f"{exact.name}: only {integer} of {layers} convolutions and matrix products would be computed in integers, "
            "so the file would gain nothing; none is written."
        )
    with _progress("comparing", len(pictures)) as told:
        answers = []
        for path in pictures:
            (found,) = int8_trial.compare(exact, quantized, [path.read_bytes()])
            answers.append(Answer(path, found))
            told()
    return Report(tuple(answers), integer, layers, apart)


def _say_what_follows(source: Source, target: Path, report: Report) -> None:
    folder = target.parents[1]
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    console.print(f"wrote {target} ({target.stat().st_size / 2**20:.1f} MiB)", markup=False, highlight=False)
    if not repository.example_pictures(target) and report.clearest:
        (folder / EXAMPLES).mkdir(exist_ok=True)
        for path in report.clearest:
            shutil.copy(path, folder / EXAMPLES / path.name)
        told = f"copied {len(report.clearest)} pictures to {folder / EXAMPLES}: a service compares its answers on them"
        console.print(told, markup=False, highlight=False)
    manifest = repository.described_entry(folder).manifest
    steps = [] if "int8" in manifest.precisions else [f"  precisions: [{', '.join((*manifest.precisions, 'int8'))}]"]
    if source.version in manifest.sha256:
        steps.append(f"  sha256, under version {source.version}: {INT8_FILE}: {digest}")
    if steps:
        console.print(f"If you can live with that, {folder / FILE_NAME} needs:", markup=False, highlight=False)
        for step in steps:
            console.print(step, markup=False, highlight=False, soft_wrap=True)
