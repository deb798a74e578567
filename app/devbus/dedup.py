"""Duplicate detection: message ids seen within a window of time."""

from collections import deque
from typing import Any


class SeenIds:
    """Remembers identifiers for `seconds`; for 0 it remembers nothing."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ids: set[Any] = set()
        self._order: deque[tuple[float, Any]] = deque()

    def is_duplicate(self, identifier: Any, now: float) -> bool:
        """Whether it was seen within the window; if not, it is remembered from `now` on."""
        if not self._seconds or identifier is None:
            return False
        while self._order and self._order[0][0] <= now - self._seconds:
            self._ids.discard(self._order.popleft()[1])
        if identifier in self._ids:
            return True
        self._ids.add(identifier)
        self._order.append((now, identifier))
        return False
