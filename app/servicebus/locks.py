"""Keeps the locks of the messages that are held, and says at once when one is lost.

Each lock keeps itself, by two timers of its own: one renews it when half of its time is over, the other ends it when
its time is. So nothing that becomes of one, an answer that never comes or a defect, is of any consequence to another.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator

from azure.servicebus.exceptions import MessageLockLostError

from app.servicebus.link_errors import LinkLost, words
from app.servicebus.lock_period import LockPeriod
from app.servicebus.receiver import CONFIRM_SECONDS, Received
from app.servicebus.trouble import Trouble

log = logging.getLogger(__name__)

_GRACE = 1.2
"""How much longer than the link waits for an answer a renewal may take: the link is to know of its own silence."""
RETRY_SECONDS = 0.5
SHORTEST_WAIT = 0.05
_MARGIN_SECONDS, _MARGIN_SHARE = 1.0, 0.1
"""A lock with less left than this, or than this share of it, is as good as lost: a settlement takes its time."""


def margin_of(period: float) -> float:
    """A lock of that period with so many seconds left is as good as lost."""
    return min(_MARGIN_SECONDS, _MARGIN_SHARE * period)


Renew = Callable[[Received, float], Awaitable[None]]
"""Renews a message's lock, waiting for the answer for so many seconds at most."""


class HeldLock:
    """The lock of one message. `lost` is set when it cannot be kept; `on_loss` is then called once."""

    def __init__(self, keeper: "LockKeeper", received: Received, on_loss: Callable[[], object]) -> None:
        self.received = received
        self.lost = False
        self._keeper = keeper
        self._on_loss = on_loss
        self._ends = 0.0
        self._kept = True
        self._ending: asyncio.TimerHandle | None = None
        self._renewing: asyncio.TimerHandle | None = None

    def remaining(self) -> float:
        """Seconds until the broker gives the message to somebody else; 0 where it is lost."""
        return 0.0 if self.lost else max(0.0, self._ends - time.monotonic())

    def patience(self) -> float:
        """Seconds to wait for an answer about it: half of its time, so that another try fits in."""
        return max(SHORTEST_WAIT, min(CONFIRM_SECONDS, (self.remaining() - self._keeper.margin) / 2))

    def lasts(self, left: float) -> None:
        """From now on it has `left` seconds."""
        if not self._kept:
            return
        self._cancel()
        self._ends = time.monotonic() + left
        self._end_in(left - margin_of(left))
        self.renew_in(left - self._keeper.period / 2)

    def renew_in(self, seconds: float) -> None:
        """Try to renew it then."""
        if self._kept:
            wait = max(SHORTEST_WAIT, seconds)
            self._renewing = asyncio.get_running_loop().call_later(wait, self._keeper.begin_renewal, self)

    def lose(self) -> None:
        """It is gone."""
        if not self.lost:
            self.lost = True
            self.release()
            self._on_loss()

    def release(self) -> None:
        """Keep it no longer."""
        self._kept = False
        self._cancel()

    def _end_in(self, seconds: float) -> None:
        self._ending = asyncio.get_running_loop().call_later(max(0.0, seconds), self._end)

    def _end(self) -> None:
        left = self.remaining() - self._keeper.margin
        if left > 0:  # a loop may be early
            self._end_in(left)
        else:
            self.lose()

    def _cancel(self) -> None:
        for timer in (self._ending, self._renewing):
            if timer is not None:
                timer.cancel()


class LockKeeper:
    """Keeps the locks of one queue's messages, until `close`."""

    def __init__(self, queue: str, renew: Renew) -> None:
        self._renew = renew
        self._period = LockPeriod(queue)
        self._renewals: set[asyncio.Task[None]] = set()
        self._trouble = Trouble(log, f"renewing the locks of messages of {queue}")

    @property
    def period(self) -> float:
        """How long, in seconds, a fresh lock lasts; 0 before the first message."""
        return self._period.seconds

    @property
    def clock_ahead(self) -> float:
        """See `LockPeriod.clock_ahead`."""
        return self._period.clock_ahead

    @property
    def margin(self) -> float:
        """A lock with so many seconds left is as good as lost."""
        return margin_of(self.period)

    @contextlib.contextmanager
    def hold(self, received: Received, on_loss: Callable[[], object]) -> Iterator[HeldLock]:
        """Keep the message's lock for the length of the block; `on_loss` is called where that fails."""
        lock = HeldLock(self, received, on_loss)
        lock.lasts(self._period.left(received))
        try:
            yield lock
        finally:
            lock.release()

    def begin_renewal(self, lock: HeldLock) -> None:
        """Renew a lock in a task of its own."""
        renewal = asyncio.create_task(self._keep(lock), name="lock-renewal")
        self._renewals.add(renewal)
        renewal.add_done_callback(self._renewals.discard)

    async def close(self) -> None:
        """End the renewals that are under way."""
        for renewal in self._renewals:
            renewal.cancel()
        if self._renewals:
            await asyncio.wait(self._renewals)

    async def _keep(self, lock: HeldLock) -> None:
        """One renewal. Where it fails it is tried again; the lock's end comes by the lock's other timer."""
        asked, patience = time.monotonic(), lock.patience()
        try:
            async with asyncio.timeout(_GRACE * patience):
                await self._renew(lock.received, patience)
        except MessageLockLostError:
            lock.lose()
        except Exception as error:
            self._trouble.again(words(error))
            if not isinstance(error, LinkLost | TimeoutError):
                log.debug("a renewal failed", exc_info=True)
            lock.renew_in(min(RETRY_SECONDS, lock.patience()))
        else:
            self._trouble.over()
            lock.lasts(self.period - (time.monotonic() - asked))
