"""What the comparison of engines found, and what it recommends."""

from dataclasses import dataclass

from app.bench.machine import Machine
from app.bench.measurements import Spread

AIM_SECONDS, START_SECONDS, POLLING_SECONDS, SYNC_SECONDS = 60.0, 15.0, 10.0, 15.0
"""For the recommended messageCount: how old a message may grow, how long a replica takes to come, how often KEDA and
the autoscaler look. See docs/upgrades.md."""


@dataclass(frozen=True, slots=True)
class Point:
    """One engine in one precision at one batch size, over all rounds. Rates are pictures a second."""

    engine: str
    precision: str
    device: str
    batch: int
    whole: Spread
    network: Spread
    to_base: Spread
    alone_ms: Spread
    memory_mb: float


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to set on this machine, and the rate (pictures a second) it was chosen for."""

    engine: str
    precision: str
    lanes: int
    max_batch: int
    message_count: int
    per_second: float

    @property
    def lines(self) -> list[str]:
        """In words."""
        return [
            f"recommended: ROO_ENGINE={self.engine} ROO_PRECISION={self.precision} ROO_LANES={self.lanes}, batches of "
            f"at most {self.max_batch} (`batching` in model.yaml): {self.per_second:.0f} pictures a second",
            f"messageCount: at most {self.message_count}, for results no older than {AIM_SECONDS:.0f} s where a "
            f"replica starts in {START_SECONDS:.0f} s, KEDA looks every {POLLING_SECONDS:.0f} s and the autoscaler "
            f"every {SYNC_SECONDS:.0f} s",
        ]


@dataclass(frozen=True, slots=True)
class SweepResults:
    """Everything that was found; `absent` says of each engine that was left out why."""

    machine: Machine
    model: str
    rounds: int
    points: list[Point]
    absent: list[str]

    @property
    def recommendation(self) -> Recommendation:
        """The fastest whole way among the precisions that were measured."""
        best = max(self.points, key=lambda point: point.whole.median)
        rate = best.whole.median
        count = max(1, int(rate * (AIM_SECONDS - START_SECONDS - POLLING_SECONDS - SYNC_SECONDS)))
        return Recommendation(best.engine, best.precision, self.machine.cores, best.batch, count, rate)
