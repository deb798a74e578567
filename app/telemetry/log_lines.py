"""How a record becomes a line: JSON for collectors, text for people, no secrets and nothing that a terminal obeys."""

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

from opentelemetry.trace import SpanContext

_SECRETS = re.compile(
    r"""(?:(?<![a-z]) | (?<=%3F) | (?<=%26))  # "sig" is one, "design" is none
    ((?:SharedAccessKey|AccountKey|sig|password|x-api-key|api[_-]key|client_secret|InstrumentationKey)
     (?:\s*[=:]\s*|%3D) | Authorization["']?\s*[=:]\s*["']?(?:(?:Bearer|Basic)\s+)? | Bearer\s+)
    [^;&\s"']+""",
    re.IGNORECASE | re.VERBOSE,
)
"""What connection strings, signed URLs and headers keep their secrets in, wherever a library may quote one."""

_to_json = json.JSONEncoder(default=str).encode


def without_secrets(text: str) -> str:
    """The text with whatever looks like a key, a token or a signature made unreadable."""
    return _SECRETS.sub(r"\1***", text)


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
        if record.exc_text:
            line["exception"] = record.exc_text
        return _to_json(line)


class TextFormatter(logging.Formatter):
    """A line for people."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end; a traceback follows it."""
        words = "".join(f" {name}={value}" for name, value in _context(record).items())
        moment = _moment(record).astimezone().strftime("%H:%M:%S.%f")[:-3]
        message = _harmless(record.message).replace("\n", "\n    ")
        line = f"{moment} {record.levelname.lower():<7} {record.name.removeprefix('app.')}: {message}{words}"
        return f"{line}\n{record.exc_text}" if record.exc_text else line


def _harmless(text: str) -> str:
    """Without what a terminal would obey: senders may name their messages as they like."""
    return "".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)


def _moment(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _context(record: logging.LogRecord) -> dict[str, str]:
    found = {}
    if request := getattr(record, "request_id", ""):
        found["request_id"] = request
    trace: SpanContext | None = getattr(record, "trace", None)
    if trace is not None:
        found["trace_id"], found["span_id"] = f"{trace.trace_id:032x}", f"{trace.span_id:016x}"
    return found
