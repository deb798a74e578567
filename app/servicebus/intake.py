"""One link on which a queue without sessions is received: read without end, granted what there is room for, and opened
anew where it is lost.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from typing import Protocol

from azure.servicebus.exceptions import MessageLockLostError

from app.errors import StartupError
from app.servicebus.connection import Connection
from app.servicebus.delivery import Locks, Settling
from app.servicebus.link_errors import LinkLost, words
from app.servicebus.locks import LockKeeper
from app.servicebus.queue_status import QueueStatus
from app.servicebus.receiver import Received, Receiver
from app.servicebus.settlement import RELEASE
from app.servicebus.settler import Settler

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between attempts to connect: doubled after each that fails, with jitter, for ever."""
IDLE_LINK_SECONDS = 600.0
"""A link over which nothing has come for so long is opened anew: credit that was lost on it would never come back."""
REFRESH_SECONDS = 10.0
"""Credit that was granted so long ago is granted again: were the broker not to know of it, nothing would ever come."""
_STEP = 8
"""Credit is granted in steps of this part of what may be held, so that not every message costs a frame."""
_REST_SECONDS = 0.05
"""Where it is used up, less than a step is granted so long after the last: a worker that is full has room for one."""

Start = Callable[[Received], "asyncio.Task[None]"]


class Intake(Protocol):
    """Brings a queue's messages while there is room for them, keeps their locks, and settles them."""

    @property
    def settler(self) -> Settling:
        """Settles the messages that it brought."""

    @property
    def locks(self) -> Locks:
        """Keeps their locks."""

    @property
    def promised(self) -> int:
        """Messages that the broker may still send."""

    @property
    def arrived(self) -> int:
        """Messages that have come and were not handed over yet: they are held, and not promised any more."""

    async def run(self, start: Start, room: Callable[[], int]) -> None:
        """Hand every message to `start`, never more of them than `room` says; until `close`. Raises `StartupError`."""

    def stop(self) -> None:
        """Take nothing more, but keep the links: locks are renewed and messages settled over them."""

    def nudge(self) -> None:
        """Something has changed that whoever waits should know now."""

    async def finish(self, seconds: float) -> None:
        """Wait, so long at most, until what was on its way at `stop` has come and is given back."""

    async def close(self) -> None:
        """Disconnect."""


class LinkIntake:
    """One link at a time."""

    def __init__(self, connection: Connection, status: QueueStatus, most_held: int) -> None:
        self.settler = Settler(status.queue)
        self.locks = LockKeeper(status.queue, self.settler.renew)
        self._connection = connection
        self._status = status
        self._step = max(1, most_held // _STEP)
        self._link: Receiver | None = None
        self._stopping = asyncio.Event()
        self._emptied = asyncio.Event()
        self._closed = asyncio.Event()
        self._granted_at = 0.0
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def promised(self) -> int:
        """Messages that the broker may still send over the link."""
        return 0 if self._link is None or self._link.lost else self._link.credit

    @property
    def arrived(self) -> int:
        """Messages that have come and were not handed over yet."""
        return 0 if self._link is None else self._link.arrived

    async def run(self, start: Start, room: Callable[[], int]) -> None:
        """Receive until `close`, connecting again for ever. Raises `StartupError` where the queue cannot be received.

        After `stop` nothing more is taken, but the link is kept: locks are renewed and messages settled over it.
        """
        pause = FIRST_PAUSE
        while not self._closed.is_set():
            if await self._receive_until_lost(start, room):
                pause = FIRST_PAUSE
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), pause * random.uniform(0.5, 1))
            pause = min(LONGEST_PAUSE, pause * 2)

    def stop(self) -> None:
        """Take nothing more."""
        self._stopping.set()
        self.nudge()

    def nudge(self) -> None:
        """Something has changed that the receiver should know now."""
        if self._link is not None:
            self._link.nudge()

    async def finish(self, seconds: float) -> None:
        """Wait, so long at most, until what was on its way at `stop` has come and is given back."""
        if self._link is None or self._link.lost:
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._emptied.wait(), seconds)

    async def close(self) -> None:
        """Disconnect; for after all is settled."""
        self._closed.set()
        if self._link is not None:
            self._close_aside(self._link)
        await self.locks.close()
        if self._closing:
            await asyncio.wait(self._closing)

    async def _receive_until_lost(self, start: Start, room: Callable[[], int]) -> bool:
        """One link, from its opening to its loss; False where it could not be opened at all."""
        link = self._connection.receiver(self._status.queue)
        try:
            await link.open()
        except Exception as error:
            self._close_aside(link)
            self._check_start(error)
            self._disconnected(words(error))
            return False
        previous, self._link = self._link, link
        self.settler.use(link)
        self._status.connect()
        if previous is not None:
            self._close_aside(previous)
        try:
            await self._receive(link, start, room)
        except LinkLost as error:
            for received in link.take_arrived():  # left alone, it would be locked for nobody
                start(received)
            self._disconnected(str(error))
        except Exception as error:
            self._disconnected(words(error))
            raise
        return True

    async def _receive(self, link: Receiver, start: Start, room: Callable[[], int]) -> None:
        """Read without end, whatever is held: so a loss is noticed at once. Credit is what room there is."""
        heard = time.monotonic()
        while not self._stopping.is_set():
            await self._grant(link, room())
            for received in await link.read():
                start(received)
                heard = time.monotonic()
            if link.credit and time.monotonic() - heard > IDLE_LINK_SECONDS:
                return
        await link.drain()
        while not self._closed.is_set():  # what was under way still comes
            nothing_more = link.drained
            await asyncio.gather(*(self._give_back(link, received) for received in await link.read()))
            if nothing_more:
                self._emptied.set()

    async def _give_back(self, link: Receiver, received: Received) -> None:
        """Release what came too late."""
        with contextlib.suppress(MessageLockLostError):
            await link.settle(received, RELEASE)

    async def _grant(self, link: Receiver, room: int) -> None:
        """Let the broker send what there is room for, and no more: what it was promised before is taken back."""
        promised = link.credit
        self._status.credit = room
        stale = promised > 0 and time.monotonic() - self._granted_at > REFRESH_SECONDS
        rested = time.monotonic() - self._granted_at > _REST_SECONDS
        if room < promised or room >= promised + self._step or (room > promised == 0 and rested) or stale:
            self._granted_at = time.monotonic()
            await link.grant(room)

    def _close_aside(self, link: Receiver) -> None:
        """Closing takes a second and more, which nobody need wait for."""
        closing = asyncio.create_task(link.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _disconnected(self, reason: str) -> None:
        if not self._closed.is_set():
            self._status.disconnect(reason)

    def _check_start(self, error: Exception) -> None:
        """Where a queue can never be received, the start is what fails; a queue that was received may be so again."""
        said = str(error).lower()
        if self._link is None and "amqp:not-allowed" in said and "requires sessions" in said:
            raise StartupError(
                f"{self._status.queue} requires sessions. Say with ROO_QUEUE_SESSIONS how many of them are received at "
                "once (8, say), or name one without them in ROO_QUEUE."
            ) from None
