"""Senders to many queues and topics over one AMQP connection: a connection each would cost 0.7 MiB a destination.

The SDK's client takes a connection that is there, and has no public way to be given one; what is used of its inside is
used in this file alone, and `tests/servicebus/test_sending.py` tells when a new version of it is different.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusSender

from app.servicebus.link_errors import LinkLost, speaking
from app.servicebus.shared_reading import SharedReading, close_socket

SEND_SECONDS = 10.0
"""How long the broker has to confirm what was sent."""

_HEARTBEAT_SECONDS = 60.0
_CLOSE_SECONDS = 3.0

OpenSender = Callable[[str], ServiceBusSender]


class SharedConnection:
    """The connection of all senders: opened for the first, and for the next where it is lost."""

    def __init__(self, open_sender: OpenSender) -> None:
        self._open_sender = open_sender
        self._opening = asyncio.Lock()
        self._connection: Any = None
        self._reading: SharedReading | None = None

    def sender(self, entity: str) -> "Sender":
        """A sender to a queue or a topic, not open yet; both are only an address to the broker."""
        return Sender(self._open_sender(entity), self)

    async def doubt(self, since: float) -> None:
        """Something has failed that began at `since`: where nothing at all was heard meanwhile, connect anew."""
        async with self._opening:
            if self._reading is not None and self._reading.silent_since(since):
                await self.close()

    async def close(self) -> None:
        """Disconnect; for after the senders are closed."""
        connection, reading = self._connection, self._reading
        self._connection = self._reading = None
        if connection is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await connection.close()
            await close_socket(connection)
        if reading is not None:
            await reading.end()

    async def join(self, handler: Any, open_alone: Callable[..., Any], **_: Any) -> None:
        """Open a sender's client on the connection, or let it open one that the others join."""
        handler._keep_alive_interval = None  # whoever reads the connection keeps it alive
        async with self._opening:
            if self._reading is not None and not self._reading.failed:
                await open_alone(connection=self._connection)
                return
            await self.close()
            handler._idle_timeout = _HEARTBEAT_SECONDS
            try:
                await open_alone()
            except BaseException:
                await close_socket(handler._connection)
                raise
            handler._external_connection = True  # it outlives the one that opened it
            self._connection, self._reading = handler._connection, SharedReading(handler._connection)


class Sender:
    """One destination's link. Not for several tasks at once."""

    def __init__(self, sender: ServiceBusSender, connection: SharedConnection) -> None:
        inside: Any = sender
        self._sender = sender
        self._connection = connection
        create = inside._create_handler

        def create_shared(auth: Any) -> None:
            create(auth)
            inside._handler.open_async = partial(connection.join, inside._handler, inside._handler.open_async)

        inside._create_handler = create_shared

    async def open(self) -> None:
        """Attach; raises `LinkLost` or the broker's `ServiceBusError`."""
        async with self._doubting():
            await self._sender.__aenter__()

    async def send(self, messages: list[ServiceBusMessage]) -> None:
        """Send messages together; returns once they are stored. Raises `LinkLost` or the broker's `ServiceBusError`."""
        async with self._doubting():
            await self._sender.send_messages(messages if len(messages) > 1 else messages[0], timeout=SEND_SECONDS)

    @contextlib.asynccontextmanager
    async def _doubting(self) -> AsyncIterator[None]:
        began = time.time()
        try:
            with speaking():
                yield
        except LinkLost:
            await self._connection.doubt(began)
            raise

    async def close(self) -> None:
        """Detach. Raises nothing."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._sender.close()
