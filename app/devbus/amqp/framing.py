"""Frames in a stream of octets (AMQP 1.0, part 2, sections 2.2 and 2.3)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from app.devbus.amqp.errors import FRAMING_ERROR, AmqpError

AMQP_HEADER = b"AMQP\x00\x01\x00\x00"
SASL_HEADER = b"AMQP\x03\x01\x00\x00"
AMQP_FRAME, SASL_FRAME = 0, 1
MIN_MAX_FRAME_SIZE = 512
EMPTY_FRAME = b"\x00\x00\x00\x08\x02\x00\x00\x00"
"""A frame without a body: a heartbeat (2.4.5)."""

_HEAD = struct.Struct(">IBBH")
_SIZE = struct.Struct(">I")
_PROTOCOL = int.from_bytes(b"AMQP", "big")


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: its type, its channel and its body, which may be empty."""

    kind: int
    channel: int
    body: memoryview


@dataclass(frozen=True, slots=True)
class ProtocolHeader:
    """The eight octets that announce a protocol layer (2.2)."""

    octets: bytes


class FrameReader:
    """Cuts what arrives into frames; keeps an incomplete frame until the rest of it is there."""

    def __init__(self, max_frame_size: int) -> None:
        self._max = max_frame_size
        self._chunks: list[bytes] = []
        self._held = 0
        self._wanted = 8

    def feed(self, data: bytes) -> Iterator[Frame | ProtocolHeader]:
        """The frames that `data` completes, their bodies views without a copy; raises `AmqpError` (framing-error)."""
        self._chunks.append(data)
        self._held += len(data)
        if self._held < self._wanted:
            return
        joined = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        view, at = memoryview(joined), 0
        self._wanted = 8
        while len(joined) - at >= 8:
            size = self._size(joined, at)
            if len(joined) - at < size:
                self._wanted = size
                break
            yield _cut(view, at, size)
            at += size
        rest = joined[at:]
        self._chunks, self._held = ([rest], len(rest)) if rest else ([], 0)

    def _size(self, data: bytes, at: int) -> int:
        size: int = _SIZE.unpack_from(data, at)[0]
        if size == _PROTOCOL:
            return 8
        if not 8 <= size <= self._max:
            raise AmqpError(FRAMING_ERROR, f"a frame of {size} octets; 8 to {self._max} are allowed")
        return size


def _cut(view: memoryview, at: int, size: int) -> Frame | ProtocolHeader:
    length, offset, kind, channel = _HEAD.unpack_from(view, at)
    if length == _PROTOCOL:
        return ProtocolHeader(bytes(view[at : at + 8]))
    if offset < 2 or 4 * offset > size:
        raise AmqpError(FRAMING_ERROR, f"a frame whose body begins at word {offset}")
    return Frame(kind, channel, view[at + 4 * offset : at + size])


def frame(kind: int, channel: int, *parts: bytes | bytearray | memoryview) -> bytes:
    """One frame with these octets as its body."""
    size = 8 + sum(map(len, parts))
    return b"".join((_HEAD.pack(size, 2, kind, channel), *parts))
