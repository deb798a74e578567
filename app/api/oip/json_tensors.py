"""Tensors in JSON: elements flat or nested, each of the kind that the datatype says; nothing is converted silently."""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np

from app.api.oip.schemas import RequestInput
from app.engines.base import Array
from app.errors import InvalidRequest
from app.oip.call import OutputTensor
from app.oip.datatypes import BYTES, NUMPY, count_of, elements_of, objects

MOST_WRITTEN = 200_000
"""Numbers that are written as JSON: as many as are read."""

MOST_EXACT = 2**53 - 1
"""Up to here a fraction of 64 bits stands for one whole number alone."""

_KINDS: dict[str, tuple[set[type], str]] = {
    "b": ({bool}, "true or false"),
    "u": ({int}, "whole numbers"),
    "i": ({int}, "whole numbers"),
    "f": ({int, float}, "numbers"),
}


def from_json_data(sent: RequestInput, data: list[Any]) -> Array:
    """The tensor in `data`; of BYTES an array of `bytes`, from text.

    Raises `InvalidRequest` where the elements are not as many, not nested, or not of the kind that shape and datatype
    say.
    """
    flat = _flat(sent.name, data, sent.shape)
    return _bytes(sent, flat) if sent.datatype == BYTES else _numbers(sent, flat)


def to_json_data(output: OutputTensor) -> list[Any]:
    """The tensor's elements, flat. Raises `InvalidRequest` for what JSON cannot hold, or should not."""
    elements = elements_of(output.rows)
    cure = f"Ask for the output {output.name} with binary_data: true."
    if len(elements) > MOST_WRITTEN:
        raise InvalidRequest(f"More than {MOST_WRITTEN} values are not written as JSON. {cure}")
    if output.datatype.startswith("FP") and not all(np.isfinite(row).all() for row in output.rows):
        raise InvalidRequest(f"The output holds numbers that are not finite, for which JSON has no words. {cure}")
    if output.datatype == BYTES:
        return [element.decode("utf-8") if isinstance(element, bytes) else str(element) for element in elements]
    return elements


def _flat(name: str, data: list[Any], shape: Sequence[int]) -> list[Any]:
    count = count_of(shape, name)
    level: list[Any] = data
    if data and isinstance(data[0], list):
        expected = 1
        for depth, size in enumerate(shape):
            expected *= size
            if len(level) != expected:
                raise InvalidRequest(f"The data of {name} is not nested as its shape {list(shape)} says.")
            if depth == len(shape) - 1:
                break
            if not all(isinstance(inner, list) and len(inner) == shape[depth + 1] for inner in level):
                raise InvalidRequest(f"The data of {name} is not nested as its shape {list(shape)} says.")
            level = list(chain.from_iterable(level))
    if len(level) != count:
        raise InvalidRequest(f"The tensor {name} of shape {list(shape)} has {count} elements; {len(level)} were sent.")
    return level


def _numbers(sent: RequestInput, flat: list[Any]) -> Array:
    dtype = NUMPY.get(sent.datatype)
    if dtype is None:
        raise InvalidRequest(f"{sent.datatype} is not taken as JSON.")
    kinds, words = _KINDS[dtype.kind]
    if not set(map(type, flat)) <= kinds:
        flat = _meant(flat, as_flags=dtype.kind == "b")
    if not set(map(type, flat)) <= kinds:
        raise InvalidRequest(f"The data of {sent.name}, which is {sent.datatype}, holds other things than {words}.")
    try:
        with np.errstate(over="raise"):
            return np.array(flat, dtype).reshape(sent.shape)
    except (OverflowError, FloatingPointError):
        raise InvalidRequest(f"The data of {sent.name} holds numbers that {sent.datatype} cannot hold.") from None


def _meant(flat: list[Any], *, as_flags: bool) -> list[Any]:
    """Whole numbers that are written as 1.0, as flags 1 and 0: the client that is made of the protocol's own OpenAPI
    document (open-inference-openapi) knows no others.
    """
    whole = [
        int(each) if type(each) is float and abs(each) <= MOST_EXACT and each.is_integer() else each for each in flat
    ]
    return [bool(each) if type(each) is int and each in (0, 1) else each for each in whole] if as_flags else whole


def _bytes(sent: RequestInput, flat: list[Any]) -> Array:
    if not set(map(type, flat)) <= {str}:
        raise InvalidRequest(f"The data of {sent.name}, which is BYTES, holds other things than strings.")
    return objects([text.encode() for text in flat], sent.shape)
