"""How much can be taken: the only place that knows how fast each model is here, what waits, and what follows from both.

Speed is lane time a picture, measured at every batch, per model and version. What was measured long ago is believed
less and less while nothing of that model runs: one slow moment must not refuse callers for ever.
"""

import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from app.core.request import Priority

_SMOOTHING = 0.1
"""Weight of the newest batch in a model's running mean."""
_HALF_LIFE = 30.0
"""Seconds of rest after which only half of what a mean lies above the best that was seen is believed."""
STUCK_SECONDS = 120.0
"""A lane longer than this on one batch will not come back."""
LIGHT_SECONDS = 0.0007
"""A picture that takes a lane's core for less is light: what a second lane adds it loses again to the first, with which
it contends for the interpreter (measured on two cores: with pictures of 0.45 ms one lane answers 1.25 times as many as
two do, with 0.65 ms about as many, and from there on fewer).
"""
CONTENDED = 1.25
"""So much more of its core a light picture takes while lanes contend."""
UNKNOWN = 2**31
"""A credit without a bound: nothing has been measured yet."""

K = TypeVar("K", bound=Hashable)


class Waiting(Protocol[K]):
    """What a batcher tells of its queues."""

    bulk_share: float

    def waiting(self) -> int:
        """Items queued for a lane."""

    def waiting_by_key(self, priority: Priority) -> Mapping[K, int]:
        """Items queued for a lane, by what they are for."""


@dataclass(slots=True)
class _Speed:
    """Seconds of a lane for one picture: the running mean, the least of any batch, and when it was last measured; and
    what it takes of the lane's core, where that is measured.
    """

    mean: float
    best: float
    measured_at: float
    bulk_at: float = float("-inf")
    core: float = float("inf")
    light: bool = False

    def learn_core(self, seconds: float) -> None:
        self.core = seconds if self.core == float("inf") else self.core + _SMOOTHING * (seconds - self.core)
        self.light = self.core < (LIGHT_SECONDS if self.light else LIGHT_SECONDS * CONTENDED)

    def now(self, now: float, running: bool) -> float:
        age = 0.0 if running else max(0.0, now - self.measured_at)
        return float(self.best + (self.mean - self.best) * 0.5 ** (age / _HALF_LIFE))


@dataclass(frozen=True, slots=True)
class _Run(Generic[K]):
    """The batch that a lane is on."""

    model: K
    size: int
    since: float


