"""What can be set on a queue, in code or on the command line."""

from dataclasses import dataclass, replace
from typing import Any

QUEUE_FORM = "NAME[,lock=30,max_delivery=10,dedup=SECONDS,ttl=SECONDS,dlq_expired,sessions,no_batches,full=COUNT]"
"""A queue on the command line."""
TOPIC_FORM = "NAME:SUBSCRIPTION[,SUBSCRIPTION…]"
"""A topic on the command line."""

_SECONDS = {"lock": "lock_seconds", "dedup": "dedup_seconds", "ttl": "ttl_seconds"}
_COUNTS = {"max_delivery": "max_delivery", "full": "most_messages"}
_FLAGS = {"dlq_expired": "dead_letter_expired", "sessions": "sessions", "no_batches": "refuses_batches"}


@dataclass(frozen=True, slots=True)
class QueueOptions:
    """A queue or a subscription; the defaults are those of a queue made in the Azure portal."""

    name: str
    lock_seconds: float = 30.0
    max_delivery: int = 10
    """Failed deliveries after which a message goes to the dead letters."""
    dedup_seconds: float = 0.0
    """How long a message id is remembered; 0 is no duplicate detection."""
    ttl_seconds: float | None = None
    """Longest life of a message, whatever its sender wants; None is for ever."""
    dead_letter_expired: bool = False
    """Whether an expired message goes to the dead letters instead of away."""
    sessions: bool = False
    """Whether every message belongs to a session and is received by the session's holder alone."""
    refuses_batches: bool = False
    """Whether it takes one message at a time, as a partitioned entity with duplicate detection does."""
    most_messages: int | None = None
    """How many messages it holds before it is full and takes no more; None is without end."""

    @classmethod
    def parse(cls, text: str) -> "QueueOptions":
        """Read the command line's form; raises `ValueError` that says what is wrong."""
        name, *settings = (part.strip() for part in text.split(","))
        if not name:
            raise ValueError(f"{text!r} names no queue")
        return replace(cls(name), **dict(_setting(setting) for setting in settings))


def _setting(text: str) -> tuple[str, Any]:
    key, _, value = text.partition("=")
    try:
        if key in _SECONDS:
            return _SECONDS[key], _positive(float(value))
        if key in _COUNTS:
            return _COUNTS[key], int(_positive(int(value)))
        if key in _FLAGS and not value:
            return _FLAGS[key], True
    except ValueError:
        raise ValueError(f"{text!r}: {key} wants a number above 0") from None
    raise ValueError(f"{text!r} is unknown; known are {', '.join([*_SECONDS, *_COUNTS, *_FLAGS])}")


def _positive(number: float) -> float:
    if not number > 0:
        raise ValueError
    return number
