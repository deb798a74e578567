"""Permits: what is refused is refused at the door, before any work is done for it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.core.request import Priority
from app.errors import Overloaded

BULK_CEILING = 0.75
"""Share of every budget that bulk work may fill; the rest is kept for people."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be in flight at once: pictures, encoded bytes, pixels declared by their headers."""

    pictures: int
    image_bytes: int
    pixels: int

    def __add__(self, other: "Budget") -> "Budget":
        return Budget(self.pictures + other.pictures, self.image_bytes + other.image_bytes, self.pixels + other.pixels)

    def __sub__(self, other: "Budget") -> "Budget":
        return Budget(self.pictures - other.pictures, self.image_bytes - other.image_bytes, self.pixels - other.pixels)

    def scaled(self, share: float) -> "Budget":
        """That share of every count."""
        return Budget(int(self.pictures * share), int(self.image_bytes * share), int(self.pixels * share))


class Admission:
    """One budget for all fronts. Safe to use from several threads."""

    def __init__(self, limit: Budget) -> None:
        self.limit = limit
        self._used = Budget(0, 0, 0)
        self._lock = threading.Lock()

    @property
    def used(self) -> Budget:
        """What is in flight now."""
        return self._used

    def free(self, priority: Priority) -> int:
        """Pictures that may still be admitted with that priority."""
        return max(0, self._limit_for(priority).pictures - self._used.pictures)

    @contextmanager
    def permit(self, wanted: Budget, priority: Priority, retry_after: Callable[[], float]) -> Iterator[None]:
        """Hold `wanted` for the length of the `with` block.

        Raises `Overloaded` at once, with the seconds of `retry_after` as the advice, where it does not fit. What
        exceeds bulk's ceiling by itself is admitted when nothing else uses that budget, so that nothing is refused for
        ever.
        """
        with self._lock:
            full = self._full(wanted, self._limit_for(priority))
            if full:
                raise Overloaded(
                    f"The service is busy: as many {full} as it takes are in flight. Try again later.",
                    retry_after=retry_after(),
                )
            self._used += wanted
        try:
            yield
        finally:
            with self._lock:
                self._used -= wanted

    def _full(self, wanted: Budget, ceiling: Budget) -> str | None:
        """Which budget has no room for `wanted`, in words, or None."""
        for name, used, more, most, limit in (
            ("pictures", self._used.pictures, wanted.pictures, ceiling.pictures, self.limit.pictures),
            ("bytes", self._used.image_bytes, wanted.image_bytes, ceiling.image_bytes, self.limit.image_bytes),
            ("pixels", self._used.pixels, wanted.pixels, ceiling.pixels, self.limit.pixels),
        ):
            if more and used + more > most and (used or more > limit):
                return name
        return None

    def _limit_for(self, priority: Priority) -> Budget:
        return self.limit if priority is Priority.INTERACTIVE else self.limit.scaled(BULK_CEILING)
