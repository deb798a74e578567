"""What one slice of the benchmark gives, and the arithmetic on slices."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Measurement:
    """One contender during one window.

    `pictures` were answered well, `per_second` of them; `window_seconds` of wall clock; `cpu_seconds` were used by the
    contender's process and `generator_cpu_seconds` by the load generator; `first_error` quotes the first failure.
    """

    pictures: int
    per_second: float
    p50_ms: float
    p99_ms: float
    window_seconds: float
    cpu_seconds: float
    generator_cpu_seconds: float = 0.0
    errors: int = 0
    first_error: str | None = None


@dataclass(frozen=True, slots=True)
class Slice:
    """A measurement and its place: `size` is the pictures', as `1280x720`."""

    round: int
    size: str
    concurrency: int
    contender: str
    measured: Measurement


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several rounds and its range."""

    median: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Row:
    """All rounds of one contender on one size at one concurrency.

    `ratios` are its pictures a second to those of each that the service is measured beside, taken within each round.
    """

    size: str
    concurrency: int
    contender: str
    per_second: Spread
    ratios: dict[str, Spread]
    p50_ms: Spread
    p99_ms: Spread
    cpu_ms_per_picture: float
    errors: int


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile, `share` of 0 to 1; NaN where there are no values."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def spread(values: Iterable[float]) -> Spread:
    """Median and range of the values that are numbers; NaN where none is."""
    numbers = [value for value in values if not math.isnan(value)]
    if not numbers:
        return Spread(math.nan, math.nan, math.nan)
    return Spread(statistics.median(numbers), min(numbers), max(numbers))


def select(slices: Iterable[Slice], size: str, concurrency: int, contender: str) -> list[Slice]:
    """The slices of one contender on one size at one concurrency, by round."""
    wanted = (size, concurrency, contender)
    return sorted(
        (item for item in slices if (item.size, item.concurrency, item.contender) == wanted),
        key=lambda item: item.round,
    )


def ratios(above: Sequence[Slice], below: Sequence[Slice]) -> list[float]:
    """Pictures a second of `above` to those of `below`, round by round; rounds that one of them lacks are left out."""
    base = {item.round: item.measured.per_second for item in below}
    return [item.measured.per_second / base[item.round] for item in above if base.get(item.round)]


def latency_to_limit(service: Sequence[Slice], plain: Sequence[Slice], factor: float, extra_ms: float) -> list[float]:
    """The service's p50 over `factor` x the plain loop's p50 + `extra_ms`, round by round; 1 or less is within it."""
    limit = {item.round: factor * item.measured.p50_ms + extra_ms for item in plain}
    return [item.measured.p50_ms / limit[item.round] for item in service if item.round in limit]


def rivals(slices: Iterable[Slice]) -> list[str]:
    """Those that the service was measured beside, in the order in which they first appear."""
    return [name for name in dict.fromkeys(item.contender for item in slices) if name != SERVICE]


def summarise(slices: Sequence[Slice]) -> list[Row]:
    """One row for each size, concurrency and contender; the service comes after what it was measured beside."""
    keys = dict.fromkeys((item.size, item.concurrency) for item in slices)
    order = [*rivals(slices), *([SERVICE] if any(item.contender == SERVICE for item in slices) else [])]
    return [_row(slices, size, concurrency, name) for size, concurrency in sorted(keys, key=_by_area) for name in order]


def cpu_ms(measured: Sequence[Measurement]) -> float:
    """Milliseconds of the contender's CPU a picture; nan where it answered none."""
    pictures = sum(item.pictures for item in measured)
    return 1e3 * sum(item.cpu_seconds for item in measured) / pictures if pictures else math.nan


def _by_area(key: tuple[str, int]) -> tuple[int, int]:
    size, concurrency = key
    return math.prod(int(side) for side in size.split("x")), concurrency


def _row(slices: Sequence[Slice], size: str, concurrency: int, contender: str) -> Row:
    own = select(slices, size, concurrency, contender)
    measured = [item.measured for item in own]
    return Row(
        size=size,
        concurrency=concurrency,
        contender=contender,
        per_second=spread(item.per_second for item in measured),
        ratios={name: spread(ratios(own, select(slices, size, concurrency, name))) for name in rivals(slices)},
        p50_ms=spread(item.p50_ms for item in measured),
        p99_ms=spread(item.p99_ms for item in measured),
        cpu_ms_per_picture=cpu_ms(measured),
        errors=sum(item.errors for item in measured),
    )
