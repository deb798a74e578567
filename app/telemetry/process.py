"""What the process uses: read from the system when somebody asks."""

import asyncio
import time
from pathlib import Path

from app.telemetry import metrics

_TICK_SECONDS = 1.0


def cpu_seconds() -> float:
    """CPU time of all threads since the start, in seconds."""
    return time.process_time()


def memory_used() -> int:
    """Resident memory in bytes; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)


async def watch_event_loop() -> None:
    """Record how late a timer comes, until cancelled: whatever blocks the loop, costs locks and latency."""
    while True:
        due = time.monotonic() + _TICK_SECONDS
        await asyncio.sleep(_TICK_SECONDS)
        metrics.event_loop_lag.record(max(0.0, time.monotonic() - due))
