"""What several settings are written like."""

from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode


def _split(value: object) -> object:
    if not isinstance(value, str) or not value.strip():
        return value or ()
    names = tuple(part.strip() for part in value.split(","))
    if "" in names:  # of `$A,$B` one was not set: what is meant is more than what is left
        raise ValueError("a name between the commas is empty")
    return names


def _pairs(value: object) -> object:
    """`VALUE`, for all, or `NAME=VALUE` with commas between; for all is the name ""."""
    if isinstance(value, dict):
        return value
    pairs: dict[str, str] = {}
    for part in str(value).split(","):
        name, _, said = (piece.strip() for piece in part.rpartition("="))
        if name in pairs:
            raise ValueError(f"{name or 'all'!r} is said twice")
        if said or name:
            pairs[name] = said
    if "" in pairs and len(pairs) > 1:
        raise ValueError("give one value for all, or NAME=VALUE for each, with commas between")
    return pairs


def _shares_of_versions(value: object) -> object:
    """`MODEL=VERSION:PERCENT,…` for each, with semicolons between."""
    if not isinstance(value, str):
        return value
    found: dict[str, dict[str, str]] = {}
    for part in filter(None, map(str.strip, value.split(";"))):
        name, _, said = (piece.strip() for piece in part.partition("="))
        pieces = [piece.partition(":") for piece in said.split(",")]
        shares = {version.strip(): percent.strip() for version, _, percent in pieces}
        if not name or name in found or len(shares) < len(pieces) or not all(shares.values()):
            raise ValueError("give MODEL=VERSION:PERCENT,VERSION:PERCENT, each once, with semicolons between models")
        found[name] = shares
    return found


Port = Annotated[
    Annotated[int, Field(ge=0, le=65535)] | None, BeforeValidator(lambda value: None if value == "" else value)
]
"""A port, 0 for a free one; empty for none."""

Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Several names in one variable, with commas between."""

Texts = Annotated[dict[str, str], NoDecode, BeforeValidator(_pairs)]
"""A text for all, or `NAME=TEXT` for each."""

Shares = Annotated[dict[str, Annotated[float, Field(gt=0, lt=1)]], NoDecode, BeforeValidator(_pairs)]
"""A share between 0 and 1 for all, or `NAME=SHARE` for each."""

VersionShares = Annotated[dict[str, dict[str, float]], NoDecode, BeforeValidator(_shares_of_versions)]
"""`MODEL=VERSION:PERCENT,VERSION:PERCENT` for each model, with semicolons between."""

Counts = Annotated[dict[str, Annotated[int, Field(ge=1, le=1024)]], NoDecode, BeforeValidator(_pairs)]
"""A count for all, or `NAME=COUNT` for each."""
