"""From what is on disk to what answers: choose engine, device and precision, load, check and warm up models."""

import logging
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from app.core.model import Model
from app.engines import catalog, devices, onnx_file
from app.engines.base import Array, Engine, EngineName, EngineOptions, Precision, TensorSpec
from app.engines.devices import Device
from app.errors import EngineUnavailable, InvalidManifest, UntrustedModel
from app.host import allocator
from app.loading import decode_placement, int8_trial, precision
from app.loading.serving import BatchLimit, PrecisionChoice, Serving
from app.loading.verdicts import Verdict, digests
from app.repository.manifest import FILE_NAME
from app.repository.repository import ModelEntry, model_file, precision_file
from app.telemetry import metrics
from app.vision.tasks import AnyTask

log = logging.getLogger(__name__)


ONE_BY_ONE = "the graph takes one range for a whole batch (DynamicQuantizeLinear), so pictures are computed one by one"


def with_precision(entry: ModelEntry, serving: Serving) -> Serving:
    """`serving` with what each version is best computed in, tried once here instead of whenever one is opened.

    Raises what `load` raises.
    """
    choices = {}
    for version, path in entry.versions.items():
        engine, path = _engine_and_file(entry, path, serving)
        choices[entry.name, version] = _choose_precision(entry, version, path, engine, serving)
    return replace(serving, precisions={**serving.precisions, **choices})


def computes_in_its_caller(entry: ModelEntry, serving: Serving) -> bool:
    """Whether no version's engine starts threads of its own, which would be as its opener's thread is; raises what
    `load` raises.
    """
    engines = {_engine_and_file(entry, path, serving)[0] for path in entry.versions.values()}
    return all(_in_caller(engine, serving) for engine in engines)


def _in_caller(engine: EngineName, serving: Serving) -> bool:
    return engine == "onnx" and serving.device.kind == "cpu" and serving.threads == 1


def load(entry: ModelEntry, serving: Serving) -> list[Model]:
    """Load and warm every version of one model; where one fails, none stays.

    Raises `InvalidManifest` where a file cannot be loaded or does not fit its manifest, `EngineUnavailable` where its
    engine is not installed or cannot compute as asked.
    """
    with ExitStack() as undo:
        models = []
        for version, path in entry.versions.items():
            models.append(_load_version(entry, version, path, serving))
            undo.callback(models[-1].close)
        undo.pop_all()
    return models


def _load_version(entry: ModelEntry, version: str, path: Path, serving: Serving) -> Model:
    started = time.monotonic()
    with ExitStack() as undo:  # nothing half-loaded stays on a device
        model = open_version(entry, version, path, serving)
        undo.callback(model.close)
        loaded = time.monotonic()
        model.warm_up()
        decode_placement.choose(model, serving.gpu_decode, serving.lanes)
        undo.pop_all()
    labels = (entry.name, version)
    metrics.model_load_seconds.set(loaded - started, labels)
    metrics.model_warm_up_seconds.set(time.monotonic() - loaded, labels)
    log.info("loaded %r, batches up to %d, in %.2f s", model, model.max_batch_size, time.monotonic() - started)
    return model


def open_version(entry: ModelEntry, version: str, path: Path, serving: Serving) -> Model:
    """One version of a model, not warm yet; whoever opens it closes it. Raises what `load` raises."""
    engine, path = _engine_and_file(entry, path, serving)
    choice = serving.precisions.get((entry.name, version)) or _choose_precision(entry, version, path, engine, serving)
    return _open_in(choice, entry, version, path, engine, serving)


def _choose_precision(
    entry: ModelEntry, version: str, path: Path, engine: EngineName, serving: Serving
) -> PrecisionChoice:
    device = _device(engine, serving)
    single = replace(serving, lanes=1, batches={(entry.name, version): BatchLimit(1, "tried")})
    # Others may want the processor meanwhile; what it did for this thread alone is then the better measure.
    clock = time.thread_time if _in_caller(engine, serving) else time.perf_counter

    def open_in(tried: Precision) -> Model:
        return _open_in(PrecisionChoice(tried, "tried"), entry, version, path, engine, single)

    def trial(pictures: list[Path], instructions: str) -> Verdict:
        files = digests([*sorted(file for file in path.parent.iterdir() if file.is_file()), *pictures])
        key = (files, repr(entry.manifest.serving()), entry.labels, engine, device.name, serving.threads, instructions)
        contents = [picture.read_bytes() for picture in pictures]
        return serving.verdicts.of(key, lambda: int8_trial.try_int8(open_in, contents, instructions, clock))

    return precision.choose(entry, path, engine, device, serving.precision, trial)


