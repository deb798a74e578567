"""The processes that a benchmark started."""

import time
from pathlib import Path


def wait_for_children(pid: int, count: int) -> list[int]:
    """Wait until the process has so many child processes."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if len(children) >= count:
            return [int(child) for child in children]
        time.sleep(0.02)
    raise AssertionError("too few contenders were started")
