"""How many requests each caller may send: a token bucket a caller, in bounded memory."""

import time
from collections import OrderedDict
from collections.abc import Callable

from app.errors import RateLimited

MOST_CALLERS = 10_000
"""Buckets that are kept; the one that was used longest ago makes room, and its caller starts with a full one."""


class RateLimiter:
    """`rate` requests a second for each caller, and `burst` at once after a pause."""

    def __init__(
        self,
        rate: float,
        burst: int,
        *,
        callers: int = MOST_CALLERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._callers = callers
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    @property
    def remembered(self) -> int:
        """How many callers have a bucket."""
        return len(self._buckets)

    def take(self, caller: str) -> None:
        """Count a request; raises `RateLimited` saying when the next may come. What is refused is not counted."""
        now = self._clock()
        left, then = self._buckets.get(caller, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        allowed = left >= 1.0
        self._buckets[caller] = left - allowed, now
        self._buckets.move_to_end(caller)
        if len(self._buckets) > self._callers:
            self._buckets.popitem(last=False)
        if not allowed:
            raise RateLimited(
                f"More than {self._rate:g} requests a second; please wait.", retry_after=(1.0 - left) / self._rate
            )
