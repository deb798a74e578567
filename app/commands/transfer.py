"""`roo-vision models pull | push`: models from and to other places, watched."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from app.repository.sources import pulling, pushing
from app.repository.sources.addresses import open_source, open_target
from app.repository.sources.report import Report


def pull(address: str, into: Path, wanted: pulling.Pull) -> bool:
    """Bring models from `address` into `into`; True where all of them came, or were there. Raises what it raises."""
    with closing(open_source(address)) as source, _watched() as report:
        done = pulling.pull(source, into, wanted, report)
        report.say(
            f"{into}: {len(done.changed)} pulled, {len(done.unchanged)} up to date, {len(done.failures)} not pulled"
        )
    return not done.failures


def push(root: Path, address: str, names: Sequence[str]) -> None:
    """Bring models of the repository `root` to `address`. Raises what `pushing.push` raises."""
    with closing(open_target(address)) as target, _watched() as report:
        done = pushing.push(root, target, names, report)
        for path in done.left:
            report.say(f"{path}: is at {target.address} and not in {root}; it was left there")
        report.say(f"{target.address}: {len(done.written)} files pushed, {len(done.unchanged)} there already")


@contextmanager
def _watched() -> Iterator[Report]:
    """A bar on a terminal, and plain lines elsewhere; both on standard error, as nothing is asked for on the other."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    columns = (TextColumn("models"), BarColumn(), DownloadColumn(True), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield _Bar(progress)


class _Bar:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._task: TaskID | None = None

    def begin(self, total: int) -> None:
        self._task = self._progress.add_task("models", total=total)

    def advance(self, count: int) -> None:
        assert self._task is not None
        self._progress.advance(self._task, count)

    def say(self, line: str) -> None:
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Lines:
    """A line for each tenth of the way."""

    def __init__(self) -> None:
        self._total = self._done = self._tenths = 0

    def begin(self, total: int) -> None:
        self._total = total

    def advance(self, count: int) -> None:
        self._done += count
        tenths = self._done * 10 // max(self._total, 1)
        if tenths > self._tenths:
            self._tenths = tenths
            self.say(f"{self._done / 2**20:.1f} of {self._total / 2**20:.1f} MiB")

    def say(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201  it is what the command prints
