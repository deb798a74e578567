"""Trying again what may succeed in a moment, at the pace that the other side asks for."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable

from app.errors import ResultsUnavailable

TRIES = 4
FIRST_PAUSE = 0.2
LONGEST_WAIT = 10.0
"""Seconds that are waited for here where the other side asks for patience; the breaker waits for what is longer."""
LONGEST_PATIENCE = 600.0
"""Seconds for which one answer may put all off: the other side, or what stands before it, may say anything."""


class TryAgain(Exception):
    """A try failed for what may be over in a moment; `retry_after` is in seconds, as the other side has it."""

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = None if retry_after is None else min(retry_after, LONGEST_PATIENCE)


class Persistence:
    """One destination's: what it asks of one caller holds for all of them."""

    def __init__(self) -> None:
        self._not_before = 0.0

    async def until_done(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Call `attempt` until it raises no `TryAgain`; raises `ResultsUnavailable` where it always does."""
        for tries in range(1, TRIES + 1):
            await self._wait()
            try:
                return await attempt()
            except TryAgain as error:
                self._postpone(error.retry_after or 0.0)
                if tries == TRIES:
                    raise ResultsUnavailable(str(error), retry_after=error.retry_after) from None
            await asyncio.sleep(random.uniform(0.5, 1.0) * FIRST_PAUSE * 2**tries)

    def _postpone(self, seconds: float) -> None:
        self._not_before = max(self._not_before, time.monotonic() + seconds)

    async def _wait(self) -> None:
        left = self._not_before - time.monotonic()
        if left > LONGEST_WAIT:
            raise ResultsUnavailable(f"It asks for {left:.0f} s of patience.", retry_after=left)
        if left > 0:
            await asyncio.sleep(left)
