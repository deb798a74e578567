"""Slices made by hand, whose arithmetic can be done in the head."""

from app.bench.measurements import Measurement, Slice

PLAIN, NAIVE = "plain loop", "naive endpoint"
"""What the service is measured beside in these tests."""


def slice_of(
    contender: str,
    per_second: float,
    *,
    number: int = 0,
    size: str = "1280x720",
    concurrency: int = 32,
    p50: float = 10,
) -> Slice:
    """One second in which `per_second` pictures were answered."""
    measured = Measurement(
        pictures=int(per_second),
        per_second=per_second,
        p50_ms=p50,
        p99_ms=2 * p50,
        window_seconds=1.0,
        cpu_seconds=1.5,
        generator_cpu_seconds=0.1,
    )
    return Slice(number, size, concurrency, contender, measured)
