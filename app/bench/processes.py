"""Child processes that are always ended, and what Linux says about them in /proc."""

import contextlib
import http.client
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType

from app.errors import StartupError
from app.host.process import environment_with

START_SECONDS = 120.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.01
LOG_LINES = 12


class Child:
    """`python -m MODULE ARGUMENTS…`, its output in a log file; leaving the `with` block ends it, whatever happened."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        folder: Path,
        *,
        talks: bool = False,
        environment: dict[str, str] | None = None,
        cwd: Path | None = None,
        python: Path | None = None,
    ) -> None:
        """Start it, in the folder `cwd`, by this interpreter or by `python`. One that `talks` is asked through its
        standard input and answers, a line each, on its output.
        """
        self.name = name
        self.started_at = time.monotonic()
        self.log_path = folder / f"{name.replace(' ', '-')}-{time.monotonic_ns()}.log"
        with _interrupts_held() as held, self.log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [str(python or sys.executable), "-m", *arguments],
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else log,
                stderr=log,
                env=environment_with() if environment is None else environment,
                cwd=cwd,
            )
        if held:
            self.stop()
            signal.raise_signal(held[0])

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL where that does not end it in `STOP_SECONDS`; the process is gone afterwards."""
        try:
            if self._process.poll() is None:
                self._process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()

    def kill(self) -> None:
        """SIGKILL: it has no chance to tidy up."""
        self._process.kill()
        self._process.wait()

    def ended_with(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._process.poll()

    def check_alive(self) -> None:
        """Raise `StartupError` with the end of its log where it has ended."""
        if (code := self.ended_with()) is not None:
            raise StartupError(f"The {self.name} ended by itself with code {code}. The end of its log:\n{self.log()}")

    def log(self) -> str:
        """The last lines that it wrote."""
        return "\n".join(self.log_path.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]) or "(empty)"

    def ask(self, line: str) -> str:
        """Send one line and wait for the line that answers; raises `StartupError` where the child ends instead."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        return self.listen()

    def listen(self) -> str:
        """Wait for the next line; raises `StartupError` where the child ends instead."""
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            self.check_alive()
            raise StartupError(f"The {self.name} closed its output. The end of its log:\n{self.log()}")
        return answer.decode()

    def wait_until_ready(self, path: str) -> tuple[int, float]:
        """Wait until GET `path` answers 200; returns the port and the seconds since the process was started.

        Raises `StartupError` where the process ends, or is not ready within `START_SECONDS`.
        """
        while time.monotonic() < self.started_at + START_SECONDS:
            self.check_alive()
            for port in self._listening_ports():
                if answers(port, path):
                    return port, time.monotonic() - self.started_at
            time.sleep(POLL_SECONDS)
        raise StartupError(f"The {self.name} was not ready in {START_SECONDS:.0f} s. Its log:\n{self.log()}")

    def cpu_seconds(self) -> float:
        """CPU time that all threads of the process have used, in seconds."""
        # The clock that clock_getcpuclockid(3) names: the process above, the scheduler's count below.
        return time.clock_gettime((~self.pid << 3) | 2)

    def resident_mb(self) -> float:
        """Resident memory now, in MB (10^6 bytes)."""
        return self._status("VmRSS")

    def peak_mb(self) -> float:
        """The most resident memory so far, in MB (10^6 bytes)."""
        return self._status("VmHWM")

    def _status(self, field: str) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == field:
                return int(value.split()[0]) * 1024 / 1e6
        raise StartupError(f"The {self.name} ended by itself. The end of its log:\n{self.log()}")

    def _listening_ports(self) -> list[int]:
        """The ports of the process's listening IPv4 sockets: so none has to be fixed and no log line to be read."""
        process = Path(f"/proc/{self.pid}")
        try:
            sockets = {str(link.readlink()) for link in (process / "fd").iterdir()}
            lines = (process / "net/tcp").read_text().splitlines()[1:]
        except OSError:  # it has just ended, or a file was closed meanwhile
            return []
        found = [line.split() for line in lines]
        return [
            int(fields[1].rpartition(":")[2], 16)
            for fields in found
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets
        ]


@contextlib.contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """Let SIGTERM leave the block as `SystemExit`, so that children are ended on it too.

    It takes Ctrl+C's way: asyncio cancels its main task on that, where an exception raised inside a callback would be
    logged and lost.
    """
    received = False

    def leave(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received = True
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.raise_signal(signal.SIGINT)

    with _interrupts_understood():
        before = signal.signal(signal.SIGTERM, leave)
        try:
            yield
        except KeyboardInterrupt:
            if received:
                raise SystemExit(128 + signal.SIGTERM) from None
            raise
        finally:
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _interrupts_understood() -> Iterator[None]:
    """Have the handler in place that asyncio asks for, where this process was started with SIGINT ignored.

    So are a script's `command &` and what some CI runs. Interrupts from outside stay without effect: they are blocked.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # which drops one that waits
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _interrupts_held() -> Iterator[list[int]]:
    """Note SIGINT and SIGTERM instead of acting on them: inside `Popen` they would leave a lost process."""
    held: list[int] = []
    numbers = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, lambda number, frame: held.append(number)) for number in numbers}
    try:
        yield held
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def answers(port: int, path: str) -> bool:
    """Whether GET `path` on the loopback interface is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
