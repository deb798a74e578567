"""Alive, started, ready: what each means, decided when somebody asks."""

from collections.abc import Callable
from dataclasses import dataclass

from app.core.capacity import STUCK_SECONDS
from app.core.executor import Executor, ModelCapacity
from app.core.registry import Registry
from app.engines.devices import Device


@dataclass(frozen=True, slots=True)
class Probe:
    """A verdict, and the state of each part in words."""

    ok: bool
    checks: dict[str, str]


class Health:
    """Reads the state of the service; keeps none but whether the start has finished and the end has begun."""

    def __init__(self, registry: Registry, executor: Executor, capacity: ModelCapacity, device: Device) -> None:
        self._registry = registry
        self._executor = executor
        self._capacity = capacity
        self._device = device
        self._started = False
        self._draining = False
        self._watched: dict[str, Callable[[], str]] = {}

    def watch(self, part: str, read: Callable[[], str]) -> None:
        """Tell in readiness how another part is. It does not decide: HTTP answers while the queue's broker is away."""
        self._watched[part] = read

    def finish_start(self) -> None:
        """All models are loaded and warm."""
        self._started = True

    def begin_drain(self) -> None:
        """The service is shutting down: send it no more traffic."""
        self._draining = True

    def live(self) -> Probe:
        """False where only a restart helps: a lane is stuck inside an engine, or a GPU's context is lost."""
        lost = self._capacity.device_failure
        if lost is not None:
            return Probe(False, {"device": f"lost: {lost}"})
        stuck = self._capacity.stuck()
        if stuck > STUCK_SECONDS:
            return Probe(False, {"lanes": f"one has been on the same batch for {stuck:.0f} s"})
        return Probe(True, {"lanes": "ok"})

    def started(self) -> Probe:
        """True once every model is loaded and warm."""
        return Probe(self._started, {"models": "loaded and warm" if self._started else "loading"})

    def ready(self) -> Probe:
        """True while it should get traffic; without a model that answers, or could be loaded to, each would fail."""
        lanes = _lanes(self._executor)
        checks = {
            "models": self._models() if self._started else "loading",
            "lanes": lanes.checks["lanes"],
            **self._failures(),
            "device": f"{self._device.name} (asked: {self._device.asked}; {self._device.reason})",
        }
        checks |= {part: read() for part, read in self._watched.items()}
        if self._draining:
            checks["draining"] = "shutting down"
        alive = self.live()
        if not alive.ok:
            checks |= alive.checks
        serves = self._started and self._registry.serves
        return Probe(serves and lanes.ok and alive.ok and not self._draining, checks)

    def _models(self) -> str:
        if names := self._registry.names():
            return ", ".join(names)
        if away := self._registry.away:
            return f"none loaded now; {len(away)} when asked for"
        return "none is left; load one (`roo-vision models load`), or restart"

    def _failures(self) -> dict[str, str]:
        """Models that are not served, or not as they are in the repository, do not decide: others are."""
        told = {"models not served": self._registry.unserved, "models not renewed": self._registry.stale}
        return {part: f"{', '.join(names)} (GET /v1/models says why)" for part, names in told.items() if names}


def _lanes(executor: Executor) -> Probe:
    health = executor.health()
    restarts = f", {health.restarts} replaced" if health.restarts else ""
    return Probe(health.alive > 0, {"lanes": f"{health.alive} of {health.wanted} alive{restarts}"})
