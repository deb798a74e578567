"""Forms batches: a lane asks, and gets what has been waiting longest, people first.

Nothing here runs on a timer. While lanes are busy, what arrives waits and becomes the next batch; while one is free,
it takes what there is at once. The batcher knows neither pictures nor engines: a key says what may be computed
together, an item is whatever the lanes understand.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from app.core.answers import Answers
from app.core.request import Deadline, Priority
from app.errors import DeadlineExceeded, Draining, EngineFailure


class BatchKey(Hashable, Protocol):
    """What items must share to be computed together; in the service, a model."""

    @property
    def max_batch_size(self) -> int:
        """Most items in one batch."""


K = TypeVar("K", bound=BatchKey)
T = TypeVar("T")
R = TypeVar("R")


class Entry(Generic[K, T, R]):
    """One waiter: its item and the future through which it is answered, exactly once."""

    __slots__ = ("_answered", "_batcher", "deadline", "enqueued_at", "future", "item", "key", "priority")

    def __init__(
        self,
        batcher: "Batcher[K, T, R]",
        key: K,
        item: T,
        priority: Priority,
        deadline: Deadline | None,
        enqueued_at: float,
    ) -> None:
        self._batcher = batcher
        self._answered = False
        self.key = key
        self.item = item
        self.priority = priority
        self.deadline = deadline
        self.enqueued_at = enqueued_at
        self.future: Future[R] = Future()

    def answer(self, result: R) -> None:
        """Give the waiter its result; a second answer is dropped."""
        if not self._answered:
            self._answered = True
            self._batcher.deliver(self, result)

    def fail(self, error: BaseException) -> None:
        """Give the waiter its error; a second answer is dropped."""
        if not self._answered:
            self._answered = True
            self.future.set_exception(error)


class Batch(Generic[K, T, R]):
    """Items taken together. Leaving its `with` block answers whoever is still waiting, whatever happened inside."""

    def __init__(self, key: K, entries: list[Entry[K, T, R]], taken_at: float) -> None:
        self.key = key
        self.entries = entries
        self.taken_at = taken_at

    def __enter__(self) -> "Batch[K, T, R]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for entry in self.entries:
            entry.fail(EngineFailure("The model could not answer this request. Trying again may help."))

    def __len__(self) -> int:
        return len(self.entries)


class _Queue(Generic[K, T, R]):
    """Waiting entries of one priority, in order of arrival within each key."""

    def __init__(self) -> None:
        self._by_key: dict[K, deque[Entry[K, T, R]]] = {}
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

    def pop(self, key: K, most: int) -> list[Entry[K, T, R]]:
        waiting = self._by_key.get(key, ())
        taken = [waiting.popleft() for _ in range(min(most, len(waiting)))] if isinstance(waiting, deque) else []
        self._removed(key, len(taken))
        return taken

    def oldest(self) -> Entry[K, T, R] | None:
        heads = (waiting[0] for waiting in self._by_key.values())
        return min(heads, key=lambda entry: entry.enqueued_at, default=None)

    def waiting(self, key: K) -> int:
        return len(self._by_key.get(key, ()))

    def __iter__(self) -> Iterator[Entry[K, T, R]]:
        for waiting in list(self._by_key.values()):
            yield from list(waiting)

    def _removed(self, key: K, count: int) -> None:
        self.count -= count
        if key in self._by_key and not self._by_key[key]:
            del self._by_key[key]


class Batcher(Generic[K, T, R]):
    """Where waiters and lanes meet. Safe to use from any number of threads.

    `bulk_share` is the share of slots that bulk items keep while interactive ones wait, 0 to 1.
    """

    def __init__(self, bulk_share: float = 0.1, clock: Callable[[], float] = time.monotonic) -> None:
        self._queues: dict[Priority, _Queue[K, T, R]] = {priority: _Queue() for priority in Priority}
        self._answers: Answers[R] = Answers()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._clock = clock
        self._bulk_share = bulk_share
        self._bulk_credit = 0.0
        self._idle = 0
        self._closed = False

    def submit(self, key: K, item: T, priority: Priority, deadline: Deadline | None = None) -> "Future[R]":
        """Queue an item; the future brings its result or its error.

        Cancelling the future before a lane has taken the item removes it. Raises `Draining` after `close`.
        """
        entry: Entry[K, T, R] = Entry(self, key, item, priority, deadline, self._clock())
        with self._lock:
            if self._closed:
                raise Draining("The service is shutting down. Send the request again; another instance will take it.")
            self._queues[priority].push(entry)
            self._changed.notify()
        entry.future.add_done_callback(lambda future: self._forget(entry) if future.cancelled() else None)
        return entry.future

    def take(self) -> Batch[K, T, R] | None:
        """Wait for work and take the next batch; None once closed and empty. Called by lanes.

        No answer is held while a lane sleeps.
        """
        while True:
            with self._lock:
                while not self._total() and not self._closed:
                    self._answers.release()
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                if not self._total():
                    self._answers.release()
                    return None
                key, entries = self._form()
            now = self._clock()
            live = [entry for entry in entries if _starts(entry, now)]
            if live:
                return Batch(key, live, now)

    def deliver(self, entry: Entry[K, T, R], result: R) -> None:
        """Bring a result to its waiter; where many of its priority wait and its deadline is far, with the next ones."""
        now = self._clock()
        urgent = entry.deadline is not None and entry.deadline.at - now < now - entry.enqueued_at
        self._answers.give(entry.future, result, 0 if urgent else self._queues[entry.priority].count)

    def release_answers(self) -> None:
        """Bring every result that is held to its waiter."""
        self._answers.release()

    def close(self) -> None:
        """Take nothing new; lanes finish what is queued and then get None."""
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    def refuse_waiting(self, which: Callable[[T], bool] = lambda _: True) -> int:
        """Answer the items that no lane has taken yet with `Draining`, all or some; returns how many there were."""
        with self._lock:
            entries = [entry for queue in self._queues.values() for entry in queue if which(entry.item)]
            for entry in entries:
                self._queues[entry.priority].discard(entry)
        for entry in entries:
            if entry.future.set_running_or_notify_cancel():
                entry.fail(Draining("The service shut down before this request was started. Send it again."))
        return len(entries)

    def waiting(self, priority: Priority | None = None) -> int:
        """How many items wait, of one priority or of all."""
        return self._total() if priority is None else self._queues[priority].count

    @property
    def closed(self) -> bool:
        """Whether nothing new is taken."""
        return self._closed

    @property
    def idle_lanes(self) -> int:
        """Lanes that wait for work."""
        return self._idle

    def oldest_age(self) -> float:
        """Seconds that the longest-waiting item has waited; 0 where none waits."""
        with self._lock:
            heads = [head for queue in self._queues.values() if (head := queue.oldest())]
            return max((self._clock() - head.enqueued_at for head in heads), default=0.0)

    def _total(self) -> int:
        return self._queues[Priority.INTERACTIVE].count + self._queues[Priority.BULK].count

    def _form(self) -> tuple[K, list[Entry[K, T, R]]]:
        people, bulk = self._queues[Priority.INTERACTIVE], self._queues[Priority.BULK]
        bulk_is_due = bulk.count > 0 and self._bulk_credit >= 1
        lead = (bulk.oldest() if bulk_is_due else None) or people.oldest() or bulk.oldest()
        assert lead is not None
        size = self._fair_size(lead.key)
        reserved = bulk.pop(lead.key, min(size, int(self._bulk_credit))) if bulk_is_due else []
        first = people.pop(lead.key, size - len(reserved))
        rest = bulk.pop(lead.key, size - len(reserved) - len(first))
        self._account(people=len(first), bulk=len(reserved) + len(rest))
        return lead.key, reserved + first + rest

    def _fair_size(self, key: K) -> int:
        """Split what waits among the lanes that are free now: no lane idles beside another's full batch."""
        waiting = sum(queue.waiting(key) for queue in self._queues.values())
        return max(1, min(key.max_batch_size, -(-waiting // (self._idle + 1))))

    def _account(self, people: int, bulk: int) -> None:
        """People's slots earn credit for the bulk that had to wait meanwhile; bulk's slots spend it."""
        if not self._queues[Priority.BULK].count:
            self._bulk_credit = 0.0
            return
        earned = people * self._bulk_share / (1 - self._bulk_share)
        self._bulk_credit = max(0.0, self._bulk_credit + earned - bulk)

    def _forget(self, entry: Entry[K, T, R]) -> None:
        with self._lock:
            self._queues[entry.priority].discard(entry)


def _starts(entry: Entry[K, T, R], now: float) -> bool:
    """Whether the waiter is still there and in time; one who is too late is answered here."""
    if not entry.future.set_running_or_notify_cancel():
        return False
    if entry.deadline is not None and now >= entry.deadline.at:
        entry.fail(DeadlineExceeded("The deadline passed while the picture waited for a free lane."))
        return False
    return True
