"""The metrics as Prometheus reads them: its text format, or OpenMetrics, which alone has exemplars."""

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as Shown

from app.telemetry.instruments import Exemplar, Histogram, Instrument, Labels, Scalar


class Exposition(Collector):
    """`instruments` and what Prometheus's client tells of the process; `origin` becomes the labels of `target_info`."""

    def __init__(self, instruments: Iterable[Instrument], origin: Mapping[str, str]) -> None:
        self._instruments = list(instruments)
        self._origin = {name.replace(".", "_"): value for name, value in origin.items()}
        self._registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self._registry)
        self._registry.register(self)

    def text(self, accept: str) -> tuple[bytes, str]:
        """All metrics in the format that an `Accept` header asks for, and its media type."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type

    def collect(self) -> Iterable[Metric]:
        """What the client's registry asks for."""
        target = GaugeMetricFamily("target_info", "Where these metrics come from.", labels=list(self._origin))
        target.add_metric(list(self._origin.values()), 1.0)
        yield target
        yield from filter(None, map(_family, self._instruments))

    def describe(self) -> Iterable[Metric]:
        """Nothing: the registry need not read everything to be told of names that are declared once anyway."""
        return ()


def _family(instrument: Instrument) -> Metric | None:
    """The instrument's series; None before there are any."""
    match instrument:
        case Histogram():
            family: Metric = _histogram(instrument)
        case Scalar():
            family = _scalar(instrument)
    return family if family.samples else None


def _scalar(instrument: Scalar) -> Metric:
    kind = CounterMetricFamily if instrument.kind == "counter" else GaugeMetricFamily
    family = kind(instrument.family, instrument.description, labels=instrument.labels)
    for point in instrument.read():
        family.add_metric(_texts(point.labels), point.value)
    return family


def _histogram(instrument: Histogram) -> Metric:
    family = HistogramMetricFamily(instrument.family, instrument.description, labels=instrument.labels)
    bounds = [*map(str, instrument.buckets), "+Inf"]
    for point in instrument.read():
        counts, exemplars = itertools.accumulate(point.counts), map(_exemplar, point.exemplars)
        buckets: Any = list(zip(bounds, counts, exemplars, strict=True))  # None stands for no exemplar, as in samples
        family.add_metric(_texts(point.labels), buckets, point.total)
    return family


def _exemplar(exemplar: Exemplar | None) -> Shown | None:
    if exemplar is None:
        return None
    trace = exemplar.trace
    ids = {"trace_id": f"{trace.trace_id:032x}", "span_id": f"{trace.span_id:016x}"}
    return Shown(ids, exemplar.value, exemplar.at)


def _texts(labels: Labels) -> list[str]:
    return [str(label) for label in labels]
