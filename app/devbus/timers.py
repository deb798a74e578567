"""Timers. They are set only where there is something to wait for, so that an idle broker sleeps."""

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls `ring` when the earliest time that was set has come."""

    def __init__(self, ring: Callable[[], None], clock: Callable[[], float]) -> None:
        self._ring = ring
        self._clock = clock
        self._when: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def set(self, when: float | None) -> None:
        """Ring at `when`, in the clock's seconds, or earlier if that was wanted before."""
        if when is None or (self._when is not None and self._when <= when):
            return
        self.stop()
        self._when = when
        self._timer = asyncio.get_running_loop().call_later(max(0.0, when - self._clock()), self._fire)

    def stop(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._when = None

    def _fire(self) -> None:
        self._timer = self._when = None
        self._ring()


class Metronome:
    """Calls `tick` every so many seconds."""

    def __init__(self, seconds: float, tick: Callable[[], None]) -> None:
        self._seconds = seconds
        self._tick = tick
        self._wind()

    def stop(self) -> None:
        """No more."""
        self._timer.cancel()

    def _wind(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._fire)

    def _fire(self) -> None:
        self._wind()
        self._tick()
