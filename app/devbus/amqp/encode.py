"""Values to octets (AMQP 1.0, part 1, section 1.6).

Every encoder takes the buffer to extend and a value; the compact encodings are used for the values that are common
in performatives, the wide ones elsewhere.
"""

import struct
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

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

Encoder = Callable[[bytearray, Any], None]

_UINT = struct.Struct(">BI")
_ULONG = struct.Struct(">BQ")
_INT = struct.Struct(">Bi")
_LONG = struct.Struct(">Bq")
_DOUBLE = struct.Struct(">Bd")
_USHORT = struct.Struct(">BH")
_SHORT = struct.Struct(">Bh")
_SIZE_COUNT = struct.Struct(">BII")
_SIZE = struct.Struct(">BI")


def encoded(value: Any) -> bytes:
    """One value's octets."""
    out = bytearray()
    encode(out, value)
    return bytes(out)


def encode(out: bytearray, value: Any) -> None:
    """Append `value`, its AMQP type chosen by its Python type (see `types`); raises `TypeError` for any other."""
    try:
        encoder = _ENCODERS[type(value)]
    except KeyError:
        raise TypeError(f"{type(value).__name__} has no AMQP encoding") from None
    encoder(out, value)


def null(out: bytearray, _: object) -> None:
    """1.6.1"""
    out.append(0x40)


def boolean(out: bytearray, value: bool) -> None:
    """1.6.2"""
    out.append(0x41 if value else 0x42)


def ubyte(out: bytearray, value: int) -> None:
    """1.6.3"""
    out += bytes((0x50, value))


def ushort(out: bytearray, value: int) -> None:
    """1.6.4"""
    out += _USHORT.pack(0x60, value)


def uint(out: bytearray, value: int) -> None:
    """1.6.5"""
    if value == 0:
        out.append(0x43)
    elif value < 256:
        out += bytes((0x52, value))
    else:
        out += _UINT.pack(0x70, value)


def ulong(out: bytearray, value: int) -> None:
    """1.6.6"""
    if value == 0:
        out.append(0x44)
    elif value < 256:
        out += bytes((0x53, value))
    else:
        out += _ULONG.pack(0x80, value)


def binary(out: bytearray, value: bytes | bytearray | memoryview) -> None:
    """1.6.19"""
    _variable(out, 0xA0, value)


def string(out: bytearray, value: str) -> None:
    """1.6.20"""
    _variable(out, 0xA1, value.encode())


def symbol(out: bytearray, value: str) -> None:
    """1.6.21"""
    _variable(out, 0xA3, value.encode("ascii"))


def listed(out: bytearray, values: Iterable[Any]) -> None:
    """1.6.22, of values of any type."""
    body = bytearray()
    count = 0
    for count, value in enumerate(values, 1):  # noqa: B007
        encode(body, value)
    compound(out, 0xC0, count, body)


def compound(out: bytearray, code: int, count: int, body: bytearray) -> None:
    """A list (`code` 0xC0) or map (0xC1) of `count` encoded values; the 32-bit form has the code 0x10 higher."""
    if len(body) < 255 and count < 256:
        out += bytes((code, len(body) + 1, count))
    else:
        out += _SIZE_COUNT.pack(code + 0x10, len(body) + 4, count)
    out += body


def _variable(out: bytearray, code: int, value: bytes | bytearray | memoryview) -> None:
    size = len(value)
    if size < 256:
        out += bytes((code, size))
    else:
        out += _SIZE.pack(code + 0x10, size)
    out += value


def _mapped(out: bytearray, value: dict[Any, Any]) -> None:
    body = bytearray()
    for key, item in value.items():
        encode(body, key)
        encode(body, item)
    compound(out, 0xC1, 2 * len(value), body)


def _described(out: bytearray, value: Described) -> None:
    out.append(0)
    if type(value.descriptor) is int:
        ulong(out, value.descriptor)
    else:
        encode(out, value.descriptor)
    encode(out, value.value)


def _array(out: bytearray, values: Array) -> None:
    code, pack = _ELEMENTS[type(values[0])] if values else (0x40, bytes)
    body = bytearray((code,))
    for value in values:
        body += pack(value)
    out += _SIZE_COUNT.pack(0xF0, len(body) + 4, len(values))
    out += body


def _sized(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def _opaque(out: bytearray, value: Opaque) -> None:
    out.append(value.code)
    out += value.octets


_ENCODERS: dict[type, Encoder] = {
    type(None): null,
    bool: boolean,
    Ubyte: ubyte,
    Ushort: ushort,
    Uint: uint,
    Ulong: ulong,
    Byte: lambda out, value: out.extend((0x51, value & 0xFF)),
    Short: lambda out, value: out.extend(_SHORT.pack(0x61, value)),
    Int: lambda out, value: out.extend(_INT.pack(0x71, value)),
    int: lambda out, value: out.extend(_LONG.pack(0x81, value)),
    float: lambda out, value: out.extend(_DOUBLE.pack(0x82, value)),
    Timestamp: lambda out, value: out.extend(_LONG.pack(0x83, value)),
    UUID: lambda out, value: out.extend(b"\x98" + value.bytes),
    bytes: binary,
    bytearray: binary,
    memoryview: binary,
    str: string,
    Symbol: symbol,
    list: listed,
    dict: _mapped,
    Array: _array,
    Described: _described,
    Opaque: _opaque,
}

# Inside an array all values have one constructor, hence one width.
_ELEMENTS: dict[type, tuple[int, Callable[[Any], bytes]]] = {
    Ubyte: (0x50, struct.Struct(">B").pack),
    Ushort: (0x60, struct.Struct(">H").pack),
    Uint: (0x70, struct.Struct(">I").pack),
    Ulong: (0x80, struct.Struct(">Q").pack),
    Int: (0x71, struct.Struct(">i").pack),
    int: (0x81, struct.Struct(">q").pack),
    bool: (0x56, struct.Struct(">?").pack),
    float: (0x82, struct.Struct(">d").pack),
    Timestamp: (0x83, struct.Struct(">q").pack),
    UUID: (0x98, lambda value: value.bytes),
    bytes: (0xB0, _sized),
    str: (0xB1, lambda value: _sized(value.encode())),
    Symbol: (0xB3, lambda value: _sized(value.encode("ascii"))),
}
