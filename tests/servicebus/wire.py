"""Messages as the SDK hands them over, read from the octets that a broker would send."""

import time
from typing import Any

from azure.servicebus import ServiceBusReceivedMessage

from app.devbus.amqp.encode import encoded
from app.devbus.amqp.message import ANNOTATIONS, APPLICATION_PROPERTIES, DATA, HEADER, PROPERTIES
from app.devbus.amqp.types import Described, Symbol, Timestamp, Uint
from app.devbus.entry import ENQUEUED_TIME, SEQUENCE_NUMBER

_FIELDS = (
    "message_id",
    "user_id",
    "to",
    "subject",
    "reply_to",
    "correlation_id",
    "content_type",
    "content_encoding",
    "absolute_expiry_time",
    "creation_time",
    "group_id",
    "group_sequence",
    "reply_to_group_id",
)
"""The properties section's, in their order (AMQP 1.0, part 3, 3.2.4)."""


def received(*bodies: bytes, **settings: Any) -> ServiceBusReceivedMessage:
    """What the SDK makes of `octets` of the same arguments."""
    return ServiceBusReceivedMessage.from_bytes(octets(*bodies, **settings))


def octets(
    *bodies: bytes,
    content_type: str | bytes | None = None,
    application_properties: dict[Any, Any] | None = None,
    body_section: Described | None = None,
    age: float = 0.0,
    ttl: float | None = None,
    sequence_number: int = 1,
    **properties: Any,
) -> bytes:
    """A message with a data section for each body (or with `body_section`), enqueued `age` seconds ago."""
    kind = Symbol(content_type) if isinstance(content_type, str) else content_type
    fields = {"content_type": kind, **properties}
    assert fields.keys() <= set(_FIELDS)
    annotations = {SEQUENCE_NUMBER: sequence_number, ENQUEUED_TIME: Timestamp(round((time.time() - age) * 1000))}
    sections = [
        Described(HEADER, [None, None, None if ttl is None else Uint(ttl * 1000)]),
        Described(ANNOTATIONS, annotations),
        Described(PROPERTIES, [fields.get(name) for name in _FIELDS]),
        Described(APPLICATION_PROPERTIES, application_properties or {}),
        *([body_section] if body_section else [Described(DATA, body) for body in bodies]),
    ]
    return b"".join(encoded(section) for section in sections)
