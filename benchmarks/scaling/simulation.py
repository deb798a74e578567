"""A spike, seen second by second: messages are a fluid, replicas are alike, time goes in quarters of a second."""

from collections import deque
from dataclasses import dataclass

from benchmarks.scaling.rules import SYNC_SECONDS, Activation, Autoscaler, Scaler
from benchmarks.scaling.world import CREDITS_PER_SECOND, Bus, Nodes

STEP = 0.25


@dataclass(frozen=True, slots=True)
class Place:
    """Where it runs: its scaler, how long a replica takes to start, and what there is room for.

    Where `sees_polls` the scaler knows of the queue what the last poll said, in place of asking anew.
    """

    name: str
    scaler: Scaler
    start_seconds: float = 15.0
    room: int = 1_000
    node_seconds: float = 180.0
    sees_polls: bool = False
    credits_per_second: float = CREDITS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Spike:
    """What arrives, and how fast a replica is."""

    per_minute: float = 800.0
    seconds: float = 600.0
    burst: int = 0
    """Messages that are there at once, at the beginning."""
    pictures_per_second: float = 60.0


@dataclass(frozen=True, slots=True)
class Moment:
    """One look at it. `refused` wait with their senders, since the bus does not take them."""

    time: float
    backlog: float
    refused: float
    age: float
    running: int
    paid: int


class Replicas:
    """Those that run, and those that start, some of them on nodes that are not there yet."""

    def __init__(self, place: Place) -> None:
        self._start_seconds = place.start_seconds
        self._nodes = Nodes(place.room, node_seconds=place.node_seconds)
        self._starts: list[tuple[float, float]] = []
        self.running = 0
        self.set(0.0, place.scaler.least)

    @property
    def wanted(self) -> int:
        """Running, starting and waiting for a node."""
        return self.running + len(self._starts)

    def start(self, time: float) -> None:
        """Those whose start is over run."""
        self.running += sum(ready <= time for ready, _ in self._starts)
        self._starts = [(ready, place) for ready, place in self._starts if ready > time]

    def set(self, time: float, wanted: int) -> None:
        """Call more, or take some away: those that have not started yet first."""
        for _ in range(wanted - self.wanted):
            place = self._nodes.take(time)
            self._starts.append((place + self._start_seconds, place))
        for _ in range(self.wanted - wanted):
            if self._starts:
                self._nodes.give_back(self._starts.pop()[1])
            else:
                self.running -= 1
                self._nodes.give_back(time)


class _Clock:
    """Whether it is time to look, the first time at `first`."""

    def __init__(self, first: float, period: float) -> None:
        self._next, self._period = first, period

    def due(self, time: float) -> bool:
        if time < self._next:
            return False
        self._next += self._period
        return True


def simulate(place: Place, spike: Spike, sync_after: float = 0.0, seconds: float = 1200.0) -> list[Moment]:
    """The spike at time 0, seen at every step; replicas that are taken away finish what they hold.

    The worst poll there is: KEDA looked just before it began. `sync_after` is how much later than KEDA, in seconds, the
    autoscaler looks.
    """
    polls = _Clock(place.scaler.polling, place.scaler.polling)
    syncs = _Clock((place.scaler.polling + sync_after) % SYNC_SECONDS or SYNC_SECONDS, SYNC_SECONDS)
    activation, autoscaler = Activation(place.scaler), Autoscaler(place.scaler)
    replicas, bus = Replicas(place), Bus(place.credits_per_second)
    offered = sent = float(spike.burst)
    done = seen = 0.0
    arrivals: deque[tuple[float, float]] = deque([(0.0, offered)])
    moments: list[Moment] = []
    for step in range(int(seconds / STEP)):
        time = step * STEP
        if time < spike.seconds and spike.per_minute:
            offered += spike.per_minute / 60 * STEP
            arrivals.append((time, offered))
        replicas.start(time)
        if polls.due(time):
            seen = sent - done
            replicas.set(time, activation.decide(time, seen, replicas.wanted))
        if syncs.due(time):
            messages = seen if place.sees_polls else sent - done
            replicas.set(time, autoscaler.decide(time, messages, replicas.wanted))
        able = min(sent - done, replicas.running * spike.pictures_per_second * STEP)
        more, answered = bus.pass_on(STEP, offered - sent, able)
        sent += more
        done += answered
        while len(arrivals) > 1 and arrivals[0][1] <= done:
            arrivals.popleft()
        age = time - arrivals[0][0] if offered - done > 1e-6 else 0.0
        moments.append(Moment(time, sent - done, offered - sent, age, replicas.running, replicas.wanted))
    return moments


PHASES = (0.0, 5.0, 10.0, 14.75)
"""How much later than KEDA the autoscaler may look, seconds. It and KEDA know nothing of each other."""


def worst(place: Place, spike: Spike, seconds: float = 1200.0) -> list[Moment]:
    """The phase in which a message grows oldest."""
    return max((simulate(place, spike, phase, seconds) for phase in PHASES), key=oldest)


def oldest(moments: list[Moment]) -> float:
    """The greatest age of a message, seconds."""
    return max(moment.age for moment in moments)


def most(moments: list[Moment]) -> int:
    """The most replicas, running, starting or pending."""
    return max(moment.paid for moment in moments)


def replica_minutes(moments: list[Moment]) -> float:
    """What is paid for."""
    return sum(moment.paid for moment in moments) * STEP / 60
