"""A relay between a client and a broker that knows AMQP's frames: it loses, doubles, delays and stalls them.

It shares no code with the broker: what one side gets wrong, the other must not hide.
"""

import asyncio
import contextlib
import random
import socket
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

FLOW, TRANSFER, DISPOSITION, DETACH, EMPTY = 0x13, 0x14, 0x15, 0x16, -1
"""Performatives (AMQP 1.0, part 2, section 2.7), and a frame without a body."""

_RESET = struct.pack("ii", 1, 0)
_PROTOCOL = b"AMQP"


@dataclass(frozen=True, slots=True)
class Passing:
    """One frame on its way."""

    to_broker: bool
    performative: int
    number: int
    """How many frames went the same way on this connection before it."""


Copies = Callable[[Passing], int]
"""How often a frame is passed on: 0 loses it, 2 doubles it."""


class Relay:
    """`async with Relay(port) as relay`: clients connect to `relay.port` and are connected on."""

    def __init__(self, port: int, seed: int = 1) -> None:
        self.chance = random.Random(seed)
        self.copies: Copies = lambda _: 1
        self.delay = 0.0
        """Longest time, in seconds, that a frame is kept; their order stays."""
        self.lost = 0
        """Frames that were not passed on."""
        self.seen: Counter[tuple[bool, int]] = Counter()
        """Frames by direction and performative."""
        self._broker_port = port
        self._stalled: set[asyncio.Task[None]] = set()
        self._pumps: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._serving: set[asyncio.Task[object]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for pump in list(self._pumps):
            pump.cancel()
        if self._serving:
            await asyncio.wait(self._serving)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def connections(self) -> int:
        """Connections that pass frames now."""
        return len([pump for pump in self._pumps if pump not in self._stalled]) // 2

    def stall(self) -> int:
        """From now on nothing passes on the connections that are open, and nobody is told; returns how many."""
        count = self.connections
        self._stalled.update(self._pumps)
        return count

    def end(self, *, reset: bool) -> None:
        """End every connection, on both sides: with a reset, or with a plain end of the stream."""
        for writer in set(self._pumps.values()):
            _end(writer, reset=reset)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here = asyncio.current_task()
        assert here is not None
        self._serving.add(here)
        try:
            await self._connect_on(reader, writer)
        finally:
            self._serving.discard(here)

    async def _connect_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward_writer = await asyncio.open_connection("127.0.0.1", self._broker_port)
        pumps = [
            asyncio.create_task(self._pump(reader, onward_writer, to_broker=True)),
            asyncio.create_task(self._pump(onward_reader, writer, to_broker=False)),
        ]
        self._pumps |= dict(zip(pumps, (onward_writer, writer), strict=True))
        await asyncio.wait(pumps)
        for pump in pumps:
            self._pumps.pop(pump)
            self._stalled.discard(pump)
        for each in (writer, onward_writer):
            each.close()
            with contextlib.suppress(OSError):
                await each.wait_closed()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_broker: bool) -> None:
        number, here = 0, asyncio.current_task()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                octets = await _read_frame(reader)
                if here in self._stalled:
                    continue
                passing = Passing(to_broker, _performative(octets), number)
                number += 1
                self.seen[to_broker, passing.performative] += 1
                if self.delay:
                    await asyncio.sleep(self.delay * self.chance.random())
                copies = self.copies(passing)
                self.lost += copies == 0
                writer.write(octets * copies)
                await writer.drain()
        if here not in self._stalled:
            _end(writer, reset=False)


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(8)
    if head[:4] == _PROTOCOL:
        return head
    return head + await reader.readexactly(int.from_bytes(head[:4], "big") - 8)


def _performative(octets: bytes) -> int:
    """The code of a frame's performative: a described value whose descriptor is a small ulong (part 1, 1.2)."""
    if octets[:4] == _PROTOCOL:
        return 0
    body = octets[4 * octets[4] :]
    return body[2] if body[:2] == b"\x00\x53" else EMPTY


def _end(writer: asyncio.StreamWriter, *, reset: bool) -> None:
    sock = writer.get_extra_info("socket")
    if reset and sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()
    else:
        writer.close()
