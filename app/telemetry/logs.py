"""One line for each thing worth telling: JSON on standard output, readable text where that is a terminal.

Lines are formatted and written by a thread of their own. Whoever reads them may be slow; were the event loop to wait
for that, locks would be lost and people would wait. What nobody reads is dropped and counted.
"""

import json
import logging
import re
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from types import FrameType
from typing import Any, TextIO

from app.telemetry import tracing

MOST_LINES = 20_000
GATHER_SECONDS = 0.05
"""Lines of this time are written together: a thread that wakes for each would disturb those that compute."""
_CLOSE_SECONDS = 2.0

_SECRETS = re.compile(
    r"((?:SharedAccessKey|AccountKey|sig|Authorization|password)\s*[=:]\s*)[^;&\s\"']+", re.IGNORECASE
)

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The request or message that is worked on; it stands in every line about it."""

log = logging.getLogger(__name__)

Sink = Callable[[logging.LogRecord], None]


class Writer(logging.Handler):
    """Takes records from any thread without waiting, and writes them from its own."""

    def __init__(self, stream: TextIO, formatter: logging.Formatter) -> None:
        super().__init__()
        self.dropped = 0
        self.sinks: list[Sink] = []
        self._stream = stream
        self.setFormatter(formatter)
        self._records: deque[logging.LogRecord] = deque()
        self._arrived = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Note what only the caller's context tells, and leave the rest to the writer."""
        if len(self._records) >= MOST_LINES:
            self.dropped += 1
            return
        record.message = record.getMessage()
        record.request_id = request_id.get()
        record.trace = tracing.ids()
        self._records.append(record)
        if not self._arrived.is_set():
            self._arrived.set()

    def close(self) -> None:
        """Write what is left, and end."""
        self._closing.set()
        self._arrived.set()
        self._thread.join(_CLOSE_SECONDS)
        super().close()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._arrived.wait()
            self._closing.wait(GATHER_SECONDS)
            self._arrived.clear()
            self._write()
        self._write()

    def _write(self) -> None:
        lines = []
        while self._records:
            record = self._records.popleft()
            lines.append(_SECRETS.sub(r"\1***", self.format(record)))
            for sink in self.sinks:
                sink(record)
        try:
            self._stream.write("".join(f"{line}\n" for line in lines))
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads any more; that must not end the service
            self.dropped += len(lines)


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "time": _moment(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.message,
            **_context(record),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """A line for people."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end; a traceback follows it."""
        words = "".join(f" {name}={value}" for name, value in _context(record).items())
        moment = _moment(record).astimezone().strftime("%H:%M:%S.%f")[:-3]
        message = record.message.replace("\n", "\n    ")
        line = f"{moment} {record.levelname.lower():<7} {record.name.removeprefix('app.')}: {message}{words}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


_writer: Writer | None = None


def configure(level: str, stream: TextIO | None = None) -> Writer:
    """Log to `stream` (standard output) from `level` on; SIGUSR1 switches to debug and back. Close what is returned."""
    global _writer
    stream = stream or sys.stdout
    _writer = Writer(stream, TextFormatter() if stream.isatty() else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [_writer]
    _set_level(logging.getLevelNamesMapping()[level.upper()])
    if hasattr(signal, "SIGUSR1") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, _toggle(root.level))
    return _writer


def dropped() -> int:
    """Lines that were lost so far."""
    return _writer.dropped if _writer else 0


def _set_level(level: int) -> None:
    logging.getLogger().setLevel(level)
    quiet = max(logging.WARNING, level)
    # uvicorn's own start and stop lines say nothing that the service does not say better; Azure's libraries tell every
    # state of every link at info, and at debug every header; exporters tell every connection.
    for name in ("uvicorn.error", "azure", "urllib3", "asyncio"):
        logging.getLogger(name).setLevel(quiet)


def _toggle(normal: int) -> Callable[[int, FrameType | None], None]:
    def toggle(_: int, __: FrameType | None) -> None:
        level = normal if logging.getLogger().level == logging.DEBUG else logging.DEBUG
        _set_level(level)
        log.warning("logging from %s on", logging.getLevelName(level).lower())

    return toggle


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _context(record: logging.LogRecord) -> dict[str, str]:
    found = {}
    if request := getattr(record, "request_id", ""):
        found["request_id"] = request
    if trace := getattr(record, "trace", None):
        found["trace_id"], found["span_id"] = trace
    return found
