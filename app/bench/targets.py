"""What the service is to reach by itself, on any machine."""

from app.bench.measurements import SERVICE, spread
from app.bench.results import Results, Target, in_range
from app.bench.soak import MOST_GROWTH

MOST_START_SECONDS, MOST_READY_MB, MOST_IDLE = 2.0, 300.0, 0.01


def of_service(results: Results) -> list[Target]:
    """What the service is to reach whatever it is measured beside, with what was found."""
    starts = spread(results.starts)
    ready = results.memory[SERVICE].ready_mb
    found = [
        Target(
            "start to ready",
            f"≤ {MOST_START_SECONDS:g} s",
            f"{in_range(starts)} s",
            starts.median <= MOST_START_SECONDS,
        ),
        Target("resident memory when ready", f"≤ {MOST_READY_MB:.0f} MB", f"{ready:.0f} MB", ready <= MOST_READY_MB),
        Target("CPU without requests", "≈ 0", f"{results.idle:.2%} of a core", results.idle <= MOST_IDLE),
    ]
    if results.soak is not None:
        soak = results.soak
        text = f"{soak.first_quarter_mb:.0f} → {soak.last_quarter_mb:.0f} MB ({soak.growth - 1:+.1%})"
        what = f"memory over {soak.requests:,} mixed requests"
        found.append(Target(what, f"growth ≤ {MOST_GROWTH - 1:.0%}", text, soak.growth <= MOST_GROWTH))
    return found
