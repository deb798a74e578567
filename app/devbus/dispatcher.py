"""Hands a queue's messages to the links that asked for them, in turn."""

from collections import deque
from collections.abc import Callable
from typing import Protocol

from app.devbus.entity import Queue
from app.devbus.entry import Entry


class Taker(Protocol):
    """A link that messages are handed to."""

    session_id: str | None
    """The session that it holds, on a queue with sessions."""
    settled: bool
    """Whether what it takes is gone at once (receive-and-delete)."""

    @property
    def is_ready(self) -> bool:
        """Whether it has credit and its connection has room."""
        ...

    def deliver(self, entry: Entry) -> None:
        """Send a message over the link."""
        ...

    def emptied(self) -> None:
        """There is nothing more for it now."""
        ...


class Dispatcher:
    """One queue's way out. Work is put off to the loop's next turn, so that a burst of events costs one round."""

    def __init__(self, queue: Queue, clock: Callable[[], float], soon: Callable[[Callable[[], None]], object]) -> None:
        self.queue = queue
        self._clock = clock
        self._soon = soon
        self._takers: deque[Taker] = deque()
        self._is_waking = False

    def join(self, taker: Taker) -> None:
        """From now on `taker` gets its share."""
        self._takers.append(taker)

    def leave(self, taker: Taker) -> None:
        """It gets no more."""
        if taker in self._takers:
            self._takers.remove(taker)

    def wake(self) -> None:
        """Something changed: hand out what can be handed out, soon."""
        if not self._is_waking:
            self._is_waking = True
            self._soon(self._hand_out)

    def _hand_out(self) -> None:
        self._is_waking = False
        idle = 0
        while self._takers and idle < len(self._takers):
            taker = self._takers[0]
            self._takers.rotate(-1)
            idle = 0 if taker.is_ready and self._hand_one(taker) else idle + 1
        for taker in list(self._takers):
            taker.emptied()

    def _hand_one(self, taker: Taker) -> bool:
        queue = self.queue
        entry = queue.take(taker.session_id) if taker.settled else queue.acquire(self._clock(), taker.session_id)
        if entry is not None:
            taker.deliver(entry)
        return entry is not None
