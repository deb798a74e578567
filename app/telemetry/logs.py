"""One line for each thing worth telling: JSON on standard output, readable text where that is a terminal.

Lines are formatted and written by a thread of their own. Whoever reads them may be slow; were the event loop to wait
for that, locks would be lost and people would wait. What nobody reads is dropped and counted.
"""

import logging
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from types import FrameType
from typing import NamedTuple, TextIO

from opentelemetry.trace import SpanContext

from app.errors import StartupError
from app.telemetry import tracing
from app.telemetry.log_lines import JsonFormatter, TextFormatter, without_secrets

MOST_LINES = 20_000
GATHER_SECONDS = 0.05
"""Lines of this time are written together: a thread that wakes for each would disturb those that compute."""
CLOSE_SECONDS = 2.0
"""A reader that has stopped reading holds the end up for so long."""

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The request or message that is worked on; it stands in every line about it."""

log = logging.getLogger(__name__)

Fields = Mapping[str, str | int | float]
"""What a line says beside its message."""
Sink = Callable[[logging.LogRecord], None]


class _Outcome(NamedTuple):
    """What `tell` was told, until the writer makes a record of it."""

    logger: str
    level: int
    text: str
    fields: Fields
    created: float
    request_id: str
    trace: SpanContext | None

    def record(self) -> logging.LogRecord:
        return logging.makeLogRecord(
            {
                "name": self.logger,
                "levelno": self.level,
                "levelname": logging.getLevelName(self.level),
                "message": self.text,
                "fields": self.fields,
                "created": self.created,
                "request_id": self.request_id,
                "trace": self.trace,
            }
        )


_Told = logging.LogRecord | _Outcome | threading.Event | None
"""A line, something that waits until all before it is written, or the end."""


class Writer(logging.Handler):
    """Takes records from any thread without waiting, and writes them from its own."""

    def __init__(self, stream: TextIO, formatter: logging.Formatter) -> None:
        super().__init__()
        self.dropped = 0
        self.sinks: list[Sink] = []
        self._stream = stream
        self.setFormatter(formatter)
        # Unlike an event or a deque with a lock, it may be put to from a signal's handler in the midst of a put.
        self._records: queue.SimpleQueue[_Told] = queue.SimpleQueue()
        self.closing = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        """Note what only the caller's context tells, and leave the rest to the writer."""
        try:
            record.message = record.getMessage()
        except (TypeError, ValueError):  # its arguments do not fit: a defect that must not become its caller's
            self.handleError(record)
            return
        record.request_id = request_id.get()
        record.trace = tracing.current()
        self.take(record)

    def take(self, told: logging.LogRecord | _Outcome) -> None:
        """Put it where the writer finds it, if there is room."""
        if self._records.qsize() >= MOST_LINES:
            self.dropped += 1
            return
        self._records.put(told)
        if self._ended:
            self._write(None)

    def flush(self) -> None:
        """Wait until all that was told is written and handed to the sinks, for `CLOSE_SECONDS` at most."""
        if not self._ended:
            reached = threading.Event()
            self._records.put(reached)
            reached.wait(CLOSE_SECONDS)

    def close(self) -> None:
        """Write what is left, and end; what is told afterwards is written by whoever tells it."""
        self.closing.set()
        self._records.put(None)
        self._thread.join(CLOSE_SECONDS)
        if not self._thread.is_alive():
            self._ended = True
            self._write(None)  # told after the thread's last look
        super().close()

    def _run(self) -> None:
        more = True
        while more:
            first = self._records.get()
            self.closing.wait(GATHER_SECONDS)
            more = self._write(first)

    def _write(self, told: _Told) -> bool:
        """Write what was told, and all that has come since; whether the end was not among it."""
        lines: list[str] = []
        reached: list[threading.Event] = []
        more = True
        while True:
            if told is None:
                more = False
            elif isinstance(told, threading.Event):
                reached.append(told)
            else:
                lines.extend(self._lines(told))
            try:
                told = self._records.get_nowait()
            except queue.Empty:
                break
        try:
            self._stream.write("".join(lines))
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads any more; that must not end the service
            self.dropped += len(lines)
        for event in reached:
            event.set()
        return more

    def _lines(self, told: logging.LogRecord | _Outcome) -> Iterator[str]:
        """The line, or none where it cannot be made, whatever is wrong with it: that must not end the others."""
        record = told.record() if isinstance(told, _Outcome) else told
        try:
            yield self._line(record)
        except Exception:
            self.handleError(record)

    def _line(self, record: logging.LogRecord) -> str:
        """The line, after the sinks have had the record; neither is told a secret."""
        record.message = without_secrets(record.message)
        if record.exc_info:
            record.exc_text = without_secrets(logging.Formatter().formatException(record.exc_info))
        for sink in self.sinks:
            sink(record)
        return f"{self.format(record)}\n"


_writer: Writer | None = None


def configure(level: str, stream: TextIO | None = None) -> Writer:
    """Log to `stream` (standard output) from `level` on; SIGUSR1 switches to debug and back. Close what is returned.

    Raises `StartupError` where standard output is closed: the next socket or file would take its place.
    """
    global _writer
    chosen: TextIO | None = stream or sys.stdout
    if chosen is None:
        raise StartupError(
            "Standard output is closed, and the log goes there. Send it to /dev/null where nobody reads it."
        )
    # Nothing of this is written, and finding it out for every line is half of what a line costs.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging._srcfile = None
    _writer = Writer(chosen, TextFormatter() if chosen.isatty() else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [_writer]
    _set_level(logging.getLevelNamesMapping()[level.upper()])
    if hasattr(signal, "SIGUSR1") and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, _toggle(root.level))
    return _writer


def tell(logger: logging.Logger, level: int, text: str, fields: Fields) -> None:
    """One line for one outcome: what `logger.log` would do, for what is told of every picture.

    Between pictures that evict its code from the core's caches `logging` takes 60 µs of the event loop for a line, and
    this a third of it: the writer's thread makes the record.
    """
    if not logger.isEnabledFor(level):
        return
    if _writer is None:
        logger.log(level, "%s", text, extra={"fields": fields})
    else:
        _writer.take(_Outcome(logger.name, level, text, fields, time.time(), request_id.get(), tracing.current()))


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
    # What it raises the queue tells, once and in a line; itself it calls a link that is lost at an odd moment an
    # unexpected error, with its traceback, each time.
    logging.getLogger("azure.servicebus").setLevel(quiet if level <= logging.DEBUG else logging.CRITICAL)


def _toggle(normal: int) -> Callable[[int, FrameType | None], None]:
    def toggle(_: int, __: FrameType | None) -> None:
        level = normal if logging.getLogger().level == logging.DEBUG else logging.DEBUG
        _set_level(level)
        log.warning("logging from %s on", logging.getLevelName(level).lower())

    return toggle
