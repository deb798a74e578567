"""All models of a repository from disk to warm: one that fails does not stop the others."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from app.core.model import Model
from app.errors import EngineFailure, StartupError
from app.loading import calibration, loader
from app.loading.chains import unfit
from app.loading.serving import Serving
from app.repository import repository
from app.repository.pipeline import ChainEntry
from app.repository.repository import ModelEntry

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Start:
    """What has been loaded, how it is served, and why the others were not, by name. Where `main` can be loaded, it
    decides the lanes; if `strict`, failures are raised when all models have been tried. `known` are the models, and
    `chains` the chains, that have been read.
    """

    serving: Serving
    main: str | None = None
    strict: bool = False
    models: list[Model] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    known: list[ModelEntry] = field(default_factory=list)
    chains: list[ChainEntry] = field(default_factory=list)

    def read(self, root: Path, only: str | None) -> list[ModelEntry]:
        """`repository.survey`; raises what that raises, and `StartupError` where no model is left."""
        found = repository.survey(root, only, self.serving.trust)
        for name, error in found.failures.items():
            self._fail(name, error)
        self.known, self.chains = found.entries, found.chains
        if not found.entries:
            self._check_chains()
        self._refuse_none(found.entries)
        return found.entries

    def read_one(self, root: Path, name: str) -> list[ModelEntry]:
        """One model of the repository or, of a chain, those that it asks; raises as `repository.read_model` does."""
        folder = repository.described_folder(root, name)
        if repository.is_chain(folder):
            self.chains = [repository.read_chain(folder, self.serving.trust)]
            asked = dict.fromkeys(model.name for model in self.chains[0].pipeline.models() if model.name != name)
            self.known = [repository.read_model(root, model, self.serving.trust) for model in asked]
        else:
            self.known = [repository.read_model(root, name, self.serving.trust)]
        return self.known

    def run(self, entries: Sequence[ModelEntry], *, others: bool = False) -> None:
        """Try what is fastest here, load and warm every entry; raises `StartupError` where no model is left, and there
        are no `others` that are loaded later, or, if `strict`, one cannot be served.
        """
        first = sorted(entries, key=lambda entry: entry.name != self.main)
        entries = self._each(first, self._choose_precision)
        entries = self._each(entries, self._calibrate)
        self._each(entries, self._load)
        self._check_chains()
        if not others:
            self._refuse_none(self.models)
        if self.strict and self.failures:
            for model in self.models:
                model.close()
            raise StartupError(
                told(self.failures, "ROO_STRICT_REPOSITORY wants all models, and not all can be served.")
            )

    def _each(self, entries: Sequence[ModelEntry], step: Callable[[ModelEntry], None]) -> list[ModelEntry]:
        """The entries of which the step succeeded."""
        kept = []
        for entry in entries:
            try:
                step(entry)
            except (StartupError, EngineFailure) as error:
                self._fail(entry.name, error)
            else:
                kept.append(entry)
        return kept

    def _check_chains(self) -> None:
        models = {entry.name: entry for entry in self.known if entry.name not in self.failures}
        for name, error in unfit(self.chains, models, self.failures).items():
            self._fail(name, error)

    def _fail(self, name: str, error: StartupError | EngineFailure) -> None:
        self.failures[name] = str(error)
        log.error("the model %s is not served: %s", name, error)

    def _refuse_none(self, left: Sequence[object]) -> None:
        if not left:
            raise StartupError(told(self.failures))

    def _choose_precision(self, entry: ModelEntry) -> None:
        self.serving = loader.with_precision(entry, self.serving)

    def _calibrate(self, entry: ModelEntry) -> None:
        self.serving = calibration.calibrate(entry, self.serving)

    def _load(self, entry: ModelEntry) -> None:
        self.models += loader.load(entry, self.serving)


def told(failures: Mapping[str, str], head: str = "None of the models can be served.") -> str:
    """Why models of a repository are not served."""
    if len(failures) == 1:
        return next(iter(failures.values()))
    return f"{head}\n" + "\n".join(f"{name}: {text}" for name, text in sorted(failures.items()))
