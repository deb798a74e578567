"""What a run of training says of itself: `log.jsonl`, from which everything else is told, and lines for who watches."""

import json
import time
from pathlib import Path
from types import TracebackType
from typing import TextIO

from rich.console import Console

from models.shelf.training.usage import usage

NAME = "log.jsonl"


class Journal:
    """One record a report in `log.jsonl`. Steps that are done again after an interruption are not written again."""

    def __init__(self, folder: Path, steps: int, done: int, quiet: bool = False) -> None:
        self._path = folder / NAME
        self._steps = steps
        self._written = 0 if quiet else last_step(self._path)
        self._console = Console(quiet=quiet)
        self._file = None if quiet else _opened(self._path)
        self._begun = self._since = time.monotonic()
        self._first = self._last = done

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def report(self, step: int, pictures: int, class_loss: float, box_loss: float, rate: float) -> None:
        """Writes a record, and how long the rest is going to take at the speed that was had so far."""
        now = time.monotonic()
        speed = (step - self._last) / max(now - self._since, 1e-9)
        left = (self._steps - step) * (now - self._begun) / max(step - self._first, 1)
        self._since, self._last = now, step
        if step > self._written and self._file is not None:
            record = {
                "step": step,
                "time": round(time.time(), 3),
                "class_loss": round(class_loss, 6),
                "box_loss": round(box_loss, 6),
                "rate": rate,
                "pictures_per_second": round(speed * pictures, 2),
                **usage(),
            }
            self._file.write(json.dumps(record) + "\n")
            self._file.flush()
        self._console.print(
            f"step {step}/{self._steps}  class {class_loss:.3f}  box {box_loss:.3f}  "
            f"{speed:.2f} steps/s  {_spoken(left)} left",
            highlight=False,
        )

    def say(self, line: str) -> None:
        """A line for who watches."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def records(path: Path) -> list[dict[str, float]]:
    """All whole records; a crash may have left half a one at the end."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text("utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def _opened(path: Path) -> TextIO:
    """For more records; half a record at the end gets a line of its own."""
    half = path.exists() and not path.read_bytes().endswith(b"\n")
    file = path.open("a", encoding="utf-8")
    if half:
        file.write("\n")
    return file


def last_step(path: Path) -> int:
    """The step of the last record, 0 where there is none."""
    return max((int(record["step"]) for record in records(path)), default=0)


def _spoken(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
