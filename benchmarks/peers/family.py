"""A server of several processes: what they use together, and that none outlives the run."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from app.bench import load
from app.bench.measurements import Measurement
from app.bench.pictures import Workload
from app.bench.processes import POLL_SECONDS, START_SECONDS, Child, answers
from app.errors import StartupError

BOUNDARY = "peer"


class Family:
    """A child and all that it has started. Leaving the `with` block ends them, whatever happened."""

    def __init__(self, child: Child) -> None:
        self.child = child

    def __enter__(self) -> "Family":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        members = list(self._members())
        self.child.stop()
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def cpu_seconds(self) -> float:
        """CPU time that all of them have used, in seconds."""
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self._members())

    def proportional_mb(self) -> float:
        """Their memory in MB (10^6 bytes), what they share counted once (PSS)."""
        total = 0
        for pid in self._members():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        return total / 1e6

    def _members(self) -> Iterator[int]:
        waiting = [self.child.pid]
        while waiting:
            pid = waiting.pop()
            yield pid
            with contextlib.suppress(OSError):
                for task in Path(f"/proc/{pid}/task").iterdir():
                    waiting += map(int, (task / "children").read_text().split())


class Peer:
    """One of those that are measured, on a port that was chosen for it."""

    def __init__(self, name: str, family: Family, port: int, ready_path: str, path: str, *, form: bool = False) -> None:
        """Wait until it answers; raises `StartupError` where it does not."""
        self.name = name
        self.family = family
        self.port = port
        self._path = path
        self._form = form
        until = family.child.started_at + START_SECONDS
        while not answers(port, ready_path):
            family.child.check_alive()
            if time.monotonic() > until:
                raise StartupError(f"The {name} was not ready in {START_SECONDS:.0f} s. Its log:\n{family.child.log()}")
            time.sleep(POLL_SECONDS)

    def measure(self, workload: Workload, concurrency: int, warm_seconds: float, seconds: float) -> Measurement:
        """One slice of a closed loop of keep-alive connections."""
        requests = [self.request(picture) for picture in workload.pictures]
        measured = load.press(
            load.Target(self.port, self.family.cpu_seconds), requests, concurrency, warm_seconds, seconds
        )
        self.family.child.check_alive()
        return measured

    def request(self, picture: bytes) -> bytes:
        """A picture as this peer takes it."""
        if not self._form:
            return load.post(self._path, "image/jpeg", picture)
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'.encode()
        body = head + picture + f"\r\n--{BOUNDARY}--\r\n".encode()
        return load.post(self._path, f"multipart/form-data; boundary={BOUNDARY}", body)
