"""Which version of a model answers: what its manifest, a setting or an administrator says of it."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

WHOLE = 100.0
"""Shares are percent, and those of a model add up to this."""
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class Route:
    """Of one model: `shares` are percent of the requests that name no version, by version; where there are none
    `default_version` answers, or the newest. `stages` are names that a request may use in a version's place. By
    version, `shadow` is the percent of the requests that it computes as well, unsent.
    """

    shares: Mapping[str, float] = field(default_factory=dict)
    default_version: str | None = None
    stages: Mapping[str, str] = field(default_factory=dict)
    shadow: Mapping[str, float] = field(default_factory=dict)

    def with_shares(self, shares: Mapping[str, float]) -> "Route":
        """The same with other shares."""
        return replace(self, shares=dict(shares))

    def __str__(self) -> str:
        shadow = f"; shadow {percents(self.shadow)}" if self.shadow else ""
        return f"shares {percents(self.shares)}{shadow}"

    def check(self, served: Collection[str]) -> None:
        """Raises `ValueError` that says what does not fit together, or names a version that is not served."""
        _check_shares(self.shares)
        for version, percent in self.shadow.items():
            _check_percent("shadow", version, percent)
        named = {
            "traffic": self.shares,
            "default_version": [self.default_version] if self.default_version else [],
            "stages": self.stages.values(),
            "shadow": self.shadow,
        }
        for place, versions in named.items():
            for version in versions:
                if version not in served:
                    raise ValueError(
                        f"{place} names version {version}, which is not served; served: "
                        f"{', '.join(sorted(served, key=int))}. List in `versions` all that are to be"
                    )


def percents(shares: Mapping[str, float]) -> str:
    """Shares by version for people: `1: 90 %, 2: 10 %`, or `none`."""
    return ", ".join(f"{version}: {share:g} %" for version, share in sorted(shares.items())) or "none"


def _check_shares(shares: Mapping[str, float]) -> None:
    for version, percent in shares.items():
        _check_percent("traffic", version, percent)
    if shares and abs((total := math.fsum(shares.values())) - WHOLE) > _ROUNDING:
        raise ValueError(f"traffic: the shares add up to {total:g}, not to 100 percent")


def _check_percent(place: str, version: str, percent: float) -> None:
    if not 0 <= percent <= WHOLE:
        raise ValueError(f"{place}: version {version} has {percent:g} percent; give 0 to 100")
