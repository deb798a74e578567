"""One reads a connection of the SDK, and all who wait for something on it are woken by every frame.

Each call of the SDK that waits (for a message, for a settlement to be confirmed, for an answer) reads the connection
itself. Several at once take turns, and a turn in which nothing comes lasts as long as the socket's timeout, so that a
confirmation that somebody else has read is noticed late: settlements crawl beside a reader. And a call that is
cancelled may lose the frame that it was reading.
"""

import asyncio
from typing import Any


class SharedReading:
    """Stands in for `listen` of one connection. A call may be cancelled at any time: the reading goes on."""

    def __init__(self, connection: Any, seconds: float) -> None:
        """Take over; `seconds` is how long one reading lasts where nothing comes."""
        self._listen = connection.listen
        self._seconds = seconds
        self._reading: asyncio.Task[None] | None = None
        self._waiting: list[asyncio.Future[None]] = []
        connection.listen = self

    async def __call__(self, *_: Any, **__: Any) -> None:
        """Return when a frame has come, or none has for a while; raises what the reading raises."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="servicebus-reading")
        heard = asyncio.get_running_loop().create_future()
        self._waiting.append(heard)
        await heard

    def wake(self, error: BaseException | None = None) -> None:
        """Let all who wait now return, or raise `error`."""
        waiting, self._waiting = self._waiting, []
        for heard in waiting:
            if heard.done():
                continue
            if error is None:
                heard.set_result(None)
            else:
                heard.set_exception(error)

    async def end(self) -> None:
        """Wait until nobody reads."""
        while self._reading is not None:
            await asyncio.wait({self._reading})

    async def _read(self) -> None:
        failed: BaseException | None = None
        try:
            await self._listen(wait=self._seconds, batch=1)
        except Exception as error:  # it is theirs who wait
            failed = error
        finally:
            self._reading = None
            self.wake(failed)
