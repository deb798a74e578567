"""A client that writes frames itself, for what the SDK never does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

from app.devbus.amqp.encode import encoded
from app.devbus.amqp.framing import AMQP_FRAME, AMQP_HEADER, Frame, FrameReader, ProtocolHeader, frame
from app.devbus.amqp.message import DATA
from app.devbus.amqp.performatives import (
    RECEIVER,
    SENDER,
    Attach,
    Begin,
    Open,
    Performative,
    decode_performative,
    encode_performative,
)
from app.devbus.amqp.types import Described
from app.devbus.broker import Broker

Kind = TypeVar("Kind", bound=Performative)

PATIENCE = 10.0


def data_message(content: bytes) -> bytes:
    """An encoded message with one data section."""
    return encoded(Described(DATA, content))


class RawClient:
    """One connection, and the frames that came over it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self._frames = FrameReader(1 << 20)
        self._waiting: list[Frame | ProtocolHeader] = []

    async def item(self) -> Frame | ProtocolHeader:
        """The next frame or header; raises `EOFError` when the broker has hung up."""
        async with asyncio.timeout(PATIENCE):
            while not self._waiting:
                data = await self._reader.read(1 << 16)
                if not data:
                    raise EOFError
                self._waiting += self._frames.feed(data)
        return self._waiting.pop(0)

    async def next(self) -> tuple[Performative, bytes]:
        """The next performative and its payload."""
        while True:
            item = await self.item()
            if isinstance(item, Frame) and item.body:
                performative, at = decode_performative(item.body)
                return performative, bytes(item.body[at:])

    async def expect(self, kind: type[Kind]) -> Kind:
        """The next performative of that kind; the others are passed over."""
        while True:
            performative, _ = await self.next()
            if isinstance(performative, kind):
                return performative

    def send(self, performative: Performative, payload: bytes = b"", channel: int = 0) -> None:
        """One frame."""
        self.writer.write(frame(AMQP_FRAME, channel, encode_performative(performative), payload))

    def begin(self, *, max_frame_size: int = 65536, window: int = 1000, idle_timeout: int | None = None) -> None:
        """Open the connection, without SASL, and a session."""
        self.writer.write(AMQP_HEADER)
        self.send(Open("raw", None, max_frame_size, idle_timeout=idle_timeout))
        self.send(Begin(None, 0, window, 1000))

    def attach(self, address: str | None, *, role: bool, handle: int = 0) -> None:
        """A link to or from an address."""
        source, target = Described(0x28, [address]), Described(0x29, [address])
        count = 0 if role is SENDER else None
        self.send(Attach(f"link {handle}", handle, role, 0, 1, source, target, initial_delivery_count=count))

    def attach_receiver(self, address: str | None) -> None:
        """A link on which we receive."""
        self.attach(address, role=RECEIVER)

    def attach_sender(self, address: str | None) -> None:
        """A link on which we send."""
        self.attach(address, role=SENDER)


@asynccontextmanager
async def raw_client(broker: Broker) -> AsyncIterator[RawClient]:
    """Connected, with nothing sent yet."""
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.port)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()
