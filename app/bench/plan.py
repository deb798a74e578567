"""How long the benchmark measures, how often and how hard."""

from dataclasses import dataclass
from pathlib import Path

from app.errors import StartupError

SIZES = ((1280, 720), (1920, 1080))
"""Width and height of the measured pictures, in pixels."""
MOST_CONCURRENCY = 1024


@dataclass(frozen=True, slots=True)
class BenchPlan:
    """What is to be measured.

    `seconds` is the length of one slice; `idle_seconds` how long the service is watched without requests; `starts` how
    often its start is timed; `soak` how many requests of mixed sizes are sent at the end.
    """

    seconds: float
    rounds: int
    concurrencies: tuple[int, ...]
    soak: int
    out: Path
    starts: int
    idle_seconds: float
    pictures: int

    @property
    def warm_seconds(self) -> float:
        """How long a slice runs before its window opens: connections stand and caches are filled by then."""
        return min(0.5, self.seconds / 4)

    @property
    def slices(self) -> int:
        """How many slices each contender has."""
        return self.rounds * len(SIZES) * len(self.concurrencies)


def make_plan(
    *, seconds: float | None, rounds: int | None, concurrency: str, soak: int, out: Path, quick: bool
) -> BenchPlan:
    """A plan from the command line's options; `quick` shortens what is left None.

    Raises `StartupError` where `concurrency` is not a list such as `1,8,32`.
    """
    return BenchPlan(
        seconds=seconds or (0.2 if quick else 3.0),
        rounds=rounds or (1 if quick else 5),
        concurrencies=_read_concurrency(concurrency),
        soak=soak,
        out=out,
        starts=1 if quick else 3,
        idle_seconds=0.5 if quick else 10.0,
        pictures=2 if quick else 8,
    )


def _read_concurrency(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() and 1 <= int(part) <= MOST_CONCURRENCY for part in parts):
        raise StartupError(
            f"--concurrency {text!r}: give whole numbers from 1 to {MOST_CONCURRENCY} with commas between, such as "
            "1,8,32."
        )
    return tuple(sorted({int(part) for part in parts}))
