"""The figures that people look at, in the terminal (`roo-vision top`) and in the console, made in one place of metrics.

Times are seconds, sizes bytes, rates a second; None is what cannot be told.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from app.telemetry import metrics
from app.telemetry.instruments import Instrument
from app.telemetry.readings import Interval, Reading

STAGES = ("queue", "decode", "prepare", "compute", "finish")
QUANTILES = (0.5, 0.95, 0.99)
SOURCES = ("http", "queue")

Quantiles = tuple[float | None, ...]
"""In the order of `QUANTILES`."""

NEEDED: tuple[Instrument, ...] = (
    metrics.http_seconds,
    metrics.requests,
    metrics.request_seconds,
    metrics.stage_seconds,
    metrics.batch_size,
    metrics.batch_fill,
    metrics.waiting,
    metrics.oldest_waiting,
    metrics.in_flight,
    metrics.lanes,
    metrics.ready,
    metrics.device,
    metrics.model_info,
    metrics.messages,
    metrics.locks_lost,
    metrics.messages_held,
    metrics.oldest_message,
    metrics.credit,
    metrics.queue_depth,
    metrics.queue_connected,
    metrics.memory_used,
    metrics.memory_limit,
    metrics.gpu_utilization,
    metrics.gpu_memory_used,
    metrics.gpu_memory_total,
    metrics.gpu_temperature,
    metrics.gpu_power,
)
"""What the figures are made of."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What goes through."""

    pictures: dict[str, float | None]
    """Pictures a second, by where they came from."""
    http_requests: float | None
    failed: float
    """Pictures, not a rate."""
    latency: dict[str, Quantiles]
    """Of the whole (`total`), and of each stage."""


@dataclass(frozen=True, slots=True)
class Core:
    """What computes, and what waits for it."""

    lanes: float | None
    batch_size: float | None
    batch_fill: float | None
    waiting: float | None
    in_flight: float | None
    oldest_waiting: float | None
    memory: float | None
    memory_limit: float | None


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """One queue."""

    queue: str
    connected: bool
    oldest: float | None
    held: float | None
    credit: float | None
    waiting: float | None
    dead_letters: float | None
    settled: float | None
    locks_lost: float


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU; `busy` is a share, `temperature` in °C, `power` in watts."""

    gpu: str
    busy: float
    memory: float | None
    memory_total: float | None
    temperature: float | None
    power: float | None


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """One version of a model."""

    model: str
    version: str
    engine: str
    device: str
    pictures: float | None
    latency: Quantiles


@dataclass(frozen=True, slots=True)
class Figures:
    """All of one interval; `seconds` is its length, None for since the start."""

    seconds: float | None
    ready: bool
    device: str
    flow: Flow
    core: Core
    queues: list[QueueFigures]
    gpus: list[Gpu]
    models: list[ModelFigures]


def figures(interval: Interval) -> Figures:
    """What people look at."""
    now, before = interval.now, interval.before
    return Figures(
        seconds=None if before is None else now.at - before.at,
        ready=bool(now.total("roo_ready")),
        device=now.label("roo_device", "device"),
        flow=_flow(interval),
        core=_core(interval),
        queues=[_queue(interval, name) for name in _named(now, "roo_messages_held", "queue")],
        gpus=[_gpu(now, name) for name in _named(now, "roo_gpu_utilization_ratio", "gpu")],
        models=[_model(interval, dict(labels)) for labels in now.series.get("roo_model_info", {})],
    )


def _flow(interval: Interval) -> Flow:
    failed = sum(
        grown
        for labels, grown in interval.growth("roo_requests_total").items()
        if dict(labels)["outcome"] not in ("ok", "cancelled")
    )
    latency = {stage: _quantiles(interval, "roo_stage_seconds", stage=stage) for stage in STAGES}
    return Flow(
        pictures={source: interval.rate("roo_requests_total", source=source) for source in SOURCES},
        http_requests=interval.rate("http_server_request_duration_seconds_count"),
        failed=failed,
        latency={"total": _quantiles(interval, "roo_request_seconds"), **latency},
    )


def _core(interval: Interval) -> Core:
    now = interval.now
    return Core(
        lanes=now.total("roo_lanes"),
        batch_size=interval.mean("roo_batch_size"),
        batch_fill=interval.mean("roo_batch_fill_ratio"),
        waiting=now.total("roo_waiting"),
        in_flight=now.total("roo_in_flight"),
        oldest_waiting=now.total("roo_oldest_waiting_seconds"),
        memory=now.total("process_memory_usage_bytes"),
        memory_limit=now.total("roo_memory_limit_bytes"),
    )


def _queue(interval: Interval, queue: str) -> QueueFigures:
    now = interval.now
    return QueueFigures(
        queue=queue,
        connected=bool(now.total("roo_queue_connected", queue=queue)),
        oldest=now.total("roo_oldest_message_seconds", queue=queue),
        held=now.total("roo_messages_held", queue=queue),
        credit=now.total("roo_credit", queue=queue),
        waiting=now.total("roo_queue_depth", queue=queue, state="active"),
        dead_letters=now.total("roo_queue_depth", queue=queue, state="dead_letter"),
        settled=interval.rate("roo_messages_total", queue=queue),
        locks_lost=sum(interval.growth("roo_locks_lost_total", queue=queue).values()),
    )


def _gpu(now: Reading, gpu: str) -> Gpu:
    return Gpu(
        gpu=gpu,
        busy=now.total("roo_gpu_utilization_ratio", gpu=gpu) or 0.0,
        memory=now.total("roo_gpu_memory_used_bytes", gpu=gpu),
        memory_total=now.total("roo_gpu_memory_total_bytes", gpu=gpu),
        temperature=now.total("roo_gpu_temperature_celsius", gpu=gpu),
        power=now.total("roo_gpu_power_watts", gpu=gpu),
    )


def _model(interval: Interval, labels: dict[str, str]) -> ModelFigures:
    wanted = {"model": labels["model"], "version": labels["version"]}
    return ModelFigures(
        model=labels["model"],
        version=labels["version"],
        engine=labels["engine"],
        device=labels["device"],
        pictures=interval.rate("roo_requests_total", **wanted),
        latency=_quantiles(interval, "roo_request_seconds", **wanted),
    )


def _quantiles(interval: Interval, name: str, **wanted: str) -> Quantiles:
    return tuple(interval.quantile(share, name, **wanted) for share in QUANTILES)


def _named(now: Reading, name: str, label: str) -> Iterable[str]:
    """The values of a label, each once."""
    return sorted({dict(labels)[label] for labels in now.series.get(name, {})})