def _open_in(
    choice: PrecisionChoice, entry: ModelEntry, version: str, path: Path, engine: EngineName, serving: Serving
) -> Model:
    if serving.trust is not None and entry.signed_by is None:
        raise UntrustedModel(f"{entry.name} was read without checking its signature, and is not opened.")
    path = _file_for(path, choice.precision)
    device = _device(engine, serving)
    limit = batch_limit(entry, version, device, serving)
    if path.suffix == ".onnx" and onnx_file.read(path).couples_batch:
        limit = BatchLimit(1, ONE_BY_ONE)
    options = EngineOptions(
        device=device,
        precision=choice.precision,
        lanes=serving.lanes,
        threads=serving.threads,
        max_batch=limit.size,
        memory_limit=serving.gpu_memory,
        cache_dir=serving.cache_dir,
        graphs=serving.cuda_graphs and entry.manifest.batching.batch_dimension,
        constants=_constants(entry),
    )
    with ExitStack() as undo:
        engines = [_open(engine, path, _on(options, member), undo) for member in device.members]
        allocator.give_back()  # weights are held twice and more while a graph is opened; warming needs memory next
        _check_input(entry, path, engines[0])
        task = _task(entry, version)
        undo.pop_all()
    return Model(
        entry.name,
        version,
        task,
        entry.manifest.input,
        engines,
        limit.size,
        device,
        limit.reason,
        serving.memory,
        choice.reason,
        entry.manifest.batching.batch_dimension,
    )


def _constants(entry: ModelEntry) -> dict[str, Array]:
    spec = entry.manifest.input
    return {} if spec is None else {name: spec.constant(name) for name in spec.constants}


def _task(entry: ModelEntry, version: str) -> AnyTask:
    try:
        return entry.manifest.build_task(entry.labels)
    except InvalidManifest as error:
        raise InvalidManifest(f"{entry.name} version {version}: {FILE_NAME}: {error}") from error


def _engine_and_file(entry: ModelEntry, path: Path, serving: Serving) -> tuple[EngineName, Path]:
    """The manifest's engine; where it names none the setting's; where that names none either, the file's."""
    wanted = entry.manifest.engine if entry.manifest.engine != "auto" else serving.engine
    if wanted == "auto":
        return catalog.reading(path), path
    file = model_file(path.parent, wanted)
    if file is None:
        raise InvalidManifest(
            f"{path.parent}: the engine {wanted} was asked for and there is no file that it reads, only {path.name}. "
            "Add one (`roo-vision models export` writes both kinds), or name another engine."
        )
    return wanted, file


def _device(engine: EngineName, serving: Serving) -> Device:
    """All models share one device, but for an engine that cannot use it, where the choice was left to the service."""
    device = serving.device
    if device.kind == "cpu":
        return device
    problem = catalog.cuda_problem(engine)
    return device if problem is None else devices.choose(device.asked, problem)


def _file_for(path: Path, precision: Precision) -> Path:
    file = precision_file(path, precision)
    if not file.is_file():
        raise EngineUnavailable(
            f"ROO_PRECISION={precision}: there is no {file}, the same network quantized. Make it with "
            f"`roo-vision models quantize {path.parent.parent.name} --data PICTURES`, or set ROO_PRECISION=auto."
        )
    return file


def batch_limit(entry: ModelEntry, version: str, device: Device, serving: Serving) -> BatchLimit:
    """The most pictures in one batch: what was measured, or else what manifest and settings say."""
    if (measured := serving.batches.get((entry.name, version))) is not None:
        return measured
    size = entry.manifest.batching.limit(device.kind)
    if serving.max_batch is not None and serving.max_batch < size:
        return BatchLimit(serving.max_batch, "ROO_MAX_BATCH")
    return BatchLimit(size, "the manifest's")


def _open(name: EngineName, path: Path, options: EngineOptions, undo: ExitStack) -> Engine:
    engine = catalog.open_engine(name, path, options)
    undo.callback(engine.close)
    return engine


def _on(options: EngineOptions, device: Device) -> EngineOptions:
    return replace(options, device=device, lanes=-(-options.lanes // options.device.count))


def _check_input(entry: ModelEntry, path: Path, engine: Engine) -> None:
    """The graph's input must be what the manifest prepares; said before the first run fails less clearly."""
    manifest, graph = entry.manifest.input, engine.input
    if manifest is None:
        return _check_row(path, graph)
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


def _check_row(path: Path, graph: TensorSpec) -> None:
    if not graph.shape or None in graph.shape[1:]:
        raise InvalidManifest(
            f"{path}: the input {graph.name} takes {[size or 'any' for size in graph.shape]}; with `task: tensors` all "
            "its sides but the first, the batch, must be fixed in the graph."
        )
