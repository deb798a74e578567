"""From what is on disk to what answers: load, check and warm up models."""

import logging
import time
from pathlib import Path

from app.core.model import Model
from app.engines import devices, onnx
from app.engines.base import Engine
from app.engines.devices import Device
from app.errors import InvalidManifest
from app.repository.manifest import FILE_NAME
from app.repository.repository import ModelEntry
from app.telemetry import metrics

log = logging.getLogger(__name__)


def choose_device(asked: str) -> Device:
    """The device for all models; raises `DeviceUnavailable` where one was demanded and is not usable."""
    return devices.choose(asked, None if asked == "cpu" else onnx.cuda_problem())


def load(entry: ModelEntry, device: Device, max_batch: int | None = None) -> list[Model]:
    """Load and warm every version of one model; `max_batch` bounds the manifest's `batching.max_size`.

    Raises `InvalidManifest` where a file cannot be loaded or does not fit its manifest.
    """
    return [_load_version(entry, version, path, device, max_batch) for version, path in entry.versions.items()]


def _load_version(entry: ModelEntry, version: str, path: Path, device: Device, max_batch: int | None) -> Model:
    started = time.monotonic()
    engine = onnx.OnnxEngine(path, device)
    _check_input(entry, path, engine)
    size = entry.manifest.batching.limit(device.kind)
    size = min(size, max_batch or size)
    task = entry.manifest.build_task(entry.labels)
    model = Model(entry.name, version, task, entry.manifest.input, engine, size)
    loaded = time.monotonic()
    model.warm_up()
    labels = (entry.name, version)
    metrics.model_load_seconds.set(loaded - started, labels)
    metrics.model_warm_up_seconds.set(time.monotonic() - loaded, labels)
    log.info("loaded %r, batches up to %d, in %.2f s", model, size, time.monotonic() - started)
    return model


def _check_input(entry: ModelEntry, path: Path, engine: Engine) -> None:
    """The graph's input must be what the manifest prepares; said before the first run fails less clearly."""
    manifest, graph = entry.manifest.input, engine.input
    place = f"{path.parent.parent / FILE_NAME}: input"
    if graph.dtype != manifest.numpy_dtype:
        raise InvalidManifest(f"{place}.dtype: is {manifest.dtype}, but {path.name} takes {graph.dtype}.")
    wanted = (None, *manifest.shape)
    if len(graph.shape) != len(wanted) or any(
        size is not None and have is not None and size != have for size, have in zip(wanted, graph.shape, strict=True)
    ):
        raise InvalidManifest(
            f"{place}: size and layout give [batch, {', '.join(map(str, manifest.shape))}], but {path.name} takes "
            f"{[size or 'any' for size in graph.shape]}."
        )
