"""The metrics as OpenTelemetry's exporters take them, and the thread that hands them over.

The SDK's own reader belongs to a `MeterProvider`, which would want to count by itself; see `instruments` for why the
values are counted here. Its exporters and its data model are used as they are.
"""

import logging
import threading
import time
from collections.abc import Iterable
from typing import Any, TypeVar, cast

from opentelemetry.sdk.metrics import Exemplar as SdkExemplar
from opentelemetry.sdk.metrics import export as sdk
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from app.telemetry.instruments import Distribution, Exemplar, Histogram, Instrument, Labels, Number, Scalar

log = logging.getLogger(__name__)

P = TypeVar("P", Number, Distribution)

_SCOPE = InstrumentationScope("roo_vision")


class MetricExport:
    """Exports `instruments` every `interval` seconds, and once more at the end.

    With `delta` each export tells of the time since the one before; else of all since the start.
    """

    def __init__(
        self,
        instruments: Iterable[Instrument],
        exporter: sdk.MetricExporter,
        resource: Resource,
        interval: float,
        *,
        delta: bool,
    ) -> None:
        self._instruments = list(instruments)
        self._exporter = exporter
        self._resource = resource
        self._interval = interval
        self._delta = delta
        self._since = time.time_ns()
        self._temporality = sdk.AggregationTemporality.DELTA if delta else sdk.AggregationTemporality.CUMULATIVE
        self._told: dict[tuple[str, Labels], Number | Distribution] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metric-export", daemon=True)
        self._thread.start()

    def shutdown(self) -> None:
        """Export what there is, and end; takes as long as the collector does."""
        self._ending.set()
        self._thread.join()
        self._exporter.shutdown()

    def _run(self) -> None:
        while not self._ending.wait(self._interval):
            self._export()
        self._export()

    def _export(self) -> None:
        try:
            self._exporter.export(self._collected())
        except Exception:  # exporters raise what they like; the next interval tries again
            log.warning("could not export metrics", exc_info=True)

    def _collected(self) -> sdk.MetricsData:
        now = time.time_ns()
        metrics = [metric for instrument in self._instruments if (metric := self._metric(instrument, now))]
        if self._delta:
            self._since = now
        scope = sdk.ScopeMetrics(_SCOPE, metrics, "")
        return sdk.MetricsData([sdk.ResourceMetrics(self._resource, [scope], "")])

    def _metric(self, instrument: Instrument, now: int) -> sdk.Metric | None:
        match instrument:
            case Histogram():
                data: sdk.Histogram | sdk.Sum | sdk.Gauge = self._histogram(instrument, now)
            case Scalar(kind="counter"):
                data = self._sum(instrument, now)
            case Scalar():
                data = sdk.Gauge([_number(instrument, point, now, now) for point in instrument.read()])
            case _:
                return None
        return sdk.Metric(instrument.name, instrument.description, instrument.unit, data) if data.data_points else None

    def _sum(self, instrument: Scalar, now: int) -> sdk.Sum:
        points = []
        for point in instrument.read():
            known = self._known(instrument, point)
            fresh = point if known is None else Number(point.labels, point.value - known.value)
            points.append(_number(instrument, fresh, self._since, now))
        return sdk.Sum(points, self._temporality, is_monotonic=True)

    def _histogram(self, instrument: Histogram, now: int) -> sdk.Histogram:
        points = []
        for point in instrument.read():
            known = self._known(instrument, point)
            fresh = point if known is None else _since(point, known)
            points.append(_distribution(instrument, fresh, self._since, now))
        return sdk.Histogram(points, self._temporality)

    def _known(self, instrument: Instrument, point: P) -> P | None:
        """What was told of this series before, where only the difference shall be; `point` is what is told now."""
        if not self._delta:
            return None
        key = (instrument.name, point.labels)
        known: Any = self._told.get(key)
        self._told[key] = point
        return cast(P | None, known)


def _since(point: Distribution, known: Distribution) -> Distribution:
    counts = tuple(new - old for new, old in zip(point.counts, known.counts, strict=True))
    exemplars = tuple(
        new if new is not old else None for new, old in zip(point.exemplars, known.exemplars, strict=True)
    )
    return Distribution(point.labels, counts, point.total - known.total, exemplars)


def _number(instrument: Instrument, point: Number, since: int, now: int) -> sdk.NumberDataPoint:
    return sdk.NumberDataPoint(_attributes(instrument, point.labels), since, now, float(point.value))


def _distribution(instrument: Histogram, point: Distribution, since: int, now: int) -> sdk.HistogramDataPoint:
    return sdk.HistogramDataPoint(
        attributes=_attributes(instrument, point.labels),
        start_time_unix_nano=since,
        time_unix_nano=now,
        count=sum(point.counts),
        sum=point.total,
        bucket_counts=point.counts,
        explicit_bounds=instrument.buckets,
        min=None,  # type: ignore[arg-type]  # not counted, and optional in OTLP
        max=None,  # type: ignore[arg-type]
        exemplars=[_exemplar(exemplar) for exemplar in point.exemplars if exemplar is not None],
    )


def _exemplar(exemplar: Exemplar) -> SdkExemplar:
    trace = exemplar.trace
    return SdkExemplar({}, exemplar.value, int(exemplar.at * 1e9), trace.span_id, trace.trace_id)


def _attributes(instrument: Instrument, labels: Labels) -> dict[str, str | int]:
    """An empty label is none, as for Prometheus."""
    return {name: value for name, value in zip(instrument.names, labels, strict=True) if value != ""}
