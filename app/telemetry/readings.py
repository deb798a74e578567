"""All metrics of one moment, and what happened between two of them; from the instruments or from Prometheus text."""

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from app.telemetry.instruments import Histogram, Instrument, Scalar

Labels = frozenset[tuple[str, str]]
Series = dict[Labels, float]


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that was said at the moment `at` (`time.monotonic`'s, in seconds)."""

    at: float
    series: Mapping[str, Series]

    def values(self, name: str, **wanted: str) -> list[float]:
        """Values of all series of that name with those labels."""
        return [value for labels, value in self.series.get(name, {}).items() if wanted.items() <= dict(labels).items()]

    def total(self, name: str, **wanted: str) -> float | None:
        """Their sum; None where there are none."""
        values = self.values(name, **wanted)
        return sum(values) if values else None

    def label(self, name: str, label: str) -> str:
        """What a label of that name's series says; "" where there are none."""
        return ", ".join(sorted({dict(labels).get(label, "") for labels in self.series.get(name, {})}))


@dataclass(frozen=True, slots=True)
class Interval:
    """What happened between two readings; with no reading before, since the service's start."""

    now: Reading
    before: Reading | None = None

    def growth(self, name: str, **wanted: str) -> Series:
        """How much each counter grew. One that fell was started anew at 0, so that all it shows is growth."""
        grown: Series = {}
        for labels, value in self.now.series.get(name, {}).items():
            if wanted.items() <= dict(labels).items():
                earlier = self.before.series.get(name, {}).get(labels, 0.0) if self.before else 0.0
                grown[labels] = value - earlier if value >= earlier else value
        return grown

    def rate(self, name: str, **wanted: str) -> float | None:
        """Growth a second; None without a reading before."""
        if self.before is None or self.now.at <= self.before.at:
            return None
        return sum(self.growth(name, **wanted).values()) / (self.now.at - self.before.at)

    def mean(self, name: str) -> float | None:
        """Mean of a histogram's new values; None where there are none."""
        count = sum(self.growth(f"{name}_count").values())
        return sum(self.growth(f"{name}_sum").values()) / count if count else None

    def quantile(self, share: float, name: str, **wanted: str) -> float | None:
        """Estimate a quantile of a histogram's new values, linear inside a bucket as Prometheus does."""
        buckets: dict[float, float] = defaultdict(float)
        for labels, value in self.growth(f"{name}_bucket", **wanted).items():
            buckets[float(dict(labels)["le"])] += value
        return quantile(share, sorted(buckets.items()))


def quantile(share: float, buckets: list[tuple[float, float]]) -> float | None:
    """A quantile from rising `(upper bound, cumulative count)`; None where nothing was counted.

    What lies above the last finite bound is said to be that bound, the least that it can be.
    """
    if not buckets or not buckets[-1][1]:
        return None
    rank = share * buckets[-1][1]
    lower, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= rank and count > below:
            return lower if math.isinf(bound) else lower + (bound - lower) * (rank - below) / (count - below)
        if not math.isinf(bound):
            lower = bound
        below = count
    return lower


def read(instruments: Iterable[Instrument], at: float) -> Reading:
    """What instruments of this process say, under the names that Prometheus sees."""
    series: dict[str, Series] = defaultdict(dict)
    for instrument in instruments:
        if isinstance(instrument, Histogram):
            _read_histogram(instrument, series)
        elif isinstance(instrument, Scalar):
            for point in instrument.read():
                series[instrument.prometheus_name][_labels(instrument, point.labels)] = point.value
    return Reading(at, series)


def _read_histogram(instrument: Histogram, series: dict[str, Series]) -> None:
    bounds = [*map(str, instrument.buckets), "+Inf"]
    for point in instrument.read():
        labels, count = _labels(instrument, point.labels), sum(point.counts)
        for bound, below in zip(bounds, itertools.accumulate(point.counts), strict=True):
            series[f"{instrument.family}_bucket"][labels | {("le", bound)}] = below
        series[f"{instrument.family}_count"][labels] = count
        series[f"{instrument.family}_sum"][labels] = point.total


def _labels(instrument: Instrument, values: tuple[str | int, ...]) -> Labels:
    return frozenset(zip(instrument.labels, map(str, values), strict=True))
