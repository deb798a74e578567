"""What `gpu_check` has found so far: on disk after each step, and whole whenever somebody reads it."""

import json
import math
import os
import time
from pathlib import Path
from typing import Any, Literal

State = Literal["not begun", "running", "done", "failed", "cut off"]
"""`running` in a report that nobody writes any more: the run was killed in the midst of that part."""


def write_whole(path: Path, content: object) -> None:
    """Write JSON so that a reader finds the old or the new, never half of it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(_numbers(content), indent=1, allow_nan=False) + "\n")
    beside.replace(path)


def _numbers(content: Any) -> Any:
    """JSON has no NaN, which is what the median of nothing is: where a slice was over before anything was measured."""
    if isinstance(content, dict):
        return {name: _numbers(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_numbers(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


class Findings:
    """What one part has found, which outlives the part's process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[str, Any] = {}
        write_whole(path, self._found)

    def note(self, **found: object) -> None:
        """Keep these, on disk when this returns."""
        self._found |= found
        write_whole(self._path, self._found)


class Report:
    """One run's report: what is said of all of it, a summary, and for each part its state and what it found."""

    def __init__(self, path: Path, head: dict[str, Any], parts: list[str]) -> None:
        """Write the report of a run that has begun none of its parts."""
        self._path = path
        self._head = head
        self._parts: dict[str, dict[str, Any]] = {name: {"state": "not begun"} for name in parts}
        self._began = 0.0
        self._write()

    def begin(self, name: str) -> None:
        """A part runs from now on."""
        self._began = time.monotonic()
        self.update(name, "running", {})

    def update(self, name: str, state: State, found: dict[str, Any]) -> None:
        """What the part that was begun last has found until now."""
        seconds = round(time.monotonic() - self._began, 1)
        self._parts[name] = {"state": state, "seconds": seconds, **found}
        self._write()

    def part(self, name: str) -> dict[str, Any]:
        """State, seconds and findings of a part."""
        return self._parts[name]

    def named(self, state: State) -> list[str]:
        """The parts that are in this state."""
        return [name for name, found in self._parts.items() if found["state"] == state]

    def _write(self) -> None:
        summary = {state: self.named(state) for state in ("done", "failed", "cut off", "running", "not begun")}
        write_whole(self._path, self._head | {"summary": summary, "parts": self._parts})
