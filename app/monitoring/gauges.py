"""The figures that are read from the running service whenever somebody looks at its metrics."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from app.core.executor import Executor, PictureBatcher
from app.core.health import Health
from app.core.registry import Registry
from app.core.request import Priority
from app.core.rollouts import Rollouts
from app.core.service import InferenceService
from app.engines.devices import Device
from app.host import cgroup
from app.repository.route import WHOLE
from app.telemetry import gpu, logs, metrics, process
from app.telemetry.instruments import Labels, Reading

if TYPE_CHECKING:
    from app.servicebus.worker import QueueWorker


def observe_core(
    service: InferenceService, batcher: PictureBatcher, executor: Executor, health: Health, device: Device
) -> None:
    """What waits, what is admitted, what is loaded, and whether it is ready."""
    admission, capacity = service.admission, service.capacity
    metrics.waiting.observe(lambda: [(batcher.waiting(priority), _of(priority)) for priority in Priority])
    metrics.oldest_waiting.observe(lambda: [(batcher.oldest_age(), ())])
    metrics.in_flight.observe(lambda: [(admission.used.pictures, ())])
    metrics.permits_free.observe(lambda: [(admission.free(priority), _of(priority)) for priority in Priority])
    metrics.picture_seconds.observe(lambda: _speeds(service))
    metrics.pending_seconds.observe(lambda: [(capacity.pending(), ())])
    if (cache := service.cache) is not None:
        metrics.response_cache_held.observe(lambda: [(cache.held, ())])
        metrics.response_cache_entries.observe(lambda: [(len(cache), ())])
    metrics.lanes.observe(lambda: [(executor.health().alive, ())])
    metrics.ready.observe(lambda: [(float(health.ready().ok), ())])
    metrics.device.observe(lambda: [(1, (device.name, device.asked))])
    metrics.model_failed.observe(lambda: [(1, (name,)) for name in service.registry.unserved])
    metrics.model_stale.observe(lambda: [(1, (name,)) for name in service.registry.stale])
    metrics.model_info.observe(lambda: _models(service))


def observe_releases(registry: Registry, rollouts: Rollouts) -> None:
    """Who is to answer, and how roll-outs stand."""
    metrics.traffic_share.observe(
        lambda: [
            (share / WHOLE, (name, version))
            for name in registry.names()
            for version, share in registry.traffic.route(name).shares.items()
        ]
    )
    metrics.rollout.observe(
        lambda: [(1, (state.plan.model, state.plan.to, state.phase.value)) for state in rollouts.states()]
    )


def observe_queues(workers: "Sequence[QueueWorker]") -> None:
    """How the queue front stands."""

    def read(figure: "Callable[[QueueWorker], float]") -> Callable[[], Reading]:
        return lambda: [(figure(worker), (worker.queue,)) for worker in workers]

    metrics.messages_held.observe(read(lambda worker: worker.held))
    metrics.oldest_message.observe(read(lambda worker: worker.oldest_age()))
    metrics.credit.observe(read(lambda worker: worker.status.credit))
    metrics.queue_depth.observe(
        lambda: [(count, (worker.queue, state)) for worker in workers for state, count in list(worker.depth().items())]
    )
    metrics.queue_connected.observe(read(lambda worker: float(worker.status.connected)))
    metrics.queue_halted.observe(read(lambda worker: float(bool(worker.status.halted))))


def observe_process() -> None:
    """CPU, memory, lost log lines, and GPUs where there are any."""
    metrics.cpu_seconds.observe(lambda: [(process.cpu_seconds(), ())])
    metrics.memory_used.observe(lambda: [(process.memory_used(), ())])
    if (limit := cgroup.memory_limit()) is not None:
        metrics.memory_limit.observe(lambda: [(limit, ())])
    metrics.log_lines_dropped.observe(lambda: [(logs.dropped(), ())])
    gpu.observe()


def _of(priority: Priority) -> Labels:
    return (priority.value,)


def _speeds(service: InferenceService) -> Reading:
    """Of two states of one version, the one that answers now."""
    speeds = service.capacity.speeds()
    return [(speeds[model], (model.name, model.version)) for model in service.registry if model in speeds]


def _models(service: InferenceService) -> Reading:
    return [(1, (model.name, model.version, model.engine.name, model.engine.device)) for model in service.registry]
