"""Which versions answer at the start: what the manifests say, and `ROO_TRAFFIC` instead."""

from collections.abc import Collection, Mapping, Sequence

from app.core.traffic import Traffic
from app.errors import StartupError
from app.repository.repository import ModelEntry


def read(
    entries: Sequence[ModelEntry], fixed: Mapping[str, Mapping[str, float]], failed: Collection[str] = ()
) -> Traffic:
    """The routes of these models, with shares by model and version that are `fixed` by the setting.

    Raises `StartupError` where those are of a version that is not served, of a model that neither is nor has `failed`
    to be, or do not add up.
    """
    traffic = Traffic(fixed)
    for entry in entries:
        traffic.configure(entry.name, entry.manifest.route)
        try:
            traffic.route(entry.name).check(entry.versions)
        except ValueError as error:
            raise StartupError(f"ROO_TRAFFIC: {entry.name}: {error}.") from None
    if unknown := fixed.keys() - {entry.name for entry in entries} - set(failed):
        known = ", ".join(entry.name for entry in entries)
        raise StartupError(f"ROO_TRAFFIC names {min(unknown)!r}, which is not served. Served are: {known}.")
    return traffic
