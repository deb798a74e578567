"""What the scaler does at a shift change: a simulation of KEDA, the autoscaler behind it, and replicas that take time.

    python -m benchmarks.scaling            the tables of docs/scaling.md, and its plot

The scaler's numbers are read from the manifest, so that what is simulated is what is shipped. Messages are a fluid,
replicas are alike, time goes in quarters of a second.

Sources: how KEDA goes between 0 and 1 (https://keda.sh/docs/latest/concepts/scaling-deployments/), how the autoscaler
computes and bounds a change (https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/).
"""

import math
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
STEP = 0.25
SYNC_SECONDS = 15.0
"""How often the autoscaler looks, its default."""
TOLERANCE = 0.1
"""A change by less than this part is not made, its default."""


@dataclass(frozen=True, slots=True)
class Scaler:
    """What the ScaledObject says."""

    message_count: int
    least: int
    most: int
    polling: float
    cooldown: float
    up_pods: int
    up_percent: float
    up_period: float
    down_window: float
    down_percent: float
    down_period: float


@dataclass(frozen=True, slots=True)
class World:
    """What is not ours to choose: how fast a replica is, how long one takes to start, what arrives."""

    pictures_per_second: float = 60.0
    start_seconds: float = 15.0
    per_minute: float = 800.0
    spike_seconds: float = 600.0
    burst: int = 0
    """Messages that are there at once, at the beginning."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One look at it."""

    time: float
    backlog: float
    age: float
    running: int
    paid: int


def shipped() -> Scaler:
    """The scaler of k8s/components/keda."""
    spec: dict[str, Any] = yaml.safe_load((ROOT / "k8s/components/keda/scaledobject.yaml").read_text())["spec"]
    behaviour = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    up = {policy["type"]: policy for policy in behaviour["scaleUp"]["policies"]}
    (down,) = behaviour["scaleDown"]["policies"]
    (trigger,) = spec["triggers"]
    return Scaler(
        message_count=int(trigger["metadata"]["messageCount"]),
        least=spec["minReplicaCount"],
        most=spec["maxReplicaCount"],
        polling=spec["pollingInterval"],
        cooldown=spec["cooldownPeriod"],
        up_pods=up["Pods"]["value"],
        up_percent=up["Percent"]["value"],
        up_period=up["Pods"]["periodSeconds"],
        down_window=behaviour["scaleDown"]["stabilizationWindowSeconds"],
        down_percent=down["value"],
        down_period=down["periodSeconds"],
    )


class Replicas:
    """Those that run, those that start, and the decisions about how many there should be."""

    def __init__(self, scaler: Scaler, start_seconds: float) -> None:
        self._scaler = scaler
        self._start_seconds = start_seconds
        self._starts: deque[float] = deque()
        self._wishes: deque[tuple[float, int]] = deque()
        self._changes: deque[tuple[float, int]] = deque()
        self._idle_since: float | None = None
        self.running = scaler.least

    @property
    def wanted(self) -> int:
        """Running and starting: what is paid for."""
        return self.running + len(self._starts)

    def start(self, time: float) -> None:
        """Those whose start is over run."""
        while self._starts and self._starts[0] <= time:
            self._starts.popleft()
            self.running += 1

    def poll(self, time: float, backlog: float) -> None:
        """KEDA: the first replica where there is a message, none where there was none for the cooldown."""
        if backlog > 0:
            self._idle_since = None
            if self.wanted == 0:
                self._set(time, 1)
        elif self._idle_since is None:
            self._idle_since = time
        elif time - self._idle_since >= self._scaler.cooldown:
            self._set(time, self._scaler.least)

    def sync(self, time: float, backlog: float) -> None:
        """The autoscaler, which works from one replica on."""
        if self.wanted == 0:
            return
        wish = self._wish(backlog)
        self._wishes.append((time, wish))
        while self._wishes[0][0] < time - self._scaler.down_window:
            self._wishes.popleft()
        highest = max(wish for _, wish in self._wishes)
        if wish > self.wanted:
            self._set(time, min(wish, self._ceiling(time)))
        elif highest < self.wanted:
            self._set(time, max(highest, self._floor(time)))

    def _wish(self, backlog: float) -> int:
        ratio = backlog / self._scaler.message_count / self.wanted
        if abs(ratio - 1) <= TOLERANCE:
            return self.wanted
        return min(self._scaler.most, max(1, math.ceil(backlog / self._scaler.message_count)))

    def _ceiling(self, time: float) -> int:
        at_start = self.wanted - self._recent(time, self._scaler.up_period, +1)
        share = math.ceil(at_start * (1 + self._scaler.up_percent / 100))
        return max(self.wanted, at_start + self._scaler.up_pods, share)

    def _floor(self, time: float) -> int:
        at_start = self.wanted + self._recent(time, self._scaler.down_period, -1)
        return max(1, min(self.wanted, int(at_start * (1 - self._scaler.down_percent / 100))))

    def _recent(self, time: float, period: float, sign: int) -> int:
        return sum(abs(by) for at, by in self._changes if at > time - period and by * sign > 0)

    def _set(self, time: float, wanted: int) -> None:
        by = wanted - self.wanted
        if not by:
            return
        self._changes.append((time, by))
        for _ in range(by):
            self._starts.append(time + self._start_seconds)
        for _ in range(-by):
            if self._starts:
                self._starts.pop()
            else:
                self.running -= 1


