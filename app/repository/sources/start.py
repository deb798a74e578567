"""Models at the start of the service: pulled into a cache, which serves where the place does not answer."""

import hashlib
import logging
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import StartupError
from app.repository import repository
from app.repository.sources import aside
from app.repository.sources.addresses import open_source
from app.repository.sources.base import Source
from app.repository.sources.pulling import Pull, Pulled, pull
from app.repository.sources.report import LogReport
from app.settings import Settings

if TYPE_CHECKING:
    from app.repository.signatures import Trust

log = logging.getLogger(__name__)

_COMPLETE = "complete"
"""In the hidden folder: all models of the place have been in this cache."""


@dataclass(frozen=True, slots=True)
class Brought:
    """The repository to serve, how it came about in words for the readiness probe, and by name why a model is missing
    from it.
    """

    folder: Path
    told: str
    failures: Mapping[str, str] = field(default_factory=dict)


def bring(settings: Settings, trust: "Trust | None") -> Brought | None:
    """Pull the models of `ROO_MODELS_SOURCE` into the cache; None where that is not set.

    Where the place does not answer, or does not give them, the cache of an earlier start is served. Raises
    `StartupError` where there is none, or where the setting is no address.
    """
    if settings.models_source is None:
        return None
    with closing(open_source(settings.models_source.get_secret_value())) as source:
        cache = _folder(settings, source)
        wanted = Pull(replace=True, mirror=True, most_bytes=settings.models_bytes, trust=trust)
        try:
            done = pull(source, cache, wanted, LogReport())
        except StartupError as error:
            if not (cache / aside.NAME / _COMPLETE).is_file():
                raise
            log.warning("models: those of an earlier start are served, as they cannot be pulled: %s", error)
            return Brought(cache, f"NOT reached, models of an earlier start are served: {error}")
        return _judged(source, cache, done, settings.strict_repository)


def _judged(source: Source, cache: Path, done: Pulled, strict: bool) -> Brought:
    """What a pull that went through to its end has left."""
    missing = {name: error for name, error in done.failures.items() if not repository.is_described(cache / name)}
    for name, error in done.failures.items():
        if strict and name in missing:
            raise error
        log.error("models: %s is %s: %s", name, "missing" if name in missing else "as at an earlier start", error)
    if len(missing) == len(done.failures) + len(done.changed) + len(done.unchanged):
        raise StartupError(
            "None of the models could be pulled.\n" + "\n".join(f"{name}: {error}" for name, error in missing.items())
        )
    if not done.failures:
        (cache / aside.NAME / _COMPLETE).touch()
    kept = sorted(done.failures.keys() - missing.keys())
    told = f"{source.address}, pulled at the start"
    told += f"; as at an earlier start: {', '.join(kept)} (the log says why)" if kept else ""
    return Brought(cache, told, {name: str(error) for name, error in missing.items()})


def _folder(settings: Settings, source: Source) -> Path:
    """The cache of this place; those of others lie beside it."""
    root = settings.models_cache
    if root is None:
        try:
            root = Path.home() / ".cache" / "roo-vision" / "models"
        except RuntimeError:
            raise StartupError("There is no home folder for pulled models: set ROO_MODELS_CACHE to a folder.") from None
    return root / hashlib.sha256(source.address.encode()).hexdigest()[:16]
