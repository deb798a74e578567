"""Clients that do not read their answers: the room that is held for one is not held for ever."""

import asyncio

STALL_SECONDS = 15.0
STALL_BYTES = 64 * 1024
"""Who takes less than that of its answer in that time is cut off."""


class SlowReader:
    """Watches one connection while more is written to it than its client has read."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._unread = 0
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Begin, unless it is watched already."""
        if self._timer is None:
            self._look_again()

    def stop(self) -> None:
        """What was written has been read, or nobody is there any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_again(self) -> None:
        self._unread = self._transport.get_write_buffer_size()
        self._timer = asyncio.get_running_loop().call_later(STALL_SECONDS, self._look)

    def _look(self) -> None:
        if self._unread - self._transport.get_write_buffer_size() < STALL_BYTES:
            self._transport.abort()
        else:
            self._look_again()
