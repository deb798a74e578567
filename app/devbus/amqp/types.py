"""AMQP types that Python's own do not tell apart (AMQP 1.0, part 1, section 1.6).

What Python has stands for itself: None, bool, str, bytes, float (double), UUID, list, dict, and int for long. The
rest are subclasses, so that a value that was read is written with the type it came with.
"""

from dataclasses import dataclass
from typing import Any


class Symbol(str):
    """A name from a constrained domain (1.6.21)."""

    __slots__ = ()


class Ubyte(int):
    """An unsigned 8-bit integer (1.6.3)."""


class Ushort(int):
    """An unsigned 16-bit integer (1.6.4)."""


class Uint(int):
    """An unsigned 32-bit integer (1.6.5)."""


class Ulong(int):
    """An unsigned 64-bit integer (1.6.6)."""


class Byte(int):
    """A signed 8-bit integer (1.6.7)."""


class Short(int):
    """A signed 16-bit integer (1.6.8)."""


class Int(int):
    """A signed 32-bit integer (1.6.9)."""


class Timestamp(int):
    """Milliseconds since 1970 in UTC (1.6.17)."""


class Array(list[Any]):
    """Values of one type (1.6.24)."""


@dataclass(frozen=True, slots=True)
class Described:
    """A value with a descriptor that says what it means (1.2)."""

    descriptor: Any
    value: Any


@dataclass(frozen=True, slots=True)
class Opaque:
    """A value of a type that is only passed on (float, char, decimals): its constructor and its octets."""

    code: int
    octets: bytes
