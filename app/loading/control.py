"""Models are loaded, reloaded and unloaded while others are served: one change after the other, in one thread."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from app.core.model import Model
from app.core.registry import Registry
from app.core.retirement import Retirement
from app.engines.library_errors import first_line
from app.errors import (
    CannotLoad,
    Draining,
    EngineFailure,
    Forbidden,
    InvalidManifest,
    InvalidRequest,
    Loading,
    ModelNotFound,
    RequestError,
    StartupError,
)
from app.loading import changes
from app.loading.budget import Budget
from app.loading.chains import ServedChains
from app.loading.serving import Serving
from app.repository import repository
from app.repository.repository import ModelEntry
from app.telemetry import metrics

if TYPE_CHECKING:
    from app.repository.signatures import Trust

log = logging.getLogger(__name__)

CLOSING_SECONDS = 5.0
"""How long another model is waited for that goes, so that not both are in memory where one had to go for the other."""

Verb = Literal["load", "reload", "unload"]
Who = Literal["off", "admin", "open"]
Outcome = Literal["loaded", "unchanged", "unloaded"]


@dataclass(frozen=True, slots=True)
class Change:
    """What was done: the versions that answer now, and the seconds that it took."""

    name: str
    outcome: Outcome
    versions: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class _Asked:
    verb: Verb
    name: str
    done: "Future[Change]"


class ModelControl:
    """Changes what is served. New versions are opened, checked and warmed beside the old ones, which answer meanwhile;
    they are swapped in one step, and closed when their last answer is out. What fails leaves the old ones serving.

    Safe to use from any thread. Who asks for a change that waits already gets the same one.
    """

    def __init__(
        self,
        registry: Registry,
        retirement: Retirement,
        root: Path,
        only: str | None = None,
        who: Who = "admin",
        memory: int | None = None,
    ) -> None:
        """`root` and `only` are as `repository.survey` has them; `who` may ask for changes is `ROO_MODEL_CONTROL`, and
        `memory` are the bytes that models may take together.
        """
        self._who = who
        self._budget = Budget(memory)
        self._registry = registry
        self.retirement = retirement
        self.chains = ServedChains(registry)
        self._root = root
        self._only = only
        self._serving: Serving | None = None
        self._known: dict[str, ModelEntry] = {}
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._waiting: dict[tuple[Verb, str], Future[Change]] = {}
        self._lock = threading.Lock()
        self._stopped = False
        self._running: _Asked | None = None

    def start(self, serving: Serving, entries: Iterable[ModelEntry]) -> None:
        """Take changes from now on; `entries` are what was loaded, and `serving` how."""
        self._serving = serving
        self._known = {entry.name: entry for entry in entries}
        for entry in self._known.values():
            self._budget.measured(entry, [model for model in self._registry if model.name == entry.name], serving.lanes)
        # Daemon: a model that is being loaded must not keep the process from exiting.
        threading.Thread(target=self._work, name="model-changes", daemon=True).start()

    def stop(self) -> None:
        """Take nothing more; who waits is refused. What runs goes on."""
        with self._lock:
            self._stopped = True
            waiting, self._waiting = list(self._waiting.values()), {}
        for done in waiting:
            done.set_exception(_draining())
        self._asked.put(None)

    def authorise(self, admin: bool) -> None:
        """Raises `Forbidden` where who asks, an administrator or not, may not change what is served."""
        if self._who == "off":
            raise Forbidden("What is served is not changed at run time here (ROO_MODEL_CONTROL=off).")
        if self._who == "admin" and not admin:
            raise Forbidden(
                "Only an administrator may change what is served: send a key with the scope `admin`, or a token with a "
                "role of ROO_ENTRA_ADMIN_ROLES. (ROO_MODEL_CONTROL=open lets everybody who may ask.)"
            )

    @property
    def busy(self) -> bool:
        """Whether a change runs."""
        return self._running is not None

    def ask(self, verb: Verb, name: str) -> "Future[Change]":
        """Load a model as it is in the repository, opening what has changed; reload it, opening all; or unload it.

        The future brings the change, or `ModelNotFound` where there is no such model, `CannotLoad` where it cannot be
        loaded or must stay. Raises `Loading` before the start has finished and `Draining` after the end has begun.
        """
        with self._lock:
            if self._stopped:
                raise _draining()
            if self._serving is None:
                raise Loading("The models are still being loaded. Try again in a moment.")
            done = self._waiting.get((verb, name))
            if done is None:
                done = self._waiting[verb, name] = Future()
                self._asked.put(_Asked(verb, name, done))
            return done

    def bring(self, name: str) -> "Future[Change]":
        """Load a model that is away, for somebody who asks it: a load of it that runs already is as good as a new one,
        which might have to wait for others that want this model's memory. Raises what `ask` raises.
        """
        with self._lock:
            running = self._running
            if running is not None and running.name == name and running.verb != "unload" and not self._stopped:
                return running.done
        return self.ask("load", name)

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None:
            with self._lock:
                if self._stopped:
                    return
                del self._waiting[asked.verb, asked.name]  # who asks from now on means the files as they are now
                self._running = asked
            try:
                if asked.done.set_running_or_notify_cancel():
                    asked.done.set_result(self._make(asked))
            except RequestError as error:
                asked.done.set_exception(error)
            except Exception:  # the next change must find somebody who makes it
                log.exception("failed to %s %s", asked.verb, asked.name)
                asked.done.set_exception(CannotLoad(f"The model {asked.name} was not changed; the log says why."))
            finally:
                self._running = None

    def _make(self, asked: _Asked) -> Change:
        makes: dict[Verb, Callable[[str], Outcome]] = {
            "load": lambda name: self._load(name, anew=False),
            "reload": lambda name: self._load(name, anew=True),
            "unload": self._unload,
        }
        started = time.monotonic()
        outcome: Outcome | Literal["failed"] = "failed"
        try:
            outcome = makes[asked.verb](asked.name)
        except ModelNotFound:
            raise  # of no model that a figure could be kept of
        except CannotLoad:
            self._count(asked, "failed", started)
            raise
        self._count(asked, outcome, started)
        chain = self._registry.chains.get(asked.name)
        versions = tuple(model.version for model in self._registry if model.name == asked.name)
        versions = (chain.pipeline.version,) if chain is not None else versions
        return Change(asked.name, outcome, versions, time.monotonic() - started)

    def _count(self, asked: _Asked, outcome: str, started: float) -> None:
        metrics.model_changes.add(1, (asked.name, asked.verb, outcome))
        metrics.model_change_seconds.record(time.monotonic() - started, (asked.verb, outcome))

    def _load(self, name: str, *, anew: bool) -> Outcome:
        try:
            if self._only is None and repository.is_chain(self._folder(name)):
                return self._load_chain(name)
            return self._swap(self._read(name), anew=anew)
        except (StartupError, EngineFailure, CannotLoad) as error:
            raise self._failed(name, str(error)) from None
        except RequestError:
            raise
        except Exception as error:  # files that go while they are read, and whatever libraries raise for those
            log.debug("failed to load %s", name, exc_info=True)
            raise self._failed(name, f"{type(error).__name__}: {first_line(error)}") from error

    def _load_chain(self, name: str) -> Outcome:
        """Chains have nothing that is opened: what answers them is there already."""
        try:
            chain = repository.read_chain(self._folder(name), self._trust)
        except InvalidManifest:
            self.chains.fail(name)
            raise
        renewed = self.chains.take(chain)
        self.retirement.retire(self._registry.replace(name, []))  # it may have been a model until now
        if self._known.pop(name, None) is not None:
            self.chains.forget(name)
        if renewed:
            log.info("%s: the chain answers from now on as the repository has it", name)
        return "loaded" if renewed else "unchanged"

    def _swap(self, entry: ModelEntry, *, anew: bool) -> Outcome:
        assert self._serving is not None
        name, started = entry.name, time.monotonic()
        loaded = [model for model in self._registry if model.name == name]
        known = self._known.get(name)
        versions = list(entry.versions) if anew else changes.changed(entry, known, loaded)
        if versions:
            self._make_room(name, self._budget.expected(entry))
        found = changes.opened(entry, versions, loaded, self._serving)
        # First: a version that is not served yet gets nothing, one without a share might get all.
        routed = self._registry.traffic.configure(name, entry.manifest.route)
        leaving = [model for model in loaded if model not in found.models]
        self.retirement.hand_over(leaving, [model for model in found.models if model not in loaded])
        gone = self._registry.replace(name, found.models)
        self._registry.mend(name)
        self._serving, self._known[name] = found.serving, entry
        self.retirement.retire(gone)
        self.chains.drop(name)
        self.chains.learn(entry)
        if versions:
            self._settle(entry, found.models, found.serving.lanes)
        if not (versions or gone):
            if routed:
                log.info("%s: %s from now on, as the repository says", name, self._registry.traffic.route(name))
            return "loaded" if routed else "unchanged"
        several = len(entry.versions) > 1
        log.info(
            "%s: %s from now on%s, after %.2f s",
            name,
            f"version{'s' * several} {' and '.join(entry.versions)} answer{'s' * (not several)}",
            f" in place of {' and '.join(model.version for model in gone)}" if gone else "",
            time.monotonic() - started,
        )
        return "loaded"

    def _make_room(self, name: str, size: int) -> None:
        gone = self._budget.makes_room(name, size, self._registry.least_used(), self._stays)
        for other in gone:
            self.retirement.retire(self._registry.put_away(other))
            metrics.model_changes.add(1, (other, "put away", "unloaded"))
            log.info("%s: put away until it is asked for, because %s needs the memory", other, name)
        if gone:
            self.retirement.wait(CLOSING_SECONDS)

    def _settle(self, entry: ModelEntry, models: Sequence[Model], lanes: int) -> None:
        """What a model really takes is known once it is loaded; others may have to go for that too."""
        size = self._budget.measured(entry, models, lanes)
        try:
            self._make_room(entry.name, size)
        except CannotLoad as error:
            log.warning("%s", error)

    def _stays(self, name: str) -> bool:
        known = self._known.get(name)
        return name == self._registry.named_default or (known is not None and known.manifest.pinned)

    def _unload(self, name: str) -> Outcome:
        known = self._known.get(name)
        if known is not None and known.manifest.pinned:
            raise CannotLoad(f"The model {name} is pinned; remove `pinned` from its manifest and load it again first.")
        if name == self._registry.named_default:
            raise CannotLoad(f"The model {name} is ROO_DEFAULT_MODEL, which answers where none is named; it stays.")
        registry = self._registry
        if name not in {*registry.names(), *registry.failures, *registry.away, *registry.chains}:
            raise ModelNotFound(f"There is no model {name!r} that could be unloaded.")
        gone = registry.replace(name, [])
        registry.mend(name)
        self._known.pop(name, None)
        self.chains.drop(name)
        self.chains.forget(name)
        self.retirement.retire(gone)
        log.info("%s: unloaded, nothing of it answers any more", name)
        return "unloaded"

    def _read(self, name: str) -> ModelEntry:
        if self._only is not None:
            if name != self._only:
                raise ModelNotFound(f"There is no model {name!r} in the repository; ROO_MODEL_NAME names its only one.")
            return repository.read_entry(self._root, self._trust, name=name)
        return repository.read_entry(self._folder(name), self._trust)

    def _folder(self, name: str) -> Path:
        try:
            return repository.described_folder(self._root, name)
        except StartupError as error:
            raise ModelNotFound(str(error)) from None

    @property
    def _trust(self) -> "Trust | None":
        assert self._serving is not None
        return self._serving.trust

    def _failed(self, name: str, reason: str) -> CannotLoad:
        self._registry.fail(name, reason)
        serves = name in {*self._registry.names(), *self._registry.chains}
        log.error("%s: %s: %s", name, "stays as it was" if serves else "cannot be served", reason)
        return CannotLoad(reason)


def _draining() -> Draining:
    return Draining("The service is shutting down; nothing is loaded or unloaded any more.")


def refuse_parameters(names: Iterable[str]) -> None:
    """Raises `InvalidRequest` for parameters of the protocol that have no meaning here."""
    if unknown := sorted(names):
        raise InvalidRequest(
            f"The parameter {unknown[0][:100]!r} is not taken: a model is what the repository holds, and its manifest "
            "its configuration. Change those, and load it without parameters."
        )
