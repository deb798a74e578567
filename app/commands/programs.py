"""A torchvision model as a program: exported, run, and accepted when it still answers the same."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Literal

from app.commands import comparison
from app.commands.comparison import Reference
from app.commands.export_specs import ExportSpec
from app.commands.torch_extra import torch
from app.engines import catalog, devices
from app.engines.base import Engine, EngineName, EngineOptions
from app.engines.library_errors import first_line
from app.errors import StartupError
from app.host.process import usable_cores

OPSET = 17
LARGEST_BATCH = 256
ENGINES: Mapping[Literal["onnx", "pt2"], EngineName] = {"onnx": "onnx", "pt2": "torch"}

_LOWER = (0.1, 0.01)
"""Shares of a detector's own threshold."""


def write(reference: Reference, path: Path) -> bool:
    """Export to `path`, `.onnx` or `.pt2`; True where it takes any batch, False where one picture at a time.

    Whether a model exports with a dynamic batch shows only when the result is run, so it is run. Raises `StartupError`
    where it cannot be exported at all.
    """
    for dynamic in (True, False) if reference.spec.batched else (False,):
        try:
            _export(reference, path, dynamic=dynamic)
            with _opened(path) as engine:
                comparison.compare(reference, engine)
        except Exception as error:  # the exporters raise many unrelated types, all meaning: not in this way
            path.unlink(missing_ok=True)
            problem = error
        else:
            return dynamic
    raise StartupError(f"The model cannot be exported as {path.name}: {first_line(problem).rstrip('.')}.") from problem


def probe(spec: ExportSpec, path: Path, enough: int) -> int:
    """Export a detector once more, to `path`, with a threshold so low that it finds `enough`, compare it, remove it.

    A detector may find nothing in the pictures that it is tried with, and nothing equals nothing. Returns how many
    detections were compared, which may still be less; raises `StartupError` where they differ.
    """
    for share in _LOWER:
        with spec.module.finding_more(spec.module.threshold * share):
            reference = Reference.of(spec)
            if reference.detections >= enough or share == _LOWER[-1]:
                write(reference, path)
                path.unlink()
                break
    return reference.detections


def _export(reference: Reference, path: Path, *, dynamic: bool) -> None:
    spec, images = reference.spec, torch.from_numpy(reference.pictures[: 2 if dynamic else 1])
    with _quiet(), torch.no_grad():
        if path.suffix == ".pt2":
            batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
            shapes = ({0: batch},) if dynamic else None
            torch.export.save(torch.export.export(spec.module, (images,), dynamic_shapes=shapes), path)
            return
        names = (spec.input_name, *spec.outputs)
        axes = {name: {0: "batch"} for name in names} if dynamic else None
        if spec.manifest["task"] == "detection":
            axes = {name: {1: "count"} for name in spec.outputs}
        # The exporter by tracing: the newer one needs two more packages.
        torch.onnx.export(
            spec.module,
            (images,),
            str(path),
            input_names=[spec.input_name],
            output_names=list(spec.outputs),
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )


@contextmanager
def _opened(path: Path) -> Iterator[Engine]:
    name = ENGINES["onnx" if path.suffix == ".onnx" else "pt2"]
    options = EngineOptions(devices.choose("cpu", None), threads=usable_cores())
    engine = catalog.open_engine(name, path, options)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' remarks to their own developers, and without attention fused into one operator, which
    ONNX does not have.
    """
    before, fused = logging.root.manager.disable, torch.backends.mha.get_fastpath_enabled()
    logging.disable(logging.WARNING)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        logging.disable(before)
