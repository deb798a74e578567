"""One reads a connection of the SDK, and all who wait for something on it are woken by what comes.

Each call of the SDK that waits (for a message, for a settlement to be confirmed, for an answer) reads the connection
itself. Several at once take turns, and a turn in which nothing comes lasts as long as the socket's timeout, so that a
confirmation that somebody else has read is noticed late: settlements crawl beside a reader. And nobody reads where
nobody waits, so that a lost connection is not noticed. Writing waits for the turn's end as well: one lock is for both.
"""

import asyncio
import contextlib
from typing import Any

IDLE_SECONDS = 0.25
"""How long who waits sleeps at most: it looks at its own timeout then."""

_GATHER_SECONDS = 0.001
"""Frames that come within this time are one waking: else each wakes everybody."""


class SharedReading:
    """Stands in for `listen` of one connection, and reads it without end. A call may be cancelled at any time."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._listen = connection.listen
        self._waiting: list[asyncio.Future[None]] = []
        self._waking: asyncio.TimerHandle | None = None
        self._failure: BaseException | None = None
        self._reading = asyncio.create_task(self._read(), name="servicebus-reading")
        connection.listen = self
        self._read_one = connection._transport.read
        connection._transport.read = self._read_in_time
        self._write = connection._transport.write
        self._writing = asyncio.Lock()
        connection._transport.write = self._write_alone
        connection._transport.socket_lock = contextlib.nullcontext()

    def silent_since(self, moment: float) -> bool:
        """Whether no frame has come since then, on `time.time`'s clock."""
        return (self._connection._last_frame_received_time or 0.0) < moment

    @property
    def failed(self) -> bool:
        """Whether the connection cannot be read any more."""
        return self._failure is not None

    async def __call__(self, *_: Any, **__: Any) -> None:
        """Return when something has come, or nothing has for a while; raises why the connection cannot be read."""
        if self._failure is not None:
            raise self._failure
        heard = asyncio.get_running_loop().create_future()
        self._waiting.append(heard)
        await heard
        if self._failure is not None:
            raise self._failure

    def wake(self) -> None:
        """Let all who wait now return."""
        waiting, self._waiting = self._waiting, []
        self._waking = None
        for heard in waiting:
            if not heard.done():
                heard.set_result(None)

    async def end(self) -> None:
        """Read no more; for a connection that is closed."""
        self._reading.cancel()
        await asyncio.wait({self._reading})

    async def _write_alone(self, octets: bytes) -> None:
        """Whole frames, one after the other; a reading that waits does not hold them up."""
        async with self._writing:
            await self._write(octets)

    async def _read_in_time(self, **kwargs: Any) -> Any:
        """A frame, or `TimeoutError`. With a time limit of its own the SDK would have a task made for each frame, as
        `asyncio.wait_for` does before Python 3.12.
        """
        async with asyncio.timeout(IDLE_SECONDS):
            return await self._read_one(**kwargs)

    async def _read(self) -> None:
        try:
            while True:
                await self._listen(wait=True, batch=1)
                if self._waking is None:
                    self._waking = asyncio.get_running_loop().call_later(_GATHER_SECONDS, self.wake)
        except Exception as error:  # it is theirs who wait
            self._failure = error
        finally:
            self._failure = self._failure or ConnectionError("the connection is closed")
            if self._waking is not None:
                self._waking.cancel()
            self.wake()


async def close_socket(connection: Any) -> None:
    """Close a connection's socket, which the SDK leaves open where it fails half-way. Raises nothing; None is none."""
    if connection is not None:
        with contextlib.suppress(Exception):
            await connection._transport.close()
