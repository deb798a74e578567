"""Everything that one run found."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from app.bench.machine import Machine
from app.bench.measurements import Slice, Spread, summarise
from app.bench.soak import Soak


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in MB (10^6 bytes): once ready, after all slices, and the most in between."""

    ready_mb: float
    after_mb: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Target:
    """Something that the service is to reach. `met` is None where this run cannot tell."""

    what: str
    wanted: str
    found: str
    met: bool | None


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
    notes: list[str] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)

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
            "errors": self.errors,
        }
        return {key: _as_json(value) for key, value in everything.items()}


def number(value: float, digits: int = 1) -> str:
    """A number with so many digits behind the point; a dash where there is none."""
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def in_range(value: Spread, digits: int = 2) -> str:
    """A median with its range, such as `1.02 (0.98-1.05)`; a dash where there is none."""
    if math.isnan(value.median):
        return "-"
    return f"{value.median:.{digits}f} ({value.low:.{digits}f}-{value.high:.{digits}f})"


def _as_json(value: Any) -> Any:
    """JSON knows no NaN: null says the same."""
    if isinstance(value, dict):
        return {key: _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
