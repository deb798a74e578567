"""Everything that one run found, and which targets it met."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from app.bench.machine import Machine
from app.bench.measurements import (
    NAIVE,
    PLAIN,
    SERVICE,
    Row,
    Slice,
    Spread,
    latency_to_limit,
    select,
    spread,
    summarise,
)
from app.bench.soak import MOST_GROWTH, Soak

LEAST_OF_PLAIN, LEAST_OF_NAIVE = 0.95, 1.3
LATENCY_FACTOR, LATENCY_EXTRA_MS = 1.10, 2.0
MOST_START_SECONDS, MOST_READY_MB, MOST_IDLE = 2.0, 300.0, 0.01
BUSY_CONCURRENCY = 32


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in MB (10^6 bytes): once ready, after all slices, and the most in between."""

    ready_mb: float
    after_mb: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Results:
    """One run. `starts` are seconds from process start to ready; `idle` is CPU seconds a second without requests."""

    machine: Machine
    model: str
    settings: dict[str, Any]
    plan: dict[str, Any]
    pictures: list[str]
    slices: list[Slice]
    starts: list[float]
    memory: dict[str, Memory]
    idle: float
    soak: Soak | None

    @property
    def errors(self) -> list[str]:
        """The first failed answer of each slice (and of the soak) that had any, with its place."""
        found = [
            f"{item.contender}, {item.size}, concurrency {item.concurrency}, round {item.round}: "
            f"{item.measured.errors} errors, the first: {item.measured.first_error}"
            for item in self.slices
            if item.measured.errors
        ]
        if self.soak is not None and self.soak.errors:
            found.append(f"soak: {self.soak.errors} errors, the first: {self.soak.first_error}")
        return found

    @property
    def generator_share(self) -> float:
        """The most of one core that the load generator took during a slice."""
        shares = [item.measured.generator_cpu_seconds / item.measured.window_seconds for item in self.slices]
        return max(shares, default=math.nan)

    @property
    def generator_ms_per_picture(self) -> float:
        """CPU milliseconds of the load generator for one answered picture."""
        served = [item.measured for item in self.slices if item.measured.generator_cpu_seconds]
        pictures = sum(item.pictures for item in served)
        return 1e3 * sum(item.generator_cpu_seconds for item in served) / pictures if pictures else math.nan

    def to_json(self) -> dict[str, Any]:
        """Everything, raw slices included, as JSON has it."""
        everything = {
            **asdict(self),
            "summary": [asdict(row) for row in summarise(self.slices)],
            "targets": [asdict(target) for target in targets(self)],
            "errors": self.errors,
        }
        return {key: _as_json(value) for key, value in everything.items()}


@dataclass(frozen=True, slots=True)
class Target:
    """Something that the service is to reach. `met` is None where this run cannot tell."""

    what: str
    wanted: str
    found: str
    met: bool | None


def targets(results: Results) -> list[Target]:
    """Every target, with what was found."""
    found = [*_throughput(results.slices), *_latency(results.slices)]
    starts = spread(results.starts)
    found.append(
        Target(
            "start to ready",
            f"≤ {MOST_START_SECONDS:g} s",
            f"{in_range(starts)} s",
            starts.median <= MOST_START_SECONDS,
        )
    )
    ready = results.memory[SERVICE].ready_mb
    found.append(
        Target("resident memory when ready", f"≤ {MOST_READY_MB:.0f} MB", f"{ready:.0f} MB", ready <= MOST_READY_MB)
    )
    found.append(Target("CPU without requests", "≈ 0", f"{results.idle:.2%} of a core", results.idle <= MOST_IDLE))
    if results.soak is not None:
        soak = results.soak
        text = f"{soak.first_quarter_mb:.0f} → {soak.last_quarter_mb:.0f} MB ({soak.growth - 1:+.1%})"
        what = f"memory over {soak.requests:,} mixed requests"
        found.append(Target(what, f"growth ≤ {MOST_GROWTH - 1:.0%}", text, soak.growth <= MOST_GROWTH))
    return found


def number(value: float, digits: int = 1) -> str:
    """A number with so many digits behind the point; a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def in_range(value: Spread, digits: int = 2) -> str:
    """A median with its range, such as `1.02 (0.98-1.05)`; a dash where there is none."""
    if math.isnan(value.median):
        return "-"
    return f"{value.median:.{digits}f} ({value.low:.{digits}f}-{value.high:.{digits}f})"


def _throughput(slices: list[Slice]) -> Iterator[Target]:
    for row in _service_rows(slices):
        if row.concurrency != BUSY_CONCURRENCY:
            continue
        place = f"{row.size}, concurrency {row.concurrency}"
        for name, ratio, least in ((PLAIN, row.to_plain, LEAST_OF_PLAIN), (NAIVE, row.to_naive, LEAST_OF_NAIVE)):
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


def _as_json(value: Any) -> Any:
    """JSON knows no NaN: null says the same."""
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _service_rows(slices: list[Slice]) -> list[Row]:
    return [row for row in summarise(slices) if row.contender == SERVICE]
