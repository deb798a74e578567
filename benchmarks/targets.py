"""What the service is to reach beside the plain loop and the naive endpoint."""

import math
from collections.abc import Iterator

from app.bench.measurements import SERVICE, Row, Slice, latency_to_limit, select, spread, summarise
from app.bench.results import Results, Target, in_range
from benchmarks.rivals import NAIVE, PLAIN

LEAST_OF_PLAIN, LEAST_OF_NAIVE = 0.95, 1.3
LATENCY_FACTOR, LATENCY_EXTRA_MS = 1.10, 2.0
BUSY_CONCURRENCY = 32
UNMEASURED = spread([])


def of_comparison(results: Results) -> list[Target]:
    """Throughput and latency, with what was found."""
    return [*_throughput(results.slices), *_latency(results.slices)]


def _throughput(slices: list[Slice]) -> Iterator[Target]:
    for row in _service_rows(slices):
        if row.concurrency != BUSY_CONCURRENCY:
            continue
        place = f"{row.size}, concurrency {row.concurrency}"
        for name, least in ((PLAIN, LEAST_OF_PLAIN), (NAIVE, LEAST_OF_NAIVE)):
            ratio = row.ratios.get(name, UNMEASURED)
            met = None if math.isnan(ratio.median) else ratio.median >= least
            yield Target(f"throughput, {place}", f"≥ {least:g} x {name}", in_range(ratio), met)


def _latency(slices: list[Slice]) -> Iterator[Target]:
    for row in _service_rows(slices):
        if row.concurrency != 1:
            continue
        plain, service = select(slices, row.size, 1, PLAIN), select(slices, row.size, 1, SERVICE)
        share = spread(latency_to_limit(service, plain, LATENCY_FACTOR, LATENCY_EXTRA_MS))
        limit = LATENCY_FACTOR * spread(item.measured.p50_ms for item in plain).median + LATENCY_EXTRA_MS
        yield Target(
            f"p50, {row.size}, concurrency 1",
            f"≤ {LATENCY_FACTOR:g} x {PLAIN} + {LATENCY_EXTRA_MS:g} ms = {limit:.1f} ms",
            f"{in_range(row.p50_ms, 1)} ms",
            None if math.isnan(share.median) else share.median <= 1,
        )


def _service_rows(slices: list[Slice]) -> list[Row]:
    return [row for row in summarise(slices) if row.contender == SERVICE]
