"""`Accept`: JSON, or the picture with the predictions drawn in."""

from app.errors import NotAcceptable
from app.wire.rendering import DrawnType

JSON = "application/json"
DRAWN: tuple[DrawnType, ...] = ("image/jpeg", "image/png")


def choose(accept: str | None) -> DrawnType | None:
    """The drawn type to answer with, or None for JSON (RFC 9110 section 12.5.1); JSON where anything goes.

    Raises `NotAcceptable` where none that we have will do.
    """
    best, best_quality = "", 0.0
    for part in (accept or "*/*").split(","):
        name, _, parameters = part.partition(";")
        media_type = _ours(name.strip().lower())
        quality = _quality(parameters)
        if media_type is not None and quality > best_quality:
            best, best_quality = media_type, quality
    if not best:
        raise NotAcceptable(f"None of {(accept or '')[:200]!r} can be given; there are {JSON}, {', '.join(DRAWN)}.")
    return next((drawn for drawn in DRAWN if drawn == best), None)


def _ours(name: str) -> str | None:
    if name in ("*/*", "application/*", JSON):
        return JSON
    if name == "image/*":
        return DRAWN[0]
    return name if name in DRAWN else None


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
