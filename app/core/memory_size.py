"""How much memory an answer holds."""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

NUMBER_BYTES = 32
"""Of a Python number that counts or measures something in a picture: most are less."""


def held_bytes(found: object) -> int:
    """Bytes of an object and of all that it leads to: containers, dataclasses, arrays.

    A view counts as the whole array that it keeps alive, and what is told of by several is counted once. Numbers in a
    list are not looked at one by one, for a mask's run lengths alone may be thousands: each counts as the largest.
    """
    seen: dict[int, object] = {}
    waiting, total = [found], 0
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, type):
            continue
        seen[id(item)] = item  # held until the end, or another object could get its id
        if isinstance(item, list) and _of_numbers(item):
            total += sys.getsizeof(item) + len(item) * NUMBER_BYTES
            continue
        total += _own_bytes(item)
        waiting.extend(_parts(item))
    return total


def _own_bytes(item: object) -> int:
    if isinstance(item, np.ndarray) and _base(item) is not None and not isinstance(_base(item), np.ndarray):
        return sys.getsizeof(item) + item.nbytes  # its memory is somebody's who does not say how much he has
    return sys.getsizeof(item)


def _of_numbers(item: list[Any]) -> bool:
    return bool(item) and set(map(type, item)) <= {int, float}


def _base(array: np.ndarray[Any, Any]) -> object:
    """Whose memory it is, where it is not its own; NumPy's types say that this is always an array."""
    return array.base


def _parts(item: object) -> Iterator[Any]:
    if isinstance(item, np.ndarray):
        if isinstance(_base(item), np.ndarray):
            yield _base(item)
    elif isinstance(item, Mapping):
        yield from item.keys()
        yield from item.values()
    elif isinstance(item, tuple | list | set | frozenset):
        yield from item
    elif is_dataclass(item):
        yield from (getattr(item, field.name) for field in fields(item))
    elif hasattr(item, "__dict__"):
        yield vars(item)
