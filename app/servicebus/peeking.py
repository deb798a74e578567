"""Looking at a queue's dead letters without locking them, over a link that stays for the next who looks: opening one
takes the SDK a second.
"""

import asyncio
import contextlib
import time
from typing import Any

from azure.core.exceptions import AzureError
from azure.servicebus import ServiceBusReceivedMessage, ServiceBusSubQueue

from app.servicebus.connection import Connection

KEPT_SECONDS = 60.0
"""How long a link that nobody used is trusted; by then whatever lies between may have forgotten it."""


class Peeking:
    """One link, opened for the first who looks; whoever looks meanwhile waits."""

    def __init__(self, connection: Connection, queue: str) -> None:
        self._connection = connection
        self._queue = queue
        self._turn = asyncio.Lock()
        self._reader: Any = None
        self._used = 0.0

    async def peek(self, count: int, start: int) -> list[ServiceBusReceivedMessage]:
        """At most so many from the number `start` on. Raises `AzureError`."""
        async with self._turn:
            if self._reader is not None and time.monotonic() - self._used < KEPT_SECONDS:
                with contextlib.suppress(AzureError):
                    return await self._peek(count, start)
            await self._drop()
            self._reader = await self._connection.reader(self._queue, ServiceBusSubQueue.DEAD_LETTER).__aenter__()
            try:
                return await self._peek(count, start)
            except BaseException:
                await self._drop()
                raise

    async def close(self) -> None:
        """Close the link."""
        async with self._turn:
            await self._drop()

    async def _peek(self, count: int, start: int) -> list[ServiceBusReceivedMessage]:
        # Of 0 the SDK makes the number after the last that this link has seen.
        found: list[ServiceBusReceivedMessage] = await self._reader.peek_messages(count, sequence_number=max(1, start))
        self._used = time.monotonic()
        return found

    async def _drop(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            with contextlib.suppress(AzureError):
                await reader.close()
