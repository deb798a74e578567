"""Several sessions of a queue at once, one message after the other in each.

A place for a session waits until the broker has one, receives it for as long as it has messages, and gives it back. A
session's messages are in the order in which they were sent, and none is begun before the one before it is settled; the
core's batches are filled from many sessions.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable

from azure.core.exceptions import AzureError

from app.errors import StartupError
from app.servicebus.connection import Connection
from app.servicebus.intake import FIRST_PAUSE, LONGEST_PAUSE, Start
from app.servicebus.link_errors import LinkLost, words
from app.servicebus.queue_status import QueueStatus
from app.servicebus.receiver import Received
from app.servicebus.session_link import NoSession, SessionLink
from app.servicebus.session_locks import SessionLock, SessionLocks
from app.servicebus.session_settler import SessionSettler
from app.servicebus.shared_connection import SharedConnection
from app.servicebus.supervision import supervised
from app.servicebus.trouble import Trouble

log = logging.getLogger(__name__)

IDLE_SECONDS = 0.2
"""A session in which nothing has come for so long gives its place to another, where all places are taken. A message
that is there comes within a round trip; and while one place waits for a session, no other is given up."""
LONGEST_IDLE_SECONDS = 10.0
"""And in any case after so long: were a message or its credit lost on the way, nothing would ever come."""
TURN_SECONDS = 30.0
"""A session that always has more gives its place to another after so long, where all places are taken."""
_LOOK_SECONDS = 0.25
_SOON = 1.0
"""The broker is asked for a session no more often than this where it has none, whatever it says how fast."""


class SessionIntake:
    """`count` places for sessions, all over one connection."""

    def __init__(self, connection: Connection, status: QueueStatus, count: int) -> None:
        self.locks = SessionLocks(status.queue)
        self.settler = SessionSettler(status.queue, self.locks)
        self._connection = connection
        self._status = status
        self._count = count
        self._shared = SharedConnection()
        self._links: set[SessionLink] = set()
        self._waiting = 0
        self._stopping = asyncio.Event()
        self._closed = asyncio.Event()
        self._nudged = asyncio.Event()
        self._start: Start
        self._room: Callable[[], int]
        self._ever_received = False
        self._trouble = Trouble(log, f"receiving a session of {status.queue}")

    @property
    def promised(self) -> int:
        """Messages that the broker may still send."""
        return sum(link.credit for link in self._links if not link.lost)

    @property
    def arrived(self) -> int:
        """Messages that have come and were not handed over yet."""
        return sum(link.arrived for link in list(self._links))  # asked from other threads, too

    async def run(self, start: Start, room: Callable[[], int]) -> None:
        """Receive until `close`. Raises `StartupError` where the queue cannot be received by sessions."""
        self._start, self._room = start, room
        places = [
            asyncio.create_task(supervised("a place for a session", self._run_place), name="session-place")
            for _ in range(self._count)
        ]
        try:
            await asyncio.gather(*places)
            await self._closed.wait()
        finally:
            for place in places:
                place.cancel()
            await asyncio.wait(places)

    def stop(self) -> None:
        """Begin no message more; sessions are given back once what they have begun is settled."""
        self._stopping.set()
        self.nudge()

    def nudge(self) -> None:
        """Something has changed that whoever waits should know now."""
        self._nudged.set()
        for link in self._links:
            link.nudge()

    async def finish(self, seconds: float) -> None:
        """Nothing is on its way but with a session, which is given back as a whole."""

    async def close(self) -> None:
        """Disconnect; sessions that are held still, or have just come, are given back by that."""
        self._closed.set()
        self.nudge()
        await asyncio.gather(*(link.close() for link in self._links))
        await self._shared.close()

    async def _run_place(self) -> None:
        """One place, from session to session."""
        pause = FIRST_PAUSE
        while not self._stopping.is_set():
            await self._wait_for_room()
            began = time.monotonic()
            if await self._receive_next() or time.monotonic() - began > _SOON:
                pause = FIRST_PAUSE
            else:
                await self._pause(pause)
                pause = min(LONGEST_PAUSE, pause * 2)

    async def _receive_next(self) -> bool:
        """Wait for a session and work it off; False where there was none, or it was lost."""
        link = self._connection.session(self._status.queue, self._shared)
        self._links.add(link)
        try:
            await self._accept(link)
            await self._receive(link)
        except NoSession:
            return False
        except (LinkLost, AzureError) as error:
            self._links.discard(link)
            self._check_start(error)
            reason = str(error) if isinstance(error, LinkLost) else words(error)
            self._lost(reason, was_received=link.locked_until is not None)
            return False
        finally:
            self._links.discard(link)
            await link.close()
        return True

    async def _accept(self, link: SessionLink) -> None:
        """See `SessionLink.open`. Where the broker was there, there is a link, be there a session or not."""
        self._waiting += 1
        opening = asyncio.create_task(link.open())
        try:
            while not opening.done():
                await asyncio.wait({opening}, timeout=None if link.waiting else _LOOK_SECONDS)
                if link.waiting:
                    self._status.connect()
            opening.result()
        finally:
            self._waiting -= 1
            opening.cancel()

    async def _receive(self, link: SessionLink) -> None:
        """A session, until it is idle, its turn is over, or it is lost."""
        log.debug("received session %s of %s", link.session_id, self._status.queue)
        self._ever_received = True
        self._status.connect()
        began = heard = time.monotonic()
        async with self.locks.keep(link) as lock:
            while not self._stopping.is_set() and self._keeps(began, heard):
                if lock.lost:
                    raise LinkLost("the session's lock is lost")
                await self._grant(link)
                for received in await link.read():
                    await self._work_off(received, lock)
                    heard = time.monotonic()

    def _keeps(self, began: float, heard: float) -> bool:
        """Whether a session goes on."""
        now, all_taken = time.monotonic(), not self._waiting
        if all_taken and now - began > TURN_SECONDS:
            return False
        return now - heard < (IDLE_SECONDS if all_taken else LONGEST_IDLE_SECONDS)

    async def _grant(self, link: SessionLink) -> None:
        """Let the broker send a session's next message where there is room for it."""
        room, promised = self._room(), self.promised
        self._status.credit = room
        if not link.credit and room > promised:
            await link.grant(1)
        elif link.credit and room < promised:
            await link.grant(0)

    async def _work_off(self, received: Received, lock: SessionLock) -> None:
        """One message, to its settlement. A session that is lost meanwhile is noticed."""
        task = self._start(received)
        while not task.done():
            await asyncio.wait({task}, timeout=_LOOK_SECONDS)
            lock.link.look()
            if lock.link.lost:
                lock.lose()

    async def _wait_for_room(self) -> None:
        """Where there is no room for a message there is none for a session."""
        while not self._stopping.is_set() and self._room() <= self.promised + self._waiting:
            self._nudged.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nudged.wait(), _LOOK_SECONDS)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds * random.uniform(0.5, 1))

    def _lost(self, reason: str, *, was_received: bool) -> None:
        """A session is lost, or could not be had. So is the broker where nothing else is heard of it."""
        if self._stopping.is_set():
            return
        if self._shared.is_open and (was_received or any(link.waiting for link in self._links)):
            self._trouble.again(reason)
        else:
            self._status.disconnect(reason)

    def _check_start(self, error: Exception) -> None:
        """Where a queue can never be received, the start is what fails; a queue that was received may be so again."""
        said = str(error).lower()
        if not self._ever_received and "amqp:not-allowed" in said and "does not require sessions" in said:
            raise StartupError(
                f"{self._status.queue} has no sessions. Unset ROO_QUEUE_SESSIONS, or name a queue that requires them."
            ) from None
