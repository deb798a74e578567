"""`Accept`: JSON, the picture with the predictions drawn in, or both."""

from dataclasses import dataclass
from functools import lru_cache, partial

from app.api.mixed import MEDIA_TYPE as MIXED
from app.errors import NotAcceptable
from app.wire.rendering import DrawnType

JSON = "application/json"
DRAWN: tuple[DrawnType, ...] = ("image/jpeg", "image/png")
_MOST_BYTES = 4096

_EXACT, _SUBTYPES, _ANYTHING = 3, 2, 1


@dataclass(frozen=True, slots=True)
class Reply:
    """What an answer holds: JSON, drawn pictures of a type, or both."""

    json: bool = True
    drawn: DrawnType | None = None


def choose(accept: bytes | None) -> Reply:
    """What to answer with (RFC 9110 section 12.5.1); JSON where anything goes.

    The most specific range that matches a type says how much it is wanted; 0 is not at all. Of what is wanted equally
    the one that is named most exactly is taken, then the first that is named. Pictures beside JSON are of the drawn
    type that is wanted most, JPEG where none is. Raises `NotAcceptable` where none that we have will do.
    """
    return Reply() if accept is None else _choose(accept[:_MOST_BYTES])


@lru_cache(maxsize=64)
def _choose(accept: bytes) -> Reply:
    text = accept.decode("latin-1")
    ranges = [_range(part) for part in text.split(",") if part.strip()]
    if not ranges:
        return Reply()
    wanted = [(_wish(ranges, ours), ours) for ours in (JSON, *DRAWN, MIXED)]
    (quality, _, _), best = max(wanted, key=lambda item: item[0])  # of equals the first: JSON
    if not quality:
        raise NotAcceptable(f"None of {text[:200]!r} can be given; there are {', '.join((JSON, *DRAWN, MIXED))}.")
    if best == JSON:
        return Reply()
    drawn: DrawnType = max(DRAWN, key=partial(_wish, ranges))
    return Reply(json=best == MIXED, drawn=drawn)


def _wish(ranges: list[tuple[str, float]], ours: str) -> tuple[float, int, int]:
    """How much one of our types is wanted, how exactly it is named, and how early."""
    family = ours.partition("/")[0] + "/*"
    for precision, name in ((_EXACT, ours), (_SUBTYPES, family), (_ANYTHING, "*/*")):
        for place, (wanted, quality) in enumerate(ranges):
            if wanted == name:
                return quality, precision, -place
    return 0.0, 0, 0


def _range(part: str) -> tuple[str, float]:
    name, _, parameters = part.partition(";")
    return name.strip().lower(), _quality(parameters)


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return min(1.0, max(0.0, float(value)))
            except ValueError:
                return 0.0
    return 1.0
