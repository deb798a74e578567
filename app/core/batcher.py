"""Forms batches: a lane asks, and gets what has been waiting longest, people first.

Nothing here runs on a timer. While lanes are busy, what arrives waits and becomes the next batch; while one is free,
it takes what there is at once. The batcher knows neither pictures nor engines: a key says what may be computed
together, an item is whatever the lanes understand.
"""

import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from app.core.batch import Batch, BatchKey, Entry
from app.core.coalescing import ResultCoalescer
from app.core.fair_queue import FairQueue
from app.core.request import EVEN, Deadline, Flow, Priority
from app.errors import DeadlineExceeded, Draining

UNMEASURED = 0.001
"""Seconds of lane time that an item is taken for while nobody knows."""
_ROUNDING = 1e-6
"""What sums of shares may lack of a whole item."""

K = TypeVar("K", bound=BatchKey)
T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[K, T, R]):
    """Where waiters and lanes meet. Safe to use from any number of threads.

    `bulk_share` is the share of the lanes' time that bulk items keep while interactive ones wait, 0 to 1, whatever keys
    the two have. Within each priority keys, and flows, share the lanes' time, so that an item of a key that is seldom
    asked waits for the batches that run, and not for the queues of others.
    """

    def __init__(self, bulk_share: float = 0.1, clock: Callable[[], float] = time.monotonic) -> None:
        self.bulk_share = bulk_share
        self._cost: Callable[[K], float] = lambda _: 1.0
        self._light: Callable[[K], bool] = lambda _: False
        self._light_lanes: set[int] = set()
        self._queues: dict[Priority, FairQueue[K, T, R]] = {priority: FairQueue() for priority in Priority}
        self._coalescer: ResultCoalescer[R] = ResultCoalescer()
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._left = threading.Condition(self._lock)
        self._taken: Counter[K] = Counter()
        self._clock = clock
        self._bulk_credit = 0.0
        self._idle = 0
        self._closed = False

    def weigh(self, cost: Callable[[K], float], light: Callable[[K], bool] = lambda _: False) -> None:
        """Share the lanes out by what an item of each key takes of their time, in seconds; 0 where nobody knows yet.

        Of a `light` key one lane at a time takes all that waits: two would spend more on each other than on the items.
        """
        self._cost = lambda key: cost(key) or UNMEASURED
        self._light = light

    def submit(
        self, key: K, item: T, priority: Priority, deadline: Deadline | None = None, flow: Flow = EVEN
    ) -> "Future[R]":
        """Queue an item; the future brings its result or its error.

        Cancelling the future before a lane has taken the item removes it. Raises `Draining` after `close`.
        """
        entry: Entry[K, T, R] = Entry(self.deliver, key, item, priority, deadline, self._clock(), flow)
        with self._lock:
            if self._closed:
                raise Draining("The service is shutting down. Send the request again; another instance will take it.")
            self._queues[priority].push(entry)
            if not self._light_lanes or not self._light(key):
                self._changed.notify()
        # Weak: a future keeps its callbacks, and with an entry in one, entry and future would keep each other.
        reference = weakref.ref(entry)
        entry.future.add_done_callback(lambda future: self._forget(reference()) if future.cancelled() else None)
        return entry.future

    def take(self) -> Batch[K, T, R] | None:
        """Wait for work and take the next batch; None once closed and empty. Called by lanes.

        No answer is held while a lane sleeps.
        """
        me = threading.get_ident()
        while True:
            with self._lock:
                was_light = me in self._light_lanes
                self._light_lanes.discard(me)
                while not self._calls_for_a_lane() and not self._closed:
                    self._coalescer.release()
                    self._idle += 1
                    self._changed.wait()
                    self._idle -= 1
                if not self._total():
                    self._coalescer.release()
                    return None
                key, entries = self._form()
                self._taken[key] += 1
                if self._light(key):
                    self._light_lanes.add(me)
                elif was_light and self._total():
                    self._changed.notify()  # of what waited for this lane no other was told
            now = self._clock()
            live = [entry for entry in entries if _starts(entry, now)]
            if live:
                return Batch(key, live, now, self._ended)
            self._ended(key)

    def leave(self) -> None:
        """A lane takes nothing more, though the batcher is not closed: nothing waits for it, nor do its answers."""
        with self._lock:
            self._light_lanes.discard(threading.get_ident())
            self._changed.notify()
        self._coalescer.release()

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
            self._left.notify_all()
        for entry in entries:
            if entry.future.set_running_or_notify_cancel():
                entry.fail(Draining("The service shut down before this request was started. Send it again."))
        return len(entries)

    def succeed(self, new: K, old: K) -> None:
        """Answer items of both in order of arrival until `old` is forgotten, and as one key beside others."""
        with self._lock:
            for queue in self._queues.values():
                queue.succeed(new, old)

    def wait_until_free(self, key: K) -> None:
        """Return once nothing of a key that nobody asks for any more waits or is in a lane, and forget the key.

        A caller that has gone leaves its item where a lane has it already.
        """
        with self._lock:
            while key in self._taken or any(queue.waiting(key) for queue in self._queues.values()):
                self._left.wait()
            for queue in self._queues.values():
                queue.forget(key)

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

    def idle_lanes(self, key: K) -> int:
        """Lanes that would start on such an item at once; none while light ones wait for their one lane."""
        return 0 if self._light_lanes and self._total() and self._light(key) else self._idle

    def relieve(self, seconds: float) -> None:
        """Let another lane take what has waited so long for the one that is on light items: it may be stuck."""
        if self._light_lanes and self.oldest_age() > seconds:
            with self._lock:
                self._light_lanes.clear()
                self._changed.notify()

    def oldest_age(self) -> float:
        """Seconds that the longest-waiting item has waited; 0 where none waits."""
        with self._lock:
            heads = [head for queue in self._queues.values() if (head := queue.oldest())]
            return max((self._clock() - head.enqueued_at for head in heads), default=0.0)

    def _calls_for_a_lane(self) -> bool:
        """Whether something waits that no lane on light items will take as soon as it is free."""
        if not self._light_lanes:
            return self._total() > 0
        return not all(self._light(key) for queue in self._queues.values() for key in queue.waiting_keys())

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

    def _next_turn(self, people: FairQueue[K, T, R], bulk: FairQueue[K, T, R]) -> tuple[K, int]:
        """Which key, and how many of its bulk items go before people."""
        bulk_key, key = bulk.next_key(), people.next_key()
        if bulk_key is not None:
            due = int(self._bulk_credit / self._cost(bulk_key) + _ROUNDING)
            if key is None or due > 0:
                bulk.begin_turn()
                return bulk_key, max(0, due)
        assert key is not None
        people.begin_turn()
        return key, 0

    def _fair_size(self, key: K) -> int:
        """Split what waits among the lanes that are free now: no lane idles beside another's full batch."""
        waiting = sum(queue.waiting(key) for queue in self._queues.values())
        lanes = 1 if self._light(key) else self._idle + 1
        return max(1, min(key.max_batch_size, -(-waiting // lanes)))

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

    def _forget(self, entry: Entry[K, T, R] | None) -> None:
        if entry is not None:
            with self._lock:
                self._queues[entry.priority].discard(entry)
                self._left.notify_all()

    def _ended(self, key: K) -> None:
        with self._lock:
            self._taken[key] -= 1
            if not self._taken[key]:
                del self._taken[key]
                self._left.notify_all()


def _starts(entry: Entry[K, T, R], now: float) -> bool:
    """Whether the waiter is still there and in time; one who is too late is answered here."""
    if not entry.future.set_running_or_notify_cancel():
        return False
    if entry.deadline is not None and now >= entry.deadline.at:
        entry.fail(DeadlineExceeded("The deadline passed while the picture waited for a free lane."))
        return False
    return True
