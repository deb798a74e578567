"""Instruments of plain numbers: recorded in a microsecond, read by whoever exports them.

OpenTelemetry's SDK takes five times as long for each value, and more where a model has just evicted its code from the
core's caches; seven values a picture were a third of the event loop's work. So the values are counted here, and what
leaves the process (Prometheus text, OTLP) is made from them when somebody looks. Names, units and label names are
OpenTelemetry's; Prometheus sees them by its own rules.
"""

import logging
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from opentelemetry.trace import SpanContext

log = logging.getLogger(__name__)

MOST_SERIES = 1000
"""Of one instrument. Labels are bounded where they are made; should one not be, it must not fill the memory."""
OTHER = "_other"
"""What every label of a series beyond `MOST_SERIES` says."""

_SUFFIXES = {"s": "_seconds", "By": "_bytes", "1": "_ratio", "Cel": "_celsius", "W": "_watts"}

_recording = True

Labels = tuple[str | int, ...]
"""The values of an instrument's labels, in the order of their declaration; "" is as good as none."""
Kind = Literal["counter", "gauge", "histogram"]
Reading = Iterable[tuple[float, Labels]]


def stop_recording() -> None:
    """Count nothing from now on; what is only observed can still be read."""
    global _recording
    _recording = False


@dataclass(frozen=True, slots=True)
class Exemplar:
    """A value and the trace in which it was measured; `at` is seconds since the epoch."""

    value: float
    trace: SpanContext
    at: float


@dataclass(frozen=True, slots=True)
class Number:
    """What a counter or a gauge stands at."""

    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Distribution:
    """What a histogram holds: how many values fell into each bucket, the last being that above all bounds."""

    labels: Labels
    counts: tuple[int, ...]
    total: float
    exemplars: tuple[Exemplar | None, ...]


class Instrument:
    """What all have in common. `names` are OpenTelemetry's names of the labels."""

    kind: Kind

    def __init__(self, name: str, description: str, *names: str, unit: str = "") -> None:
        self.name = name
        self.description = description
        self.names = names
        self.unit = unit

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels' names for Prometheus."""
        return tuple(name.replace(".", "_") for name in self.names)

    @property
    def family(self) -> str:
        """The name for Prometheus without the `_total` that counters end in."""
        plain, suffix = self.name.replace(".", "_"), _SUFFIXES.get(self.unit, "")
        return plain if plain.endswith(suffix) else plain + suffix

    @property
    def prometheus_name(self) -> str:
        """The name that Prometheus sees and `docs/metrics.md` lists."""
        return f"{self.family}_total" if self.kind == "counter" else self.family


class Scalar(Instrument):
    """An instrument of numbers."""

    def read(self) -> list[Number]:
        """Every series as it stands. May be called from any thread."""
        raise NotImplementedError


class _Numbers(Scalar):
    """Series of one number each."""

    def __init__(self, name: str, description: str, *names: str, unit: str = "") -> None:
        super().__init__(name, description, *names, unit=unit)
        self._lock = threading.Lock()
        self._values: dict[Labels, float] = {}

    def read(self) -> list[Number]:
        """Every series as it stands."""
        with self._lock:
            return [Number(labels, value) for labels, value in self._values.items()]

    def _bounded(self, labels: Labels) -> Labels:
        if labels in self._values or len(self._values) < MOST_SERIES:
            return labels
        return (OTHER,) * len(labels)


class Counter(_Numbers):
    """Only grows. One without labels is there, at 0, before it has counted, so that its first step is seen too."""

    kind = "counter"

    def __init__(self, name: str, description: str, *names: str, unit: str = "") -> None:
        super().__init__(name, description, *names, unit=unit)
        if not names:
            self._values[()] = 0.0

    def add(self, amount: float, labels: Labels = ()) -> None:
        """Count."""
        if not _recording:
            return
        with self._lock:
            labels = self._bounded(labels)
            self._values[labels] = self._values.get(labels, 0.0) + amount


class Gauge(_Numbers):
    """A value that is set when it changes."""

    kind = "gauge"

    def set(self, value: float, labels: Labels = ()) -> None:
        """Note the present value."""
        with self._lock:
            self._values[self._bounded(labels)] = value

    def remove(self, labels: Labels) -> None:
        """Tell no more of what is not there any more."""
        with self._lock:
            self._values.pop(labels, None)


class _Series:
    """One histogram's values for one combination of labels."""

    __slots__ = ("counts", "exemplars", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.total = 0.0
        self.exemplars: list[Exemplar | None] = [None] * buckets


class Histogram(Instrument):
    """Counts values by bucket; `buckets` are their upper bounds, rising, each included."""

    kind = "histogram"

    def __init__(self, name: str, description: str, *names: str, unit: str = "s", buckets: tuple[float, ...]) -> None:
        super().__init__(name, description, *names, unit=unit)
        self.buckets = buckets
        self._lock = threading.Lock()
        self._series: dict[Labels, _Series] = {}

    def record(self, value: float, labels: Labels = (), trace: SpanContext | None = None) -> None:
        """Count a value; `trace` is the sampled trace that it was measured in, if any, and becomes the exemplar."""
        if not _recording:
            return
        series = self._series.get(labels) or self._new(labels)
        bucket = bisect_left(self.buckets, value)
        with self._lock:
            series.counts[bucket] += 1
            series.total += value
            if trace is not None:
                series.exemplars[bucket] = Exemplar(value, trace, time.time())

    def read(self) -> list[Distribution]:
        """Every series as it stands."""
        with self._lock:
            return [
                Distribution(labels, tuple(series.counts), series.total, tuple(series.exemplars))
                for labels, series in self._series.items()
            ]

    def _new(self, labels: Labels) -> _Series:
        with self._lock:
            if labels not in self._series and len(self._series) >= MOST_SERIES:
                labels = (OTHER,) * len(labels)
            return self._series.setdefault(labels, _Series(len(self.buckets) + 1))


class Observed(Scalar):
    """Is read when somebody looks; nothing polls. As a counter it is one that something else keeps."""

    def __init__(self, name: str, description: str, *names: str, unit: str = "", kind: Kind = "gauge") -> None:
        super().__init__(name, description, *names, unit=unit)
        self.kind = kind
        self._read: Callable[[], Reading] | None = None

    def observe(self, read: Callable[[], Reading]) -> None:
        """Read its values from `read` from now on, in whatever thread asks; what `read` raises leaves them out."""
        self._read = read

    def read(self) -> list[Number]:
        """Every series as it stands; none before `observe`."""
        if self._read is None:
            return []
        try:
            return [Number(labels, value) for value, labels in self._read()]
        except Exception:  # one figure that cannot be read must not take all others with it
            log.debug("could not read %s", self.name, exc_info=True)
            return []
