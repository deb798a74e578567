"""Senders to many queues and topics over one connection."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusSender

from app.servicebus.shared_connection import SharedConnection

SEND_SECONDS = 10.0
"""How long the broker has to confirm what was sent."""

_CLOSE_SECONDS = 3.0

OpenSender = Callable[[str], ServiceBusSender]


class Senders(SharedConnection):
    """The connection of all senders."""

    def __init__(self, open_sender: OpenSender) -> None:
        super().__init__()
        self._open_sender = open_sender

    def sender(self, entity: str) -> "Sender":
        """A sender to a queue or a topic, not open yet; both are only an address to the broker."""
        return Sender(self._open_sender(entity), self)


class Sender:
    """One destination's link. Not for several tasks at once."""

    def __init__(self, sender: ServiceBusSender, connection: SharedConnection) -> None:
        inside: Any = sender
        self._sender = sender
        self._connection = connection
        create = inside._create_handler

        def create_shared(auth: Any) -> None:
            create(auth)
            connection.adopt(inside._handler)

        inside._create_handler = create_shared

    async def open(self) -> None:
        """Attach; raises `LinkLost` or the broker's `ServiceBusError`."""
        async with self._connection.speaking():
            await self._sender.__aenter__()

    async def send(self, messages: list[ServiceBusMessage]) -> None:
        """Send messages together; returns once they are stored. Raises `LinkLost` or the broker's `ServiceBusError`."""
        async with self._connection.speaking():
            await self._sender.send_messages(messages if len(messages) > 1 else messages[0], timeout=SEND_SECONDS)

    async def close(self) -> None:
        """Detach. Raises nothing."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._sender.close()
