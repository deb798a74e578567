"""What becomes of a model when its folder is read again: which versions stay, which are opened, how they are served."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from app.core.model import Model
from app.errors import InvalidManifest
from app.host.priority import behind_others
from app.loading import loader
from app.loading.serving import BatchLimit, Serving
from app.repository import stamps
from app.repository.repository import ModelEntry

UNMEASURED = "not measured: others were served when it was loaded"


@dataclass(frozen=True, slots=True)
class Opened:
    """The versions of a model that are to answer, and how models are served from now on."""

    models: list[Model]
    serving: Serving


def changed(entry: ModelEntry, known: ModelEntry | None, loaded: Sequence[Model]) -> list[str]:
    """The versions of `entry` that must be opened, given what was `known` of the model when `loaded` was."""
    answering = {model.version for model in loaded}
    if known is None or not entry.like(known):
        return list(entry.versions)
    return [
        version
        for version in entry.versions
        if version not in answering or entry.stamps[version] != known.stamps.get(version)
    ]


def opened(entry: ModelEntry, versions: Sequence[str], loaded: Sequence[Model], serving: Serving) -> Opened:
    """Open, check and warm these versions beside all that answers; the others are taken over as they are.

    Raises what `loader.load` raises, and `InvalidManifest` where the files changed meanwhile.
    """
    fresh = entry.only(versions)
    chosen = {key: choice for key, choice in serving.precisions.items() if key not in _keys(fresh)}
    serving = with_known_limits(fresh, replace(serving, precisions=chosen))

    def load() -> Opened:
        settled = loader.with_precision(fresh, serving)
        return Opened(loader.load(fresh, settled), settled)

    # What an engine starts threads for would be behind others for ever, and so would its answers.
    found = behind_others(load) if loader.computes_in_its_caller(fresh, serving) else load()
    for version, path in fresh.versions.items():
        if stamps.of_version(path.parent) != entry.stamps[version]:
            for model in found.models:
                model.close()
            raise InvalidManifest(f"The files of {entry.name} version {version} changed while they were loaded.")
    kept = [model for model in loaded if model.version in entry.versions and model.version not in versions]
    return Opened([*kept, *found.models], found.serving)


def with_known_limits(entry: ModelEntry, serving: Serving) -> Serving:
    """`serving` with the largest batches of an entry's versions, which are not tried: others need the lanes.

    A version gets what was measured for the one before it. A model of which nothing was measured is computed picture by
    picture on a CPU, where no more than that is known to be good, unless its manifest has a figure for CPUs.
    """
    if not serving.calibrate or serving.device.kind != "cpu":
        return serving
    batches = dict(serving.batches)
    measured = {version: limit for (name, version), limit in batches.items() if name == entry.name}
    for version in entry.versions:
        if version in measured:
            continue
        if measured:
            batches[entry.name, version] = measured[max(measured, key=int)]
        elif entry.manifest.batching.max_size_cpu is None and entry.manifest.batching.max_size > 1:
            batches[entry.name, version] = BatchLimit(1, UNMEASURED)
    return replace(serving, batches=batches)


def _keys(entry: ModelEntry) -> set[tuple[str, str]]:
    return {(entry.name, version) for version in entry.versions}
