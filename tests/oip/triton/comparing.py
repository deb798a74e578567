"""Two servers' answers to one request, field by field."""

from collections.abc import Iterator
from typing import Any

MISSING = "nothing"
_PROBLEM = {"type", "title", "status", "detail", "code", "retryable", "request_id", "instance", "errors"}
"""What a problem of ours says beside `error`."""


def differing(theirs: dict[str, Any], ours: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The fields that differ, and what each server says there. Of errors only that there is a text is compared."""
    left, right = dict(_fields(_plain(theirs))), dict(_fields(_plain(ours)))
    names = [*left, *(name for name in right if name not in left)]
    found = {name: (left.get(name, MISSING), right.get(name, MISSING)) for name in names}
    # NaN is not itself; its text is.
    return {name: pair for name, pair in found.items() if repr(pair[0]) != repr(pair[1])}


def _plain(answer: dict[str, Any]) -> dict[str, Any]:
    plain = {"headers": {}, **answer}
    if plain.get("details"):
        plain["details"] = "a text"
    told = plain.get("json")
    if isinstance(told, dict) and isinstance(told.get("error"), str) and told["error"]:
        # Triton's errors are now application/json, now text/plain.
        plain["json"] = {name: value for name, value in told.items() if name not in _PROBLEM} | {"error": "a text"}
        plain["headers"] = {}
    if "inference-header-content-length" in plain["headers"]:
        plain["headers"] = plain["headers"] | {"inference-header-content-length": "a length"}
    return plain


def _fields(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _fields(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and any(isinstance(inner, dict) for inner in value):
        for place, inner in enumerate(value):
            yield from _fields(inner, f"{path}.{place}")
    else:
        yield path, value
