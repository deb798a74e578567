"""What operators do, for those who ask afterwards: lines of the log, the last of them at hand, and a file if wanted."""

import json
import logging
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from app.errors import StartupError
from app.telemetry import logs

log = logging.getLogger(__name__)

KEPT = 500

Entry = dict[str, Any]


class Audit:
    """Entries say who (`caller`) did what (`action`) and when (`at`); the rest is the action's own. Nothing that is
    written down here may be a secret.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Begin with what the file at `path` ends with. Raises `StartupError` where it cannot be added to."""
        self._path = path
        self._latest: deque[Entry] = deque(maxlen=KEPT)
        if path is not None:
            try:
                _end_last_line(path)
                self._latest.extend(_entries(path))
            except OSError as error:
                raise StartupError(f"ROO_AUDIT_LOG: {path} cannot be written: {error.strerror}.") from None

    def note(self, caller: str, action: str, **what: Any) -> None:
        """Write down that it was done. A file that cannot be written is told in the log, which has the entry too."""
        entry: Entry = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "caller": caller, "action": action}
        entry |= what
        self._latest.append(entry)
        logs.tell(log, logging.INFO, f"{caller}: {action}", {"audit": action, "caller": caller, **_plain(what)})
        if self._path is not None:
            try:
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            except OSError as error:
                log.error("%s cannot be written: %s", self._path, error.strerror)

    def latest(self) -> list[Entry]:
        """At most `KEPT` entries, the newest first."""
        return list(reversed(self._latest))


def _end_last_line(path: Path) -> None:
    """What a crash left of a line must not take the next entry along."""
    with path.open("ab") as file:
        if size := file.tell():
            with path.open("rb") as written:
                written.seek(size - 1)
                if written.read() != b"\n":
                    file.write(b"\n")


def _entries(path: Path) -> list[Entry]:
    """The last entries of a file; a line that is none, such as half a one of a crash, is passed over."""
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = deque(file, maxlen=KEPT)
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def _plain(what: dict[str, Any]) -> dict[str, str | int | float]:
    """As a line of the log takes it."""
    return {name: value if isinstance(value, (str, int, float)) else json.dumps(value) for name, value in what.items()}
