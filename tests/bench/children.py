"""The processes that a benchmark started."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
IN_BACKGROUND = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
"""Starts what follows as a script's `&` does, and some CI: with SIGINT ignored."""


@contextlib.contextmanager
def started(*command: str, **pipes: int | IO[Any]) -> Iterator["subprocess.Popen[str]"]:
    """Start a command from the repository; it is gone after the block, so that what does not end fails, not hangs."""
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def wait_for_children(pid: int, count: int) -> list[int]:
    """Wait until the process has so many child processes that are modules (`-m`): libraries start others too."""
    own = _command_line(pid)  # which a child has too, until it has become what it is to be
    until = time.monotonic() + 30
    while time.monotonic() < until:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        modules = [child for child in children if b"\0-m\0" in _command_line(child).replace(own, b"")]
        if len(modules) >= count:
            return modules
        time.sleep(0.02)
    raise AssertionError("too few contenders were started")


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return b""