def simulate(scaler: Scaler, world: World, seconds: float = 1200.0) -> list[Moment]:
    """The spike at time 0, seen at every step; replicas that are taken away finish what they hold."""
    replicas = Replicas(scaler, world.start_seconds)
    arrived = float(world.burst)
    done = 0.0
    arrivals: deque[tuple[float, float]] = deque([(0.0, arrived)])
    moments: list[Moment] = []
    for step in range(int(seconds / STEP)):
        time = step * STEP
        if time < world.spike_seconds:
            arrived += world.per_minute / 60 * STEP
            arrivals.append((time, arrived))
        replicas.start(time)
        if _due(time, scaler.polling):
            replicas.poll(time, arrived - done)
        if _due(time, SYNC_SECONDS):
            replicas.sync(time, arrived - done)
        done = min(arrived, done + replicas.running * world.pictures_per_second * STEP)
        while len(arrivals) > 1 and arrivals[0][1] <= done:
            arrivals.popleft()
        age = time - arrivals[0][0] if arrived - done > 1e-6 else 0.0
        moments.append(Moment(time, arrived - done, age, replicas.running, replicas.wanted))
    return moments


def _due(time: float, period: float) -> bool:
    # The worst case: the first look is a whole period after the spike has begun.
    return time > 0 and time % period < STEP / 2


SPIKES = {
    "800 at once": World(per_minute=0, burst=800),
    "800 a minute": World(),
    "8,000 a minute": World(per_minute=8_000),
    "80,000 a minute": World(per_minute=80_000),
}
COUNTS = (5, 50, 150, 300, 600, 1500, 3000)


def spike_rows(scaler: Scaler) -> Iterator[tuple[str, ...]]:
    """Each spike with fast and slow replicas and with nodes that must come first."""
    yield "spike", "pictures/s a replica", "start, s", "oldest, s", "most replicas", "replica minutes"
    for name, world in SPIKES.items():
        for rate, start in ((150, 15), (60, 15), (26, 15), (60, 180)):
            moments = simulate(scaler, replace(world, pictures_per_second=rate, start_seconds=start))
            yield name, str(rate), str(start), *_summary(moments)


def count_rows(scaler: Scaler) -> Iterator[tuple[str, ...]]:
    """Other message counts, where it matters: a burst, fast and very slow replicas."""
    yield "messageCount", "800 at once: oldest, s", "most replicas", "same, 10/s: oldest, s", "most replicas"
    for count in sorted({*COUNTS, scaler.message_count}):
        row = [f"**{count}**" if count == scaler.message_count else str(count)]
        for rate in (60, 10):
            world = replace(SPIKES["800 at once"], pictures_per_second=rate)
            row += _summary(simulate(replace(scaler, message_count=count), world))[:2]
        yield tuple(row)


def _summary(moments: list[Moment]) -> tuple[str, str, str]:
    oldest = max(moment.age for moment in moments)
    paid = sum(moment.paid for moment in moments) * STEP / 60
    return f"{oldest:.0f}", str(max(moment.paid for moment in moments)), f"{paid:.0f}"


def table(rows: Iterator[tuple[str, ...]]) -> str:
    """Rows as a Markdown table, the first one its head."""
    head, *body = rows
    lines = [head, ("---",) * len(head), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def plot(scaler: Scaler, path: Path) -> None:
    """Backlog, replicas and age over time for each spike."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(3, len(SPIKES), figsize=(13, 6.5), sharex=True, constrained_layout=True)
    for column, (name, world) in enumerate(SPIKES.items()):
        moments = simulate(scaler, world)
        times = [moment.time / 60 for moment in moments]
        backlog, age, count = axes[0][column], axes[1][column], axes[2][column]
        backlog.plot(times, [moment.backlog for moment in moments], color="#c44e52")
        backlog.set_title(name)
        age.plot(times, [moment.age for moment in moments], color="#dd8452")
        age.axhline(60, color="grey", linewidth=0.8, linestyle=":")
        count.step(times, [moment.paid for moment in moments], color="#8da0cb", label="running or starting")
        count.step(times, [moment.running for moment in moments], color="#2f5597", label="running")
        count.set_xlabel("minutes")
    for row, label in enumerate(("messages waiting", "oldest, seconds", "replicas")):
        axes[row][0].set_ylabel(label)
    axes[2][-1].legend(fontsize=8)
    figure.savefig(path, dpi=80, metadata={"Software": None})


def main() -> None:
    """Print the tables and draw the plot."""
    scaler = shipped()
    sys.stdout.write(f"{table(spike_rows(scaler))}\n{table(count_rows(scaler))}")
    if find_spec("matplotlib") is None:
        sys.exit("No plot, which needs matplotlib: pip install 'roo-vision[bench]'.")
    plot(scaler, ROOT / "docs" / "images" / "scaling.png")


if __name__ == "__main__":
    main()
