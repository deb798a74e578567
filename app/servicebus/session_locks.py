"""Keeps the locks of sessions: while a session is held, so is every message of it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime

from azure.servicebus.exceptions import MessageLockLostError

from app.servicebus.link_errors import words
from app.servicebus.locks import RETRY_SECONDS, SHORTEST_WAIT, margin_of
from app.servicebus.receiver import CONFIRM_SECONDS, Received
from app.servicebus.session_link import SessionLink
from app.servicebus.trouble import Trouble

log = logging.getLogger(__name__)

_SHORTEST, _LONGEST = 5.0, 20.0
"""Seconds. No lock of Service Bus is shorter than the first; a longer one than the second is renewed as if it were not,
so that it does not matter how far this machine's clock is from the broker's."""


class SessionLock:
    """The lock of one session, and so of its messages: renewed when half of its time is over, until `release`."""

    def __init__(self, link: SessionLink, trouble: Trouble) -> None:
        self.link = link
        self.lost = False
        self.period = _left(link.locked_until)
        """How long, in seconds, it lasts when it has just been renewed."""
        self.callbacks: set[Callable[[], object]] = set()
        """Called when it is lost."""
        self._trouble = trouble
        self._ends = time.monotonic() + self.period
        self._margin = margin_of(self.period)
        self._keeping = asyncio.create_task(self._keep(), name="session-lock")

    def remaining(self) -> float:
        """Seconds until the broker gives the session to somebody else; 0 where it is lost."""
        return 0.0 if self.lost else max(0.0, self._ends - time.monotonic())

    def lose(self) -> None:
        """It is gone."""
        if not self.lost:
            self.lost = True
            self._keeping.cancel()
            for callback in list(self.callbacks):
                callback()

    async def release(self) -> None:
        """Keep it no longer."""
        self._keeping.cancel()
        await asyncio.wait({self._keeping})

    async def _keep(self) -> None:
        """Renew it; where that fails, or is not answered, try again for as long as it lasts."""
        wait = self.period / 2
        while (left := self.remaining() - self._margin) > 0:
            await asyncio.sleep(min(left, wait))
            wait = self.period / 2 if await self._renew() else RETRY_SECONDS
        asyncio.get_running_loop().call_soon(self.lose)  # not from here: it ends this task

    async def _renew(self) -> bool:
        asked, left = time.monotonic(), max(SHORTEST_WAIT, self.remaining() - self._margin)
        try:
            async with asyncio.timeout(left):
                await self.link.renew(seconds=min(CONFIRM_SECONDS, left / 2))  # so that another try fits in
        except MessageLockLostError:
            self._ends = 0.0
            return False
        except Exception as error:
            self._trouble.again(words(error))
            return False
        self._trouble.over()
        self._ends = asked + self.period
        return True


class SessionLocks:
    """The locks of one queue's sessions that are held here."""

    def __init__(self, queue: str) -> None:
        self.period = 0.0
        """How long, in seconds, a fresh lock lasts; 0 before the first session."""
        self._locks: dict[object, SessionLock] = {}
        self._trouble = Trouble(log, f"renewing the locks of sessions of {queue}")

    @property
    def clock_ahead(self) -> float:
        """Not known: a session's lock may have been renewed by anybody at any time, so nothing is proven by its end."""
        return 0.0

    @contextlib.asynccontextmanager
    async def keep(self, link: SessionLink) -> AsyncIterator[SessionLock]:
        """Keep the lock of a session that has just been accepted for the length of the block."""
        lock = SessionLock(link, self._trouble)
        self.period = lock.period
        self._locks[link.handle] = lock
        try:
            yield lock
        finally:
            del self._locks[link.handle]
            await lock.release()

    def of(self, received: Received) -> SessionLock | None:
        """The lock of a message's session; None where the session is not held any more."""
        return self._locks.get(received.link)

    @contextlib.contextmanager
    def hold(self, received: Received, on_loss: Callable[[], object]) -> Iterator[SessionLock]:
        """The lock of a message's session, which is kept as long as the session is; `on_loss` is called at its loss.

        For messages of sessions that are held.
        """
        lock = self._locks[received.link]
        lock.callbacks.add(on_loss)
        if lock.lost:
            on_loss()
        try:
            yield lock
        finally:
            lock.callbacks.discard(on_loss)


def _left(until: datetime | None) -> float:
    """Seconds that are left of a lock that has just been given."""
    left = 0.0 if until is None else (until - datetime.now(UTC)).total_seconds()
    return min(_LONGEST, left) if left > 0 else _SHORTEST
