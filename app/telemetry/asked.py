"""Which model and version a request was answered by, for its line and its span: the front tells of the request, and
only the core knows who answered.
"""

from contextvars import ContextVar

SEVERAL = "several"

_asked: ContextVar[dict[str, str] | None] = ContextVar("asked", default=None)


def begin() -> dict[str, str]:
    """For one request: `model` and `version` are in it as soon as the core has chosen them, in whatever task."""
    found: dict[str, str] = {}
    _asked.set(found)
    return found


def note(model: str, version: str) -> None:
    """The version that is asked; what asks several of them, as a stream may, is told so."""
    found = _asked.get()
    if found is not None:
        for name, value in (("model", model), ("version", version)):
            found[name] = value if found.get(name, value) == value else SEVERAL
