"""What is wrong with a message's fields, in words for whoever sent it: the validator's own are for programmers."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

_MUST_BE = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of few digits",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a text",
    "string_unicode": "a text in Unicode",
    "model_type": "a JSON object",
    "dict_type": "a JSON object",
}
_MOST_FIELDS = 8
_MOST_NAME = 60


def explain(error: ValidationError, known: Iterable[str]) -> str:
    """Each wrong field and what it must be, without its value; `known` are the names that there are."""
    names = tuple(known)
    items = error.errors(include_url=False, include_input=False)
    said = "; ".join(_words(item, names) for item in items[:_MOST_FIELDS])
    return said if len(items) <= _MOST_FIELDS else f"{said}; and {len(items) - _MOST_FIELDS} more"


def _words(item: Mapping[str, Any], known: tuple[str, ...]) -> str:
    name = ".".join(str(part) for part in item["loc"])
    kind = item["type"]
    if kind == "extra_forbidden":
        return f"{name[:_MOST_NAME]} is no field of it{_likely(name, known)}"
    if kind == "missing":
        return f"{name} is missing"
    if kind == "value_error":
        return str(item["msg"]).removeprefix("Value error, ")
    demand = _demand(kind, item.get("ctx", {}))
    return f"{name} {demand}" if demand else f"{name}: {item['msg']}"


def _likely(name: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(name[:_MOST_NAME].lower(), known, 1)
    return f" (is {near[0]} meant?)" if near else ""


def _demand(kind: str, context: Mapping[str, Any]) -> str:
    if kind in _MUST_BE:
        return f"must be {_MUST_BE[kind]}"
    match kind:
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}"
        case "less_than_equal":
            return f"must be at most {context['le']:g}"
        case "literal_error":
            return f"must be {context['expected']}"
        case "string_too_long":
            return f"has more than {context['max_length']} characters"
        case "string_pattern_mismatch":
            return "has control characters, which are not taken"
    return ""
