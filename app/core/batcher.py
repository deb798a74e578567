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

from app.core.coalescing import ResultCoalescer
from app.core.request import Deadline, Priority
from app.errors import DeadlineExceeded, Draining, EngineFailure


class BatchKey(Hashable, Protocol):
    """What items must share to be computed together; in the service, a model."""

    @property
    def max_batch_size(self) -> int:
        """Most items in one batch."""


UNMEASURED = 0.001
"""Seconds of lane time that an item is taken for while nobody knows."""
_ROUNDING = 1e-6
"""What sums of shares may lack of a whole item."""

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


class Batcher(Generic[K, T, R]):
    """Where waiters and lanes meet. Safe to use from any number of threads.

    `bulk_share` is the share of the lanes' time that bulk items keep while interactive ones wait, 0 to 1, whatever keys
    the two have. Within each priority keys share the lanes' time evenly, so that an item of a key that is seldom asked
    waits for the batches that run, and not for the queues of others.
    """

    def __init__(self, bulk_share: float = 0.1, clock: Callable[[], float] = time.monotonic) -> None:
        self.bulk_share = bulk_share
        self._cost: Callable[[K], float] = lambda _: 1.0
        self._queues: dict[Priority, _Queue[K, T, R]] = {priority: _Queue() for priority in Priority}
        self._coalescer: ResultCoalescer[R] = ResultCoalescer()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._clock = clock
        self._bulk_credit = 0.0
        self._idle = 0
        self._closed = False

    def weigh(self, cost: Callable[[K], float]) -> None:
        """Share the lanes out by what an item of each key takes of their time, in seconds; 0 where nobody knows yet."""
        self._cost = lambda key: cost(key) or UNMEASURED

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
                    self._coalescer.release()
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                if not self._total():
                    self._coalescer.release()
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
        self._coalescer.give(entry.future, result, 0 if urgent else self._queues[entry.priority].count)

    def release_answers(self) -> None:
        """Bring every result that is held to its waiter."""
        self._coalescer.release()

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

    def waiting_by_key(self, priority: Priority) -> dict[K, int]:
        """How many items of one priority wait, for each key that has any."""
        with self._lock:
            return self._queues[priority].by_key()

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
        key, due = self._next_turn(people, bulk)
        cost = self._cost(key)
        size = self._fair_size(key)
        competing = people.count > 0
        reserved = bulk.pop(key, min(size, due), cost)
        first = people.pop(key, size - len(reserved), cost)
        rest = bulk.pop(key, size - len(reserved) - len(first), cost)
        self._account(cost, len(first), len(reserved) + len(rest), competing=competing)
        return key, reserved + first + rest

    def _next_turn(self, people: _Queue[K, T, R], bulk: _Queue[K, T, R]) -> tuple[K, int]:
        """Which key, and how many of its bulk items go before people."""
        bulk_key, key = bulk.next_key(), people.next_key()
        if bulk_key is not None:
            due = int(self._bulk_credit / self._cost(bulk_key) + _ROUNDING)
            if key is None or due > 0:
                bulk.begin_turn(bulk_key)
                return bulk_key, max(0, due)
        assert key is not None
        people.begin_turn(key)
        return key, 0

    def _fair_size(self, key: K) -> int:
        """Split what waits among the lanes that are free now: no lane idles beside another's full batch."""
        waiting = sum(queue.waiting(key) for queue in self._queues.values())
        return max(1, min(key.max_batch_size, -(-waiting // (self._idle + 1))))

    def _account(self, cost: float, people: int, bulk: int, *, competing: bool) -> None:
        """People's time earns credit for the bulk that had to wait meanwhile, bulk's time spends it.

        What bulk takes while people wait is a debt that people's time pays off; a slot that nobody else wants is none.
        """
        if not competing:
            self._bulk_credit = max(0.0, self._bulk_credit)
        if self._queues[Priority.BULK].count:
            self._bulk_credit += cost * people * self.bulk_share / (1 - self.bulk_share)
        floor = float("-inf") if self._queues[Priority.INTERACTIVE].count else min(0.0, self._bulk_credit)
        self._bulk_credit = max(floor, self._bulk_credit - cost * bulk)
        if not self._queues[Priority.BULK].count:
            self._bulk_credit = min(0.0, self._bulk_credit)

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
