"""How long a queue's locks last, found out from the broker's own times: this machine's clock may be wrong."""

import logging
import math
from datetime import UTC, datetime

from app.servicebus.receiver import Received

log = logging.getLogger(__name__)

_SHORTEST, _LONGEST = 5.0, 300.0
"""The locks that Service Bus grants, in seconds."""
_TOLD_SECONDS = 2.0
"""Clocks differ; by so much it is worth saying."""


class LockPeriod:
    """One queue's.

    Two of the broker's times tell without our clock that a lock lasts no longer than from a message's enqueuing to
    its lock's end; for a message that was received when it came, that is the lock's duration. What our clock says of
    the rest of a lock is believed where it can be, and no longer than that.
    """

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._seen = 0.0
        self._bound = _LONGEST
        self._behind = 0.0
        self._least_past = math.inf
        """The least by which a lock was over when its message came, by our clock; negative where it was not."""
        self._is_ahead = False
        self._told = False

    @property
    def seconds(self) -> float:
        """How long a fresh lock lasts; 0 before the first message."""
        return min(self._seen, self._bound)

    @property
    def clock_ahead(self) -> float:
        """Seconds by which our clock is ahead of the broker's, as far as that is proven; negative where it is behind.

        A lock that is over when its message comes proves it. How far is known by durations: the broker's clock showed
        the lock's end less the lock's duration, or later.
        """
        if self._is_ahead:
            return max(0.0, self._least_past + self._bound)
        return -self._behind if self._behind > _TOLD_SECONDS else 0.0

    def left(self, received: Received, now: datetime | None = None) -> float:
        """Seconds that are left of the lock of a message that has just come."""
        until, enqueued = received.locked_until, received.message.enqueued_time_utc
        now = now or datetime.now(UTC)
        if until is None:
            return 0.0
        past = (now - until).total_seconds()
        self._least_past, self._is_ahead = min(self._least_past, past), self._is_ahead or past >= 0
        if enqueued is not None:
            self._bound = min(self._bound, max(0.0, (until - enqueued).total_seconds()))
            self._behind = max(self._behind, (enqueued - now).total_seconds())
        left = (until - now).total_seconds() - self._behind
        if not 0 < left <= _LONGEST:
            self._tell(-left if left <= 0 else _LONGEST - left)
            left = _SHORTEST
        elif self._behind > _TOLD_SECONDS:
            self._tell(-self._behind)
        left = min(left, self._bound)
        self._seen = max(self._seen, left)
        return left

    def _tell(self, ahead: float) -> None:
        if self._told:
            return
        self._told = True
        log.warning(
            "this machine's clock is at least %.0f s %s of the broker's of %s: locks are judged by durations, and "
            "deadlines as well as the broker's times allow; set the clock (NTP)",
            abs(ahead),
            "ahead" if ahead >= 0 else "behind",
            self._queue,
        )
