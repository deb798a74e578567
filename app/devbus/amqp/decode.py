"""Octets to values (AMQP 1.0, part 1, sections 1.2 and 1.6)."""

import struct
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from app.devbus.amqp.errors import DECODE_ERROR, AmqpError
from app.devbus.amqp.types import (
    Array,
    Byte,
    Described,
    Int,
    Opaque,
    Short,
    Symbol,
    Timestamp,
    Ubyte,
    Uint,
    Ulong,
    Ushort,
)

Octets = bytes | memoryview
Decoder = Callable[[Octets, int], tuple[Any, int]]
T = TypeVar("T")

MAX_DEPTH = 64
"""Nesting beyond which a value is refused, so that a crafted frame cannot exhaust the stack."""

_WIDTHS = {0x40: 0, 0x50: 1, 0x60: 2, 0x70: 4, 0x80: 8, 0x90: 16}
_read_u32 = struct.Struct(">I").unpack_from


def decode(data: Octets, at: int = 0) -> tuple[Any, int]:
    """The value that begins at `at`, and where the next one begins; raises `AmqpError` (decode-error)."""
    try:
        return _value(data, at, 0)
    except (IndexError, struct.error, ValueError, TypeError) as error:
        raise AmqpError(DECODE_ERROR, f"a value is cut short or broken: {error}") from None


def skip(data: Octets, at: int) -> int:
    """Where the value at `at` ends; the upper half of a constructor says how wide it is (1.2)."""
    code = data[at]
    if code == 0:
        return skip(data, skip(data, at + 1))
    width = _WIDTHS.get(code & 0xF0)
    if width is None:
        width = 1 + data[at + 1] if code & 0x10 == 0 else 4 + int(_read_u32(data, at + 1)[0])
    return at + 1 + width


def _value(data: Octets, at: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH:
        raise AmqpError(DECODE_ERROR, f"a value is nested more than {MAX_DEPTH} deep")
    code = data[at]
    decoder = _SIMPLE.get(code)
    if decoder is not None:
        return decoder(data, at + 1)
    return _compound(code, data, at + 1, depth + 1)


def _compound(code: int, data: Octets, at: int, depth: int) -> tuple[Any, int]:
    match code:
        case 0x00:
            descriptor, at = _value(data, at, depth)
            value, at = _value(data, at, depth)
            return Described(descriptor, value), at
        case 0xC0 | 0xD0:
            return _list(data, *_count(code, data, at), depth)
        case 0xC1 | 0xD1:
            values, at = _list(data, *_count(code, data, at), depth)
            return dict(zip(values[::2], values[1::2], strict=True)), at
        case 0xE0 | 0xF0:
            return _array(data, *_count(code, data, at), depth)
    raise AmqpError(DECODE_ERROR, f"unknown constructor {code:#04x}")


def _count(code: int, data: Octets, at: int) -> tuple[int, int]:
    """How many values follow and where: after a size and a count of one octet or four each."""
    count, start = (int(_read_u32(data, at + 4)[0]), at + 8) if code & 0x10 else (data[at + 1], at + 2)
    if count > len(data):
        raise AmqpError(DECODE_ERROR, f"{count} values cannot be in {len(data)} octets")
    return count, start


def _list(data: Octets, count: int, at: int, depth: int) -> tuple[list[Any], int]:
    values = []
    for _ in range(count):
        value, at = _value(data, at, depth)
        values.append(value)
    return values, at


def _array(data: Octets, count: int, at: int, depth: int) -> tuple[Array, int]:
    code = data[at]
    if code == 0:
        raise AmqpError(DECODE_ERROR, "arrays of described values are not supported")
    values = Array()
    at += 1
    for _ in range(count):
        decoder = _SIMPLE.get(code)
        value, at = decoder(data, at) if decoder else _compound(code, data, at, depth + 1)
        values.append(value)
    return values, at


def _constant(value: Any) -> Decoder:
    return lambda _, at: (value, at)


def _number(form: str, kind: Callable[[Any], Any]) -> Decoder:
    layout = struct.Struct(form)
    unpack, size = layout.unpack_from, layout.size
    return lambda data, at: (kind(unpack(data, at)[0]), at + size)


def _same(value: T) -> T:
    return value


def _octets(size: int, kind: Callable[[bytes], Any]) -> Decoder:
    return lambda data, at: (kind(_cut(data, at, size)), at + size)


def _short(kind: Callable[[bytes], Any]) -> Decoder:
    def decoder(data: Octets, at: int) -> tuple[Any, int]:
        size = data[at]
        return kind(_cut(data, at + 1, size)), at + 1 + size

    return decoder


def _wide(kind: Callable[[bytes], Any]) -> Decoder:
    def decoder(data: Octets, at: int) -> tuple[Any, int]:
        size = _read_u32(data, at)[0]
        return kind(_cut(data, at + 4, size)), at + 4 + size

    return decoder


def _cut(data: Octets, at: int, size: int) -> bytes:
    if at + size > len(data):
        raise IndexError(f"{size} octets wanted, {len(data) - at} left")
    return bytes(data[at : at + size])


def _string(value: bytes) -> str:
    return value.decode()


def _symbol(value: bytes) -> Symbol:
    return Symbol(value.decode("ascii"))


def _opaque(code: int, size: int) -> Decoder:
    return _octets(size, lambda value: Opaque(code, value))


_SIMPLE: dict[int, Decoder] = {
    0x40: _constant(None),
    0x41: _constant(True),
    0x42: _constant(False),
    0x43: _constant(Uint(0)),
    0x44: _constant(Ulong(0)),
    0x45: lambda _, at: ([], at),
    0x50: _number(">B", Ubyte),
    0x51: _number(">b", Byte),
    0x52: _number(">B", Uint),
    0x53: _number(">B", Ulong),
    0x54: _number(">b", Int),
    0x55: _number(">b", _same),
    0x56: _number(">?", _same),
    0x60: _number(">H", Ushort),
    0x61: _number(">h", Short),
    0x70: _number(">I", Uint),
    0x71: _number(">i", Int),
    0x72: _opaque(0x72, 4),
    0x73: _opaque(0x73, 4),
    0x74: _opaque(0x74, 4),
    0x80: _number(">Q", Ulong),
    0x81: _number(">q", _same),
    0x82: _number(">d", _same),
    0x83: _number(">q", Timestamp),
    0x84: _opaque(0x84, 8),
    0x94: _opaque(0x94, 16),
    0x98: _octets(16, lambda value: UUID(bytes=value)),
    0xA0: _short(_same),
    0xA1: _short(_string),
    0xA3: _short(_symbol),
    0xB0: _wide(_same),
    0xB1: _wide(_string),
    0xB3: _wide(_symbol),
}
