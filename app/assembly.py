"""The composition root: the core, put together from settings and a model repository. It knows everybody but fronts."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from app.core.admission import Admission, Budget
from app.core.batcher import Batcher
from app.core.capacity import Capacity
from app.core.executor import Executor, ModelCapacity, PictureBatcher
from app.core.health import Health
from app.core.limits import PictureLimits
from app.core.registry import Registry
from app.core.response_cache import ResponseCache
from app.core.retirement import Retirement
from app.core.rollouts import Rollouts
from app.core.service import InferenceService
from app.engines.devices import Device
from app.host import cgroup
from app.loading import routes
from app.loading.control import ModelControl
from app.loading.polling import Poller
from app.loading.serving import Serving
from app.loading.start import Start
from app.monitoring.differing import DifferingPictures
from app.repository.repository import ModelEntry
from app.settings import MIB, Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Core:
    """The service and what was put together for it; no model is loaded yet."""

    service: InferenceService
    batcher: PictureBatcher
    executor: Executor
    health: Health
    device: Device
    entries: list[ModelEntry]
    start: Start
    rollouts: Rollouts
    control: ModelControl
    poller: Poller | None
    eager: Callable[[ModelEntry], bool]
    """Which models are loaded at the start."""

    def load(self) -> None:
        """Try what is fastest here, load and warm every model, then start the lanes; raises `StartupError`.

        Takes seconds: not for the event loop.
        """
        registry, start = self.service.registry, self.start
        entries = [entry for entry in self.entries if self.eager(entry)]
        start.run(entries, others=len(entries) < len(self.entries))
        for entry in self.entries:
            if entry not in entries:
                registry.put_away(entry.name)
        for model in start.models:
            registry.add(model)
        start.models.clear()  # from now on the registry holds them, and lets them go
        for name, reason in start.failures.items():
            registry.fail(name, reason)
        self.control.chains.start(start.chains, [entry for entry in start.known if entry.name not in start.failures])
        self.executor.start(start.serving.lanes)
        registry.complete()
        self.control.start(start.serving, [entry for entry in self.entries if entry.name in registry.names()])
        self.health.finish_start()
        if self.poller is not None:
            self.poller.start()


def build(settings: Settings, model: str | None = None) -> Core:
    """Put the core together from settings and the model repository, of which only `model` where one is named, or, of a
    chain, those that it asks.

    Raises `StartupError` where they do not fit.
    """
    serving = Serving.of(settings)
    looks = settings.repository_poll and model is None
    looked_at = Poller.look_at(settings.models_dir, settings.model_name) if looks else None  # before it is read
    start = Start(serving, settings.default_model, settings.strict_repository)
    entries = (
        start.read(settings.models_dir, settings.model_name)
        if model is None
        else start.read_one(settings.models_dir, model)
    )
    _check_memory(settings, serving.lanes)
    fixed = settings.traffic if model is None else {}
    registry = Registry(settings.default_model, routes.read(entries, fixed, start.failures))
    batcher: PictureBatcher = Batcher(settings.bulk_share)
    capacity: ModelCapacity = Capacity(batcher)
    batcher.weigh(capacity.seconds, capacity.light)
    executor = Executor(batcher, capacity)
    service = _service(settings, registry, batcher, capacity)
    health = Health(registry, executor, capacity, serving.device)
    control = _control(settings, registry, Retirement(registry, batcher, executor, capacity))
    service.on_demand = control.bring
    poller = None
    if looked_at is not None:
        root, only, seconds = settings.models_dir, settings.model_name, settings.repository_poll
        poller = Poller(control, registry, root, only, looked_at, seconds)

    def eager(entry: ModelEntry) -> bool:
        return settings.load == "all" or entry.manifest.pinned or entry.name == settings.default_model

    rollouts = Rollouts(registry, settings.rollout_dir)
    return Core(service, batcher, executor, health, serving.device, entries, start, rollouts, control, poller, eager)


def _service(
    settings: Settings, registry: Registry, batcher: PictureBatcher, capacity: ModelCapacity
) -> InferenceService:
    budget = Budget(settings.max_inflight, settings.max_inflight_bytes, settings.max_inflight_pixels)
    limits = PictureLimits(settings.max_image_bytes, settings.max_pixels, settings.request_timeout, settings.max_tiles)
    admission = Admission(budget, capacity.retry_after)
    keep = None if settings.shadow_dir is None else DifferingPictures(settings.shadow_dir).keep
    service = InferenceService(registry, batcher, admission, capacity, limits, keep)
    if settings.response_cache_bytes:
        per_caller = settings.auth != "none" and not settings.response_cache_shared
        service.cache = ResponseCache(
            settings.response_cache_bytes, settings.response_cache_seconds, per_caller=per_caller
        )
    return service


def _control(settings: Settings, registry: Registry, retirement: Retirement) -> ModelControl:
    root, only, who = settings.models_dir, settings.model_name, settings.model_control
    return ModelControl(registry, retirement, root, only, who, settings.models_memory)


def _check_memory(settings: Settings, lanes: int) -> None:
    limit, needed = cgroup.memory_limit(), settings.memory(lanes)
    if limit is not None and needed > limit:
        log.warning(
            "the settings let %d MiB come together, and the container has %d MiB: it may be killed for want of memory. "
            "Lower ROO_MAX_DECODE_BYTES or ROO_MAX_INFLIGHT_BYTES, or give it more",
            needed // MIB,
            limit // MIB,
        )
