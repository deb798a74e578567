"""Whose turn it is among those who wait with one priority."""

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

from app.core.batch import BatchKey, Entry

K = TypeVar("K", bound=BatchKey)
T = TypeVar("T")
R = TypeVar("R")


class FairQueue(Generic[K, T, R]):
    """Waiting entries of one priority, in order of arrival within each key; keys take turns by the lane time they used.

    Source of the turns: start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996); a batch is its packet.
    """

    def __init__(self) -> None:
        self._by_key: dict[K, deque[Entry[K, T, R]]] = {}
        self._used_until: dict[K, float] = {}
        self._virtual_time = 0.0
        self.count = 0

    def push(self, entry: Entry[K, T, R]) -> None:
        self._by_key.setdefault(entry.key, deque()).append(entry)
        self.count += 1

    def discard(self, entry: Entry[K, T, R]) -> None:
        waiting = self._by_key.get(entry.key)
        if waiting is None or entry not in waiting:
            return
        waiting.remove(entry)
        self._removed(entry.key, 1)

    def pop(self, key: K, most: int, cost: float) -> list[Entry[K, T, R]]:
        """The longest-waiting of `key`, each of which uses so much lane time."""
        waiting = self._by_key.get(key)
        if waiting is None or most <= 0:
            return []
        taken = [waiting.popleft() for _ in range(min(most, len(waiting)))]
        self._used_until[key] = self._start(key) + cost * len(taken)
        self._removed(key, len(taken))
        return taken

    def next_key(self) -> K | None:
        """Whose turn it is: the key that used least, and among equals the one that waits longest."""
        if len(self._by_key) <= 1:
            return next(iter(self._by_key), None)
        return min(self._by_key, key=lambda key: (self._start(key), self._by_key[key][0].enqueued_at))

    def begin_turn(self, key: K) -> None:
        """Now is `key`'s turn. Who used more than it has to wait; who was away has saved nothing up."""
        self._virtual_time = self._start(key)
        if len(self._used_until) > len(self._by_key):
            self._used_until = {key: until for key, until in self._used_until.items() if until > self._virtual_time}

    def oldest(self) -> Entry[K, T, R] | None:
        heads = (waiting[0] for waiting in self._by_key.values())
        return min(heads, key=lambda entry: entry.enqueued_at, default=None)

    def waiting(self, key: K) -> int:
        return len(self._by_key.get(key, ()))

    def by_key(self) -> dict[K, int]:
        return {key: len(waiting) for key, waiting in self._by_key.items()}

    def __iter__(self) -> Iterator[Entry[K, T, R]]:
        for waiting in list(self._by_key.values()):
            yield from list(waiting)

    def _start(self, key: K) -> float:
        return max(self._used_until.get(key, 0.0), self._virtual_time)

    def _removed(self, key: K, count: int) -> None:
        self.count -= count
        if key in self._by_key and not self._by_key[key]:
            del self._by_key[key]
