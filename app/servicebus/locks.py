"""Keeps the locks of the messages that are held, and says at once when one is lost."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any

from azure.core.exceptions import AzureError
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.exceptions import MessageLockLostError

log = logging.getLogger(__name__)

_RETRY_SECONDS = 0.5
_SHORTEST_WAIT = 0.05
_MARGIN_SECONDS = 1.0
"""A lock with less left than this is as good as lost: a settlement takes its time, and clocks differ."""

Renew = Callable[[ServiceBusReceivedMessage], Coroutine[Any, Any, None]]


class HeldLock:
    """The lock of one message. `lost` is set when it cannot be kept; `on_loss` is then called once."""

    def __init__(self, message: ServiceBusReceivedMessage, on_loss: Callable[[], object]) -> None:
        self.message = message
        self.lost = False
        self._on_loss = on_loss

    def remaining(self) -> float:
        """Seconds until the broker gives the message to somebody else, by our clock."""
        until: datetime | None = self.message.locked_until_utc
        return 0.0 if until is None else (until - datetime.now(UTC)).total_seconds()

    def lose(self) -> None:
        """It is gone."""
        if not self.lost:
            self.lost = True
            self._on_loss()


class LockKeeper:
    """Renews every held lock when half of its time is over. One task for all; it sleeps until the next is due."""

    def __init__(self, renew: Renew) -> None:
        self._renew = renew
        self._due: dict[HeldLock, float] = {}
        self._changed = asyncio.Event()
        self.period = 0.0
        """Longest time, in seconds, that a fresh lock was seen to last."""

    @contextlib.contextmanager
    def hold(self, message: ServiceBusReceivedMessage, on_loss: Callable[[], object]) -> Iterator[HeldLock]:
        """Keep the message's lock for the length of the block; `on_loss` is called where that fails."""
        lock = HeldLock(message, on_loss)
        self._schedule(lock)
        try:
            yield lock
        finally:
            self._due.pop(lock, None)

    async def run(self) -> None:
        """Renew until cancelled."""
        while True:
            self._changed.clear()
            await self._sleep_until_due()
            now = time.monotonic()
            for lock in [lock for lock, due in self._due.items() if due <= now]:
                await self._keep(lock)

    async def _sleep_until_due(self) -> None:
        earliest = min(self._due.values(), default=None)
        timeout = None if earliest is None else max(0.0, earliest - time.monotonic())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), timeout)

    async def _keep(self, lock: HeldLock) -> None:
        """One renewal. It is the task that reads the connection, so it is awaited and never cancelled half-way."""
        try:
            await self._renew(lock.message)
        except MessageLockLostError:
            self._lost(lock)
        except (AzureError, ValueError) as error:  # ValueError: the receiver is being replaced
            log.warning("could not renew the lock of message %s: %s", lock.message.message_id, type(error).__name__)
            if lock.remaining() <= _MARGIN_SECONDS:
                self._lost(lock)
            elif lock in self._due:
                self._due[lock] = time.monotonic() + _RETRY_SECONDS
        else:
            if lock in self._due:
                self._schedule(lock)

    def _schedule(self, lock: HeldLock) -> None:
        remaining = lock.remaining()
        self.period = max(self.period, remaining)
        wait = min(remaining - _MARGIN_SECONDS, remaining - self.period / 2)
        due = time.monotonic() + max(_SHORTEST_WAIT, wait)
        if due < min(self._due.values(), default=math.inf):
            self._changed.set()
        self._due[lock] = due

    def _lost(self, lock: HeldLock) -> None:
        self._due.pop(lock, None)
        lock.lose()
