"""What is loaded: which models and versions answer now."""

from collections.abc import Iterator

from app.core.model import Model
from app.errors import ModelNotFound, StartupError


class Registry:
    """Loaded models by name and version. The newest loaded version answers where none is named."""

    def __init__(self, default: str | None = None) -> None:
        self._models: dict[str, dict[str, Model]] = {}
        self._default = default

    def add(self, model: Model) -> None:
        """Make a warmed model answer."""
        self._models.setdefault(model.name, {})[model.version] = model

    def get(self, name: str | None = None, version: str | None = None) -> Model:
        """The model that answers.

        Raises `ModelNotFound` naming what is there; without a name, where there is no default and not exactly one
        model.
        """
        versions = self._models.get(name or self.default_name())
        if versions is None:
            raise ModelNotFound(f"There is no model {name!r}. Served here: {', '.join(self.names()) or 'none'}.")
        if version is None:
            return versions[max(versions, key=int)]
        if version not in versions:
            raise ModelNotFound(
                f"Model {name!r} has no version {version!r}. Served here: {', '.join(sorted(versions, key=int))}."
            )
        return versions[version]

    def default_name(self) -> str:
        """The model that answers where a request names none."""
        if self._default is not None:
            return self._default
        if len(self._models) != 1:
            raise ModelNotFound(
                f"Name a model: {', '.join(self.names()) or 'none is served'}. (Or start with ROO_DEFAULT_MODEL set.)"
            )
        return next(iter(self._models))

    def is_default(self, name: str) -> bool:
        """Whether this model answers where a request names none."""
        return name == self._default or (self._default is None and self.names() == [name])

    def check_default(self) -> None:
        """Raise `StartupError` where the default model is not loaded."""
        if self._default is not None and self._default not in self._models:
            raise StartupError(
                f"ROO_DEFAULT_MODEL={self._default} is not in the model repository, which has: "
                f"{', '.join(self.names()) or 'no models'}."
            )

    def names(self) -> list[str]:
        """Names of the loaded models, sorted."""
        return sorted(self._models)

    def versions(self, name: str) -> list[Model]:
        """Loaded versions of one model, oldest first; raises `ModelNotFound`."""
        self.get(name)
        return [self._models[name][version] for version in sorted(self._models[name], key=int)]

    def __iter__(self) -> Iterator[Model]:
        for name in self.names():
            yield from self.versions(name)

    def close(self) -> None:
        """Free every engine."""
        for model in self:
            model.close()
        self._models.clear()
