"""What is loaded: which models and versions answer now."""

from collections.abc import Iterator

from app.core.model import Model
from app.core.traffic import Traffic
from app.errors import Loading, ModelNotFound, StartupError


class Registry:
    """Loaded models by name and version. `traffic` says which version answers where none is named."""

    def __init__(self, default: str | None = None, traffic: Traffic | None = None) -> None:
        self.traffic = traffic or Traffic()
        self._models: dict[str, dict[str, Model]] = {}
        self._default = default
        self._complete = False
        self._failures: dict[str, str] = {}

    def add(self, model: Model) -> None:
        """Make a warmed model answer."""
        self._models.setdefault(model.name, {})[model.version] = model

    def fail(self, name: str, reason: str) -> None:
        """A model that is in the repository and cannot be served, and why."""
        self._failures[name] = reason

    @property
    def failures(self) -> dict[str, str]:
        """Why models of the repository are not served, by name."""
        return self._failures

    def get(self, name: str | None = None, version: str | None = None, key: str | None = None) -> Model:
        """The model that answers; where no `version` (or stage) is named, of the version that has the `key`.

        Raises `Loading` before `complete` was called; `ModelNotFound` naming what is there, also without a name where
        there is no default and not exactly one model.
        """
        if not self._complete:
            raise Loading("The models are still being loaded. Try again in a moment.")
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

    def default_name(self) -> str:
        """The model that answers where a request names none."""
        if self._default is not None:
            return self._default
        if len(self._models) + len(self._failures) != 1:
            raise ModelNotFound(
                f"Name a model: {', '.join(self.names()) or 'none is served'}. (Or start with ROO_DEFAULT_MODEL set.)"
            )
        return next(iter(self._models))

    def is_default(self, name: str) -> bool:
        """Whether this model answers where a request names none."""
        return name == self._default or (self._default is None and [*self.names(), *self._failures] == [name])

    def complete(self) -> None:
        """Answer from now on, all models being there. Raises `StartupError` where the default one is not."""
        if self._default in self._failures:
            raise StartupError(f"ROO_DEFAULT_MODEL={self._default}: {self._failures[self._default]}")
        if self._default is not None and self._default not in self._models:
            raise StartupError(
                f"ROO_DEFAULT_MODEL={self._default} is not in the model repository, which has: "
                f"{', '.join(self.names()) or 'no models'}."
            )
        self._complete = True

    def names(self) -> list[str]:
        """Names of the loaded models, sorted."""
        return sorted(self._models)

    def versions(self, name: str) -> list[Model]:
        """Loaded versions of one model, oldest first; raises `ModelNotFound`."""
        if name not in self._models:
            raise self._unknown(name)
        return [self._models[name][version] for version in sorted(self._models[name], key=int)]

    @property
    def several(self) -> bool:
        """Whether more than one model, or version of one, shares the lanes."""
        return len(self._models) > 1 or any(len(versions) > 1 for versions in self._models.values())

    def __iter__(self) -> Iterator[Model]:
        for name in self.names():
            yield from self.versions(name)

    def _unknown(self, name: str | None) -> ModelNotFound:
        if name in self._failures:
            return ModelNotFound(f"The model {name!r} could not be loaded; GET /v1/models says why.")
        return ModelNotFound(f"There is no model {name!r}. Served here: {', '.join(self.names()) or 'none'}.")
