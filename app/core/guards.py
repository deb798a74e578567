"""What a roll-out may not cost: limits on figures of the new version, judged by what was counted.

A guard fails where its limit, were it kept, would bring so many bad answers in less than one of a thousand cases. So
one error among the first answers stops nothing, and a version that answers nothing well is stopped at its second
request. It passes where enough was counted and is within the limit; anything else says nothing yet.
"""

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate

LEAST = 100
"""Pictures of each version, or comparisons, below which nothing is found good."""
BY_CHANCE = 0.001
"""What is less probable than this did not come about by chance. It is looked at again and again, so it is small."""
_Z = 1.96
"""Standard deviations on either side of the mean between which 19 of 20 normal variables lie."""

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

    def __add__(self, other: "Counted") -> "Counted":
        """Of two replicas, or moments; both have the same buckets, or one counted no times at all."""
        with_times = [each for each in (self, other) if each.times]
        times = tuple(map(sum, zip(*(each.times for each in with_times), strict=True)))
        buckets = with_times[0].buckets if with_times else ()
        return Counted(self.pictures + other.pictures, self.failed + other.failed, buckets, times)

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

    def slower(self, seconds: float) -> float:
        """How many answers took longer, interpolated as `quantile` is."""
        at = bisect_right(self.buckets, seconds)
        above = float(sum(self.times[at + 1 :]))
        if at >= len(self.buckets):
            return sum(self.times[at:])
        lower = self.buckets[at - 1] if at else 0.0
        return above + self.times[at] * (self.buckets[at] - seconds) / (self.buckets[at] - lower)


@dataclass(frozen=True, slots=True)
class Figures:
    """What was counted since a step began: of the version that comes, of those that go, and of their agreement."""

    new: Counted = field(default_factory=Counted)
    old: Counted = field(default_factory=Counted)
    compared: float = 0
    agreement: float = 0
    """The sum over what was `compared` of how far it agreed, 0 to 1 each."""

    def __add__(self, other: "Figures") -> "Figures":
        return Figures(
            self.new + other.new,
            self.old + other.old,
            self.compared + other.compared,
            self.agreement + other.agreement,
        )

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
        if self.relative and figures.old.pictures < LEAST:
            return _too_little(figures.old.pictures, "pictures of the old version")
        if self.metric == "agreement":
            apart, mean = figures.compared - figures.agreement, figures.agreement / max(1.0, figures.compared)
            return self._judge(apart, figures.compared, 1 - self.limit, mean, self.limit, "comparisons")
        new, old, what = figures.new, figures.old, "pictures of the new version"
        if self.metric == "error_ratio":
            limit = self.limit * _highest(old.failed, old.pictures) if self.relative else self.limit
            return self._judge(new.failed, new.pictures, limit, new.failed / max(1.0, new.pictures), limit, what)
        share = _QUANTILES[self.metric]
        limit = self.limit * old.quantile(share) if self.relative else self.limit
        return self._judge(new.slower(limit), sum(new.times), 1 - share, new.quantile(share), limit, what)

    def _judge(
        self, bad: float, count: float, most: float, found: float, limit: float, what: str
    ) -> tuple[Verdict, str]:
        """Of so many, `bad` are not as they should be, and a share of `most` may be."""
        said = f"it is {found:.4g}, the limit {limit:.4g}"
        if chance_of(int(bad), int(count), most) < BY_CHANCE:
            return Verdict.FAILED, said
        if count < LEAST:
            return _too_little(count, what)
        return Verdict.PASSED if bad <= most * count else Verdict.INCONCLUSIVE, said


def chance_of(hits: int, count: int, share: float) -> float:
    """How probable it is that at least `hits` of `count` are counted where each is one with probability `share`: the
    upper tail of the binomial distribution, which is summed where `hits` is above what is expected, and 1 elsewhere.
    """
    if hits <= share * count:
        return 1.0
    if share <= 0:
        return 0.0
    ways = math.lgamma(count + 1) - math.lgamma(hits + 1) - math.lgamma(count - hits + 1)
    term = math.exp(ways + hits * math.log(share) + (count - hits) * math.log1p(-share))
    total, odds = 0.0, share / (1 - share)
    while total + term > total:
        total += term
        term *= (count - hits) / (hits + 1) * odds
        hits += 1
    return total


def _highest(hits: float, count: float) -> float:
    """The highest share that is still likely where `hits` of `count` were counted.

    Source: the upper end of the score interval of Wilson, "Probable inference, the law of succession, and statistical
    inference" (1927).
    """
    share, square = hits / count, _Z**2
    half = _Z * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return min(1.0, (share + square / (2 * count) + half) / (1 + square / count))


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


def _too_little(count: float, what: str) -> tuple[Verdict, str]:
    return Verdict.INCONCLUSIVE, f"{count:.0f} {what} are too few, {LEAST} are needed"
