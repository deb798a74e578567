"""What is loaded: which models and versions answer now, and which of those that do not any more are still in use."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from app.core.model import Model
from app.core.traffic import Traffic
from app.errors import Loading, ModelNotFound, Overloaded, StartupError
from app.repository.pipeline import ChainEntry

MEETING_SECONDS = 5.0
"""How long a model that was loaded for somebody stays for them to ask, where another needs its memory."""


class Registry:
    """Loaded models by name and version. `traffic` says which version answers where none is named.

    May be changed by any thread while others read it: what is there is replaced as a whole, so that whoever reads meets
    all of a change or nothing of it. A model that is taken away is closed by whoever took it, when `wait_until_free`
    says that no lease of it is out.
    """

    def __init__(self, default: str | None = None, traffic: Traffic | None = None) -> None:
        self.traffic = traffic or Traffic()
        self._models: Mapping[str, Mapping[str, Model]] = {}
        self._default = default
        self._only: str | None = None
        self._complete = False
        self._failures: Mapping[str, str] = {}
        self._away: frozenset[str] = frozenset()
        self._chains: Mapping[str, ChainEntry] = {}
        self._used: dict[str, float] = {}
        self._lock = threading.RLock()
        self._freed = threading.Condition(self._lock)
        self._leases: Counter[Model] = Counter()
        self._expected: Counter[str] = Counter()

    def add(self, model: Model) -> None:
        """Make a warmed model answer."""
        with self._lock:
            self.replace(model.name, [*self._models.get(model.name, {}).values(), model])

    def replace(self, name: str, models: Sequence[Model]) -> list[Model]:
        """Make these warmed versions, and no others, answer for `name`, in one step; none at all unloads it.

        Returns what does not answer any more.
        """
        versions = {model.version: model for model in models}
        with self._lock:
            gone = [model for model in self._models.get(name, {}).values() if model not in models]
            others = {other: there for other, there in self._models.items() if other != name}
            self._away -= {name}
            self._models = {**others, name: versions} if versions else others
        return gone

    def chain(self, name: str | None, version: str | None = None) -> ChainEntry | None:
        """The chain that is meant, whose models are leased each by itself; None where a model is.

        Raises `ModelNotFound` where it is a chain of another version, and `Loading` as `get` does.
        """
        if not self._chains or (chain := self._chains.get(name or self._find_default() or "")) is None:
            return None
        if not self._complete:
            raise _loading()
        if version not in (None, chain.pipeline.version):
            raise ModelNotFound(f"The chain {chain.name!r} is of version {chain.pipeline.version}, not {version!r}.")
        return chain

    @property
    def chains(self) -> Mapping[str, ChainEntry]:
        """The chains that are served, by name."""
        return self._chains

    def serve_chains(self, chains: Mapping[str, ChainEntry]) -> None:
        """Have these chains, and no others, answer."""
        self._chains = dict(sorted(chains.items()))

    @contextmanager
    def lease(self, name: str | None = None, version: str | None = None, key: str | None = None) -> Iterator[Model]:
        """The model that answers, which is not closed before the `with` block is left; raises what `get` raises, and
        `Overloaded` for a model that has been put away since the caller saw that it was there.
        """
        with self._lock:
            if (away := self.is_away(name)) is not None:
                raise Overloaded(f"The model {away} made room for another just now. Try again.", retry_after=1.0)
            model = self.get(name, version, key)
            self._leases[model] += 1
            self._used[model.name] = time.monotonic()
        try:
            yield model
        finally:
            with self._lock:
                self._leases[model] -= 1
                if not self._leases[model]:
                    del self._leases[model]
                    self._freed.notify_all()

    def expect(self, name: str) -> None:
        """Somebody waits for a model that is away: once loaded, it stays until they lease it and say `met`."""
        with self._lock:
            self._expected[name] += 1

    def met(self, name: str) -> None:
        """Who was expected has asked, or waits no more."""
        with self._lock:
            self._expected[name] -= 1
            if not self._expected[name]:
                del self._expected[name]
                self._freed.notify_all()

    def put_away(self, name: str) -> list[Model]:
        """Have a model of the repository not answer until a request loads it; returns what was loaded of it.

        Who is expected is waited for, `MEETING_SECONDS` at most.
        """
        with self._lock:
            self._freed.wait_for(lambda: name not in self._expected, MEETING_SECONDS)
            gone = self.replace(name, [])
            self._away |= {name}
        return gone

    @property
    def away(self) -> list[str]:
        """Names of models that are not loaded now, and are when a request asks for them, sorted."""
        return sorted(self._away)

    def is_away(self, name: str | None) -> str | None:
        """The name of the model that is meant, where it is not loaded now and a request loads it."""
        if not self._away or not self._complete:
            return None
        meant = name or self._find_default()
        return meant if meant in self._away else None

    def check(self, name: str | None = None, version: str | None = None) -> None:
        """Raises what `get` raises where a request for it would be for nothing; a model that is away is no reason."""
        if self.is_away(name) is None and self.chain(name, version) is None:
            self.get(name, version)

    def least_used(self) -> list[str]:
        """Names of the loaded models, those first that were not asked for longest."""
        return sorted(self._models, key=lambda name: self._used.get(name, 0.0))

    def wait_until_free(self, model: Model) -> None:
        """Return once no lease of a model that does not answer any more is out."""
        with self._lock:
            while model in self._leases:
                self._freed.wait()

    def fail(self, name: str, reason: str) -> None:
        """A model whose present state in the repository cannot be served, and why; an older state may answer."""
        with self._lock:
            self._failures = {**self._failures, name: reason}
            self._away -= {name}  # it is not tried again by every request

    def mend(self, name: str) -> None:
        """What was wrong with a model is so no longer, or the model is gone."""
        with self._lock:
            self._failures = {other: reason for other, reason in self._failures.items() if other != name}

    @property
    def failures(self) -> Mapping[str, str]:
        """Why models, as they are in the repository, are not served, by name. Older states of some may answer."""
        return self._failures

    @property
    def unserved(self) -> list[str]:
        """Names of those of `failures` of which nothing answers, sorted."""
        return sorted(self._failures.keys() - self._models.keys() - self._chains.keys())

    @property
    def stale(self) -> list[str]:
        """Names of those of `failures` that answer from an older state, sorted."""
        return sorted(self._failures.keys() & {*self._models, *self._chains})

    def get(self, name: str | None = None, version: str | None = None, key: str | None = None) -> Model:
        """The model that answers; where no `version` (or stage) is named, of the version that has the `key`. Whoever
        computes with it takes a `lease`.

        Raises `Loading` before `complete` was called, and where none is left; `ModelNotFound` naming what is there,
        also without a name where there is no default and not exactly one model.
        """
        if not self._complete:
            raise _loading()
        if not self.serves and (name or self._find_default()) not in self._failures:
            raise Loading("No model is left at this replica. Ask another, or have an administrator load one.")
        known = name or self.default_name()
        versions = self._models.get(known)
        if versions is None:
            raise self._unknown(name)
        chosen = self.traffic.choose(known, version, key, versions)
        if chosen not in versions:
            stages = "".join(f", {stage} ({of})" for stage, of in sorted(self.traffic.route(known).stages.items()))
            raise ModelNotFound(
                f"Model {known!r} has no version {version!r}. "
                f"Served here: {', '.join(sorted(versions, key=int))}{stages}."
            )
        return versions[chosen]

    @property
    def named_default(self) -> str | None:
        """The model that was named as the default one, if any."""
        return self._default

    def default_name(self) -> str:
        """The model that answers where a request names none: the one named as that, or the only one; where there was
        only one at the start, it stays that whatever is loaded later.
        """
        found = self._find_default()
        if found is None:
            raise ModelNotFound(
                f"Name a model: {', '.join(self.names()) or 'none is served'}. (Or start with ROO_DEFAULT_MODEL set.)"
            )
        return found

    def is_default(self, name: str) -> bool:
        """Whether this model answers where a request names none."""
        return name == self._find_default()

    def complete(self) -> None:
        """Answer from now on, all models being there. Raises `StartupError` where the default one is not."""
        if self._default is not None and self._default not in {*self._models, *self._chains}:
            if self._default in self._failures:
                raise StartupError(f"ROO_DEFAULT_MODEL={self._default}: {self._failures[self._default]}")
            raise StartupError(
                f"ROO_DEFAULT_MODEL={self._default} is not in the model repository, which has: "
                f"{', '.join([*self.names(), *self._chains]) or 'no models'}."
            )
        self._only = self._find_default()
        self._complete = True

    @property
    def is_complete(self) -> bool:
        """Whether all models are there, and requests are answered."""
        return self._complete

    @property
    def serves(self) -> bool:
        """Whether any model is there, or could be loaded by a request: without one, each would fail."""
        return bool(self._models or self._away)

    def names(self) -> list[str]:
        """Names of the loaded models, sorted."""
        return sorted(self._models)

    def versions(self, name: str) -> list[Model]:
        """Loaded versions of one model, oldest first; raises `ModelNotFound`."""
        versions = self._models.get(name)
        if versions is None:
            raise self._unknown(name)
        return [versions[version] for version in sorted(versions, key=int)]

    @property
    def several(self) -> bool:
        """Whether more than one model, or version of one, shares the lanes."""
        models = self._models
        return len(models) + len(self._away) > 1 or any(len(versions) > 1 for versions in models.values())

    def __iter__(self) -> Iterator[Model]:
        models = self._models
        for name in sorted(models):
            yield from (models[name][version] for version in sorted(models[name], key=int))

    def _find_default(self) -> str | None:
        if self._default is not None:
            return self._default
        if self._only in self._models or self._only in self._away:
            return self._only
        known = {*self._models, *self._failures, *self._away}
        return next(iter(known)) if len(known) == 1 else None

    def _unknown(self, name: str | None) -> ModelNotFound:
        if name in self._away:
            return ModelNotFound(f"The model {name!r} is not loaded now; a request for an answer loads it.")
        if name in self._failures:
            return ModelNotFound(f"The model {name!r} could not be loaded; GET /v1/models says why.")
        if name in self._chains:
            return ModelNotFound(f"{name!r} is a chain; it has no versions, shares or tensors of its own.")
        known = sorted({*self._models, *self._away, *self._chains})
        return ModelNotFound(f"There is no model {name!r}. Served here: {', '.join(known) or 'none'}.")


def _loading() -> Loading:
    return Loading("The models are still being loaded. Try again in a moment.")
