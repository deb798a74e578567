"""How a connection ends without its last answer being lost."""

import asyncio
from collections.abc import Callable

LINGER_SECONDS = 5.0
LINGER_BYTES = 32 * 1024 * 1024
"""For so long, and for so many bytes more, a client that still sends is listened to after its last answer: some read
it only once all is sent.
"""


class PoliteTransport:
    """A transport that, closed while a request is still arriving, first lets the client finish (RFC 9112 section 9.6).

    Closed at once, the kernel would answer the bytes that nobody reads with a reset, upon which the client's system
    throws the answer away, unread. What arrives is thrown away here. All else is the transport's own.
    """

    def __init__(self, transport: asyncio.Transport, protocol: asyncio.Protocol, arriving: Callable[[], bool]) -> None:
        self._transport = transport
        self._protocol = protocol
        self._arriving = arriving
        self._leaving = False
        self.linger_bytes = LINGER_BYTES
        # Bound methods, for no call in between: these are called for every answer.
        self.write: Callable[[bytes], None] = transport.write
        self.abort = transport.abort
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.get_extra_info = transport.get_extra_info

    def is_closing(self) -> bool:
        """Whether nothing more can be answered."""
        return self._leaving or self._transport.is_closing()

    def close(self) -> None:
        """End the connection once what was written has been sent; a second time, at once."""
        self.write = _nothing
        if self._leaving:
            self._transport.abort()
        elif self._arriving() and not self._transport.is_closing():
            self._leaving = True
            Farewell(self._transport, self._protocol, self.linger_bytes)
        else:
            self._transport.close()


def _nothing(_: bytes) -> None:
    pass


class Farewell(asyncio.Protocol):
    """Takes over a connection from `protocol`, and throws away what the client sends until it has sent everything."""

    def __init__(self, transport: asyncio.Transport, protocol: asyncio.Protocol, most_bytes: int) -> None:
        self._transport = transport
        self._protocol = protocol
        self._left = most_bytes
        self._timer = asyncio.get_running_loop().call_later(LINGER_SECONDS, transport.abort)
        transport.set_protocol(self)
        transport.resume_reading()
        transport.write_eof()

    def data_received(self, data: bytes) -> None:
        """Forget it."""
        self._left -= len(data)
        if self._left < 0:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whose connection it was."""
        self._timer.cancel()
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """The answer is not all sent yet."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Most of the answer is sent."""
        self._protocol.resume_writing()