class Capacity(Generic[K]):
    """Measures lanes, and answers what every front asks: how long, how many, when again. Safe for all threads."""

    def __init__(self, batcher: Waiting[K], clock: Callable[[], float] = time.monotonic) -> None:
        self._batcher = batcher
        self._clock = clock
        self._lock = threading.Lock()
        self._speeds: dict[K, _Speed] = {}
        self._running: dict[int, _Run[K]] = {}
        self._in_lanes = 0
        self._slowest = 0.0
        self.lanes = 0
        """How many lanes there are meant to be; none before the start."""
        self.device_failure: str | None = None
        """Why the device is lost, where it is."""

    def begin(self, lane: int, model: K, size: int, bulk: int = 0) -> None:
        """A lane takes a batch of so many pictures, `bulk` of them robots'."""
        now = self._clock()
        with self._lock:
            self._running[lane] = _Run(model, size, now)
            self._in_lanes += size
            if bulk and model in self._speeds:
                self._speeds[model].bulk_at = now

    def end(self, lane: int, computed: int, core_seconds: float | None = None) -> None:
        """The lane is free again; of its batch so many pictures were computed (none: nothing is learned), in so many
        seconds of its core's time, where that is all that they take.
        """
        now = self._clock()
        with self._lock:
            run = self._running.pop(lane, None)
            self._in_lanes -= run.size if run else 0
        if run is not None and computed:
            core = None if core_seconds is None else core_seconds / computed
            self.learn(run.model, (now - run.since) / computed, core)

    def learn(self, model: K, seconds: float, core_seconds: float | None = None) -> None:
        """A picture of this model has taken a lane for so many seconds, and so many of its core's time."""
        now = self._clock()
        with self._lock:
            speed = self._speeds.setdefault(model, _Speed(seconds, seconds, now))
            speed.mean += _SMOOTHING * (seconds - speed.mean)
            speed.best = min(speed.best, seconds)
            speed.measured_at = now
            if core_seconds is not None:
                speed.learn_core(core_seconds)
            self._slowest = max(speed.mean for speed in self._speeds.values())

    def forget(self, model: K) -> None:
        """Keep nothing of a model that is not asked any more."""
        with self._lock:
            self._speeds.pop(model, None)
            self._slowest = max((speed.mean for speed in self._speeds.values()), default=0.0)

    def lose_device(self, reason: str) -> None:
        """The device will compute nothing more until the process is restarted."""
        self.device_failure = reason

    def stuck(self) -> float:
        """The longest time, in seconds, that a lane has been on its present batch; 0 where all are free."""
        now = self._clock()
        with self._lock:
            return max((now - run.since for run in self._running.values()), default=0.0)

    def seconds(self, model: K) -> float:
        """Lane seconds for a picture of this model; 0 where it has not answered yet."""
        with self._lock:
            return self._seconds(model, self._clock())

    def light(self, model: K) -> bool:
        """Whether pictures of this model are so cheap that one lane at a time is faster than several. Takes no lock:
        it is asked for every picture.
        """
        speed = self._speeds.get(model)
        return speed is not None and speed.light

    def measured_at(self, model: K) -> float | None:
        """When this model last answered, on the clock's time; None where it has not yet."""
        with self._lock:
            speed = self._speeds.get(model)
            return None if speed is None else speed.measured_at

    def speeds(self) -> dict[K, float]:
        """Lane seconds for a picture of each model that has answered."""
        now = self._clock()
        with self._lock:
            return {model: self._seconds(model, now) for model in self._speeds}

    def pending(self) -> float:
        """Seconds until everything that waits now is computed, if nothing more came."""
        work = self._work(Priority.INTERACTIVE), self._work(Priority.BULK)
        return sum(sum(each.values()) for each in work) / max(1, self.lanes)

    def may_exceed(self, seconds: float) -> bool:
        """Whether any picture's `wait` could be longer: a bound for those who ask for every picture."""
        return (self._batcher.waiting() + self._in_lanes + 1) * self._slowest > seconds

    def wait(self, model: K, priority: Priority) -> float:
        """Seconds until a picture that arrives now would be answered: people are judged by people's queues.

        Models share the lanes: of another's queue no more goes first than the own queue's worth.
        """
        now, lanes = self._clock(), max(1, self.lanes)
        people, bulk = self._work(Priority.INTERACTIVE), self._work(Priority.BULK)
        own = self.seconds(model)
        if priority is Priority.INTERACTIVE:
            ahead = _fair(people, model, own)
            ahead += min(sum(bulk.values()), ahead * self._batcher.bulk_share / (1 - self._batcher.bulk_share))
        else:
            ahead = sum(people.values()) + _fair(bulk, model, own)
        return self._until_free(now) + ahead / lanes + own

    def credit(self, model: K | None, seconds: float) -> int:
        """How many pictures more of that model the lanes can finish within so many seconds, as bulk.

        None stands for the slowest of the models that bulk has asked lately. 0 where the device is lost or a lane is
        stuck; `UNKNOWN` where no speed is known yet.
        """
        if self.device_failure is not None or self.stuck() > STUCK_SECONDS:
            return 0
        each = self._slowest_of_bulk() if model is None else self.seconds(model)
        if not each:
            return UNKNOWN
        left = max(0.0, seconds - self._until_free(self._clock())) - self.pending()
        lanes = 1 if model is not None and self.light(model) else max(1, self.lanes)
        return max(0, int(left * lanes / each))

    def retry_after(self) -> float:
        """Seconds after which trying again is worth while, at least one."""
        return max(1.0, self.pending())

    def _seconds(self, model: K, now: float) -> float:
        speed = self._speeds.get(model)
        if speed is None:
            return 0.0
        return speed.now(now, any(run.model == model for run in self._running.values()))

    def _slowest_of_bulk(self) -> float:
        now = self._clock()
        with self._lock:
            lately = [model for model, speed in self._speeds.items() if now - speed.bulk_at < _HALF_LIFE]
            return max((self._seconds(model, now) for model in lately or self._speeds), default=0.0)

    def _work(self, priority: Priority) -> dict[K, float]:
        """Lane seconds that wait, by model; of a light one those of all lanes, since only one takes them."""
        waiting = self._batcher.waiting_by_key(priority)
        return {
            model: count * self.seconds(model) * (max(1, self.lanes) if self.light(model) else 1)
            for model, count in waiting.items()
        }

    def _until_free(self, now: float) -> float:
        """Seconds until the first lane is free, by what each is on."""
        with self._lock:
            if len(self._running) < self.lanes or not self._running:
                return 0.0
            return min(
                max(0.0, run.size * self._seconds(run.model, now) - (now - run.since)) for run in self._running.values()
            )


def _fair(work: Mapping[K, float], model: K, own: float) -> float:
    """Lane seconds that go before a picture of `model` where models take turns."""
    mine = work.get(model, 0.0)
    return mine + sum(min(other, mine + own) for key, other in work.items() if key != model)
