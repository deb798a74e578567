"""What messages are received from, by its path: a queue, or a topic's subscription."""

import re
from dataclasses import dataclass

_SUBSCRIPTIONS = "subscriptions"
_LIKELY = re.compile(r"subs\w*", re.IGNORECASE | re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][\w.~-]*(/[A-Za-z0-9][\w.~-]*)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class QueueSource:
    """A queue, or with a `subscription` that of the topic `name`."""

    name: str
    subscription: str | None = None

    @classmethod
    def of(cls, path: str) -> "QueueSource":
        """From `QUEUE` or `TOPIC/subscriptions/NAME`; the word in the middle in whatever case, as Service Bus has it.

        Raises `ValueError` where it is neither.
        """
        if not _NAME.fullmatch(path) or path.lower().endswith(f"/{_SUBSCRIPTIONS}"):
            raise ValueError(f"{path!r} is neither a queue's name nor TOPIC/subscriptions/NAME")
        entity, _, subscription = path.rpartition("/")
        topic, _, word = entity.rpartition("/")
        return cls(topic, subscription) if topic and word.lower() == _SUBSCRIPTIONS else cls(path)


def hint_where_missing(path: str) -> str:
    """What may be wrong with a path that does not exist, as a sentence with a space before it; else nothing."""
    topic, _, rest = path.rpartition("/")
    topic, _, word = topic.rpartition("/")
    if topic and _LIKELY.fullmatch(word) and word.lower() != _SUBSCRIPTIONS:
        return f" A subscription is named {topic}/{_SUBSCRIPTIONS}/{rest}."
    return ""
