"""How a model goes that does not answer any more: once the last who uses it has finished, and without a trace."""

import logging
import threading
import time
from collections.abc import Iterable, Sequence

from app.core.executor import Executor, ModelCapacity, PictureBatcher
from app.core.model import Model
from app.core.registry import Registry
from app.host import allocator
from app.telemetry import metrics

log = logging.getLogger(__name__)


class Retirement:
    """Closes models that were taken from the registry. Each waits in a thread of its own for those who use it."""

    def __init__(
        self, registry: Registry, batcher: PictureBatcher, executor: Executor, capacity: ModelCapacity
    ) -> None:
        self._registry = registry
        self._batcher = batcher
        self._executor = executor
        self._capacity = capacity
        self._closing = 0
        self._changed = threading.Condition()

    @property
    def closing(self) -> int:
        """Models that are not closed yet."""
        return self._closing

    def retire(self, models: Iterable[Model]) -> None:
        """Close them when they are free."""
        for model in models:
            with self._changed:
                self._closing += 1
            # Daemon: a request or a lane that never ends must not keep the process from exiting.
            threading.Thread(target=self._close, args=(model,), name=f"closing-{model.name}", daemon=True).start()

    def hand_over(self, leaving: Sequence[Model], coming: Sequence[Model]) -> None:
        """Have who waits for a model that leaves wait no longer than if it stayed: those who will ask its successor,
        the same version or else the latest, come after them.
        """
        for old in leaving:
            for new in [each for each in coming if each.version == old.version] or coming[-1:]:
                self._batcher.succeed(new, old)

    def wait(self, timeout: float | None = None) -> bool:
        """Return once all are closed, or after so many seconds; whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._closing, timeout)

    def _close(self, model: Model) -> None:
        started = time.monotonic()
        try:
            self._registry.wait_until_free(model)
            self._batcher.wait_until_free(model)
            self._executor.forget(model)
            self._capacity.forget(model)
            self._forget_figures(model)
            model.close()
        except Exception:  # an engine that cannot be closed is lost memory, and must not be a secret
            log.exception("failed to close %r", model)
        finally:
            name = str(model)
            del model
            allocator.give_back()
            log.info("closed %s, %.2f s after it stopped answering", name, time.monotonic() - started)
            with self._changed:
                self._closing -= 1
                self._changed.notify_all()

    def _forget_figures(self, model: Model) -> None:
        labels = (model.name, model.version)
        if labels not in {(other.name, other.version) for other in self._registry}:
            metrics.model_load_seconds.remove(labels)
            metrics.model_warm_up_seconds.remove(labels)
