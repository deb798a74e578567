"""What a roll-out may not cost: limits on figures of the new version, judged by what was counted."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate

LEAST = 100
"""Pictures of each version, or comparisons, below which nothing is judged."""

_GUARD = re.compile(r"(?P<metric>[a-z0-9_]+)\s*(?P<sign>[<>])\s*(?P<limit>\d+(?:\.\d+)?)\s*(?P<unit>%|x|ms|s)?")
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_FACTORS = {"%": 0.01, "ms": 0.001, "s": 1.0, "x": 1.0, None: 1.0}


class Verdict(StrEnum):
    """What a guard says. Too little to go by is no success."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Counted:
    """Of one version: pictures, those that failed by no caller's fault, and answers by their time; `buckets` are the
    upper bounds in seconds, rising, and `times` has one count more, of what is above all.
    """

    pictures: float = 0
    failed: float = 0
    buckets: tuple[float, ...] = ()
    times: tuple[float, ...] = ()

    def __sub__(self, before: "Counted") -> "Counted":
        times = before.times or (0,) * len(self.times)
        left = tuple(now - then for now, then in zip(self.times, times, strict=True))
        return Counted(self.pictures - before.pictures, self.failed - before.failed, self.buckets, left)

    def quantile(self, share: float) -> float:
        """Seconds within which so many answers came, interpolated within its bucket as Prometheus does; what is above
        all bounds counts as the last of them. 0 where nothing was counted.
        """
        below = list(accumulate(self.times))
        if not below or not below[-1]:
            return 0.0
        rank = share * below[-1]
        at = next(index for index, count in enumerate(below) if count >= rank)
        if at >= len(self.buckets):
            return self.buckets[-1]
        lower, before = (self.buckets[at - 1], below[at - 1]) if at else (0.0, 0.0)
        return lower + (self.buckets[at] - lower) * (rank - before) / (below[at] - before)


@dataclass(frozen=True, slots=True)
class Figures:
    """What was counted since a step began: of the version that comes, of those that go, and of their agreement."""

    new: Counted = field(default_factory=Counted)
    old: Counted = field(default_factory=Counted)
    compared: float = 0
    agreement: float = 0
    """The sum over what was `compared` of how far it agreed, 0 to 1 each."""

    def __sub__(self, before: "Figures") -> "Figures":
        return Figures(
            self.new - before.new,
            self.old - before.old,
            self.compared - before.compared,
            self.agreement - before.agreement,
        )


@dataclass(frozen=True, slots=True)
class Guard:
    """One limit, as it was written."""

    text: str
    metric: str
    above: bool
    """Whether the figure must be above the limit, and not below."""
    limit: float
    relative: bool = False
    """Whether the limit is times the old version's figure."""

    def judge(self, figures: Figures) -> tuple[Verdict, str]:
        """The verdict, and the figure in words."""
        if self.metric == "agreement":
            if figures.compared < LEAST:
                return _too_little(figures.compared, "comparisons")
            return self._judge(figures.agreement / figures.compared, self.limit)
        if figures.new.pictures < LEAST:
            return _too_little(figures.new.pictures, "pictures of the new version")
        limit = self.limit
        if self.relative:
            if figures.old.pictures < LEAST:
                return _too_little(figures.old.pictures, "pictures of the old version")
            limit *= _figure(self.metric, figures.old)
        return self._judge(_figure(self.metric, figures.new), limit)

    def _judge(self, found: float, limit: float) -> tuple[Verdict, str]:
        kept = found > limit if self.above else found <= limit if self.relative else found < limit
        return Verdict.PASSED if kept else Verdict.FAILED, f"it is {found:.4g}, the limit {limit:.4g}"


def read_guards(texts: Sequence[str]) -> tuple[Guard, ...]:
    """Guards such as `error_ratio<0.5%`, `p99<1.2x`, `p95<250ms`, `agreement>0.97`; raises `ValueError`."""
    guards = tuple(map(_read, texts))
    if len({guard.metric for guard in guards}) < len(guards):
        raise ValueError("a metric is guarded twice; give each once")
    return guards


def _read(text: str) -> Guard:
    found = _GUARD.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"the guard {text[:50]!r} is not METRIC<LIMIT or METRIC>LIMIT, such as error_ratio<0.5%")
    metric, sign, limit, unit = found.group("metric", "sign", "limit", "unit")
    if metric not in _UNITS:
        raise ValueError(f"there is no metric {metric[:50]!r} to guard; there are {', '.join(_UNITS)}")
    if unit not in _UNITS[metric]:
        units = " or ".join(repr(each) if each else "a plain number" for each in _UNITS[metric])
        raise ValueError(f"the limit of {metric} has the unit {units}, not {unit or 'none'}")
    if (sign == ">") != (metric == "agreement"):
        raise ValueError(f"{metric} must be {'above' if metric == 'agreement' else 'below'} its limit, not {sign}")
    return Guard(text.strip(), metric, sign == ">", float(limit) * _FACTORS[unit], unit == "x")


_UNITS: Mapping[str, tuple[str | None, ...]] = {
    "error_ratio": ("%", None, "x"),
    **dict.fromkeys(_QUANTILES, ("x", "ms", "s")),
    "agreement": (None, "%"),
}


def _figure(metric: str, counted: Counted) -> float:
    if metric == "error_ratio":
        return counted.failed / counted.pictures
    return counted.quantile(_QUANTILES[metric])


def _too_little(count: float, what: str) -> tuple[Verdict, str]:
    return Verdict.INCONCLUSIVE, f"{count:.0f} {what} are too few, {LEAST} are needed"
