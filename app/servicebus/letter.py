"""One dead letter: what an operator reads of it, and the copy that is sent again."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from azure.servicebus.amqp import AmqpAnnotatedMessage, AmqpMessageBodyType

from app.errors import InvalidMessage
from app.servicebus.message import envelope_in, robot_in

_SIGNATURE = re.compile(r"(?<![A-Za-z])(sig=)[^&\"'\s\\]+", re.IGNORECASE)
_BROKERS = ("DeadLetterReason", "DeadLetterErrorDescription")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message among the dead letters; `sent_at` is when it was put on the queue, by the broker's clock."""

    sequence_number: int
    message_id: str
    reason: str
    description: str
    delivery_count: int
    sent_at: datetime | None
    robot_id: str | None
    content_type: str | None
    correlation_id: str | None
    reply_to: str | None
    session_id: str | None
    properties: dict[str, Any]
    body: bytes

    @property
    def age(self) -> float | None:
        """Seconds since it was put on the queue; None where the broker does not tell."""
        return None if self.sent_at is None else max(0.0, (datetime.now(UTC) - self.sent_at).total_seconds())


def letter_of(message: ServiceBusReceivedMessage) -> DeadLetter:
    """A dead letter from what the SDK makes of it."""
    is_data = message.body_type is AmqpMessageBodyType.DATA
    body = b"".join(message.body) if is_data else repr(message.body).encode()
    try:
        robot_id = robot_in(message)
    except InvalidMessage:
        robot_id = None
    return DeadLetter(
        sequence_number=int(message.sequence_number or 0),
        message_id=str(message.message_id),
        reason=message.dead_letter_reason or "",
        description=message.dead_letter_error_description or "",
        delivery_count=message.delivery_count or 0,
        sent_at=message.enqueued_time_utc,
        robot_id=robot_id,
        content_type=None if message.content_type is None else str(message.content_type),
        correlation_id=message.correlation_id,
        reply_to=message.reply_to,
        session_id=message.session_id,
        properties=_properties(message),
        body=body,
    )


def masked(text: str) -> str:
    """Without what a link's signature is."""
    return _SIGNATURE.sub(r"\1…", text)


def copy_of(
    message: ServiceBusReceivedMessage, changes: Mapping[str, Any] | None = None
) -> ServiceBusMessage | AmqpAnnotatedMessage:
    """The message as its sender sent it: same id, same properties, a whole time to live, nothing of its death.

    `changes` are options that it asks for instead: in its envelope, which wins over properties, or else in these.
    """
    body, properties = _changed(message, changes or {})
    fields: dict[str, Any] = {
        name: getattr(message, name)
        for name in ("session_id", "content_type", "correlation_id", "subject", "partition_key", "to")
    }
    copy = ServiceBusMessage(
        body,
        message_id=None if message.message_id is None else str(message.message_id),  # the SDK would leave out a 0
        application_properties=dict(properties.items()),
        reply_to=message.reply_to,
        reply_to_session_id=message.reply_to_session_id,
        time_to_live=message.time_to_live,
        **fields,
    )
    return copy if message.body_type is AmqpMessageBodyType.DATA else _with_body(copy, message)


def unsendable(message: ServiceBusReceivedMessage) -> str:
    """Why the SDK can make no copy of a message; empty where it can. It sends bytes among the properties as text."""
    for name, value in _properties(message).items():
        if bytes in (type(name), type(value)):
            return f"its property {str(name)!r} is bytes that are no text, and cannot be sent from here. Drop it"
    return ""


def _changed(message: ServiceBusReceivedMessage, changes: Mapping[str, Any]) -> tuple[bytes, dict[str, Any]]:
    body = b"".join(message.body) if message.body_type is AmqpMessageBodyType.DATA else b""
    properties = _properties(message)
    if not changes:
        return body, properties
    if (envelope := envelope_in(body)) is not None:
        return json.dumps(envelope | dict(changes)).encode(), properties
    return body, properties | {
        name: ",".join(value) if isinstance(value, list) else value for name, value in changes.items()
    }


def _with_body(copy: ServiceBusMessage, message: ServiceBusReceivedMessage) -> AmqpAnnotatedMessage:
    """Bodies that are AMQP's own values are nothing that this service reads, and are not to be changed all the same."""
    is_value = message.body_type is AmqpMessageBodyType.VALUE
    body = {"value_body": message.body} if is_value else {"sequence_body": list(message.body)}
    raw: Any = copy.raw_amqp_message
    return AmqpAnnotatedMessage(
        header=raw.header,
        properties=raw.properties,
        application_properties=raw.application_properties,
        annotations=raw.annotations,
        **body,
    )


def _properties(message: ServiceBusReceivedMessage) -> dict[str, Any]:
    """The sender's application properties. The SDK gives AMQP's strings as bytes."""
    named = {_text(name): _text(value) for name, value in (message.application_properties or {}).items()}
    return {name: value for name, value in named.items() if name not in _BROKERS}


def _text(value: Any) -> Any:
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value
