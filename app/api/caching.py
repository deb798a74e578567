"""What a request says about answers from before (`Cache-Control`, RFC 9111), and how one is told that it got some."""

from collections.abc import Iterable, Sequence

from app.core.request import Caching


def read(headers: Iterable[tuple[bytes, bytes]], caller: str) -> Caching:
    """What `no-cache`, `no-store` and `max-age` of a request allow; other directives ask for nothing here."""
    said = b",".join(value for name, value in headers if name == b"cache-control")
    if not said:
        return Caching(caller)
    directives = dict(_directive(part) for part in said.decode("latin-1").lower().split(","))
    fresh = "no-cache" in directives or "no-store" in directives
    max_age = 0.0 if fresh else _seconds(directives.get("max-age"))
    return Caching(caller, max_age, store="no-store" not in directives)


def told(ages: Sequence[float | None]) -> dict[str, str]:
    """The header fields of an answer whose pictures' answers are so many seconds old; None is computed now.

    `Cache-Status` is RFC 9211's; `Age` is the oldest one's, where all of them were kept.
    """
    old = [age for age in ages if age is not None]
    if ages and len(old) == len(ages):
        return {"Age": str(int(max(old))), "Cache-Status": "roo-vision; hit"}
    detail = f'; detail="{len(old)} of {len(ages)} kept"' if old else ""
    return {"Cache-Status": f"roo-vision; fwd=miss{detail}"}


def _directive(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip(), value.strip().strip('"')


def _seconds(value: str | None) -> float:
    """A number of seconds; what is none asks for nothing that is kept, which is always right."""
    if value is None:
        return float("inf")
    return float(value) if value.isascii() and value.isdigit() else 0.0
