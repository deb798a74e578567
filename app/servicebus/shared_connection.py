"""Many links over one AMQP connection: a connection each would cost 0.7 MiB, and some round trips more to open.

The SDK's client takes a connection that is there, and has no public way to be given one; what is used of its inside is
used in this file alone, and `tests/servicebus/test_sending.py` tells when a new version of it is different.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from app.servicebus.link_errors import LinkLost, speaking
from app.servicebus.shared_reading import SharedReading, close_socket

_HEARTBEAT_SECONDS = 60.0
_CLOSE_SECONDS = 3.0


class SharedConnection:
    """A connection of many links: opened for the first, and for the next where it is lost."""

    def __init__(self) -> None:
        self._opening = asyncio.Lock()
        self._connection: Any = None
        self._reading: SharedReading | None = None

    @property
    def is_open(self) -> bool:
        """Whether it can be spoken over, as far as is known."""
        return self._reading is not None and not self._reading.failed

    @contextlib.asynccontextmanager
    async def speaking(self) -> AsyncIterator[None]:
        """As `link_errors.speaking`; where a link is lost and nothing at all was heard meanwhile, all connect anew."""
        began = time.time()
        try:
            with speaking():
                yield
        except LinkLost:
            await self._doubt(began)
            raise

    async def close(self) -> None:
        """Disconnect; for after the links are closed."""
        connection, reading = self._connection, self._reading
        self._connection = self._reading = None
        if connection is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await connection.close()
            await close_socket(connection)
        if reading is not None:
            await reading.end()

    def adopt(self, handler: Any) -> None:
        """Have a client of the SDK that is not open yet join the connection when it opens."""
        handler.open_async = partial(self._join, handler, handler.open_async)

    async def _doubt(self, since: float) -> None:
        async with self._opening:
            if self._reading is not None and self._reading.silent_since(since):
                await self.close()

    async def _join(self, handler: Any, open_alone: Callable[..., Any], **_: Any) -> None:
        """Open a link's client on the connection, or let it open one that the others join."""
        handler._keep_alive_interval = None  # whoever reads the connection keeps it alive
        async with self._opening:
            if self.is_open:
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
