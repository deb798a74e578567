"""Messages and their sections (AMQP 1.0, part 3, section 3.2).

What the sender wrote stays encoded: a broker must hand on the bare message as it came. Only the header and the
annotations are written anew for each delivery.
"""

import struct
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from app.devbus.amqp.decode import Octets, decode, skip
from app.devbus.amqp.encode import encode, encoded
from app.devbus.amqp.errors import DECODE_ERROR, AmqpError
from app.devbus.amqp.types import Described, Symbol, Uint

BATCH_FORMAT = 0x80013700
"""Message format of Service Bus batches: each data section holds a whole encoded message."""

HEADER, DELIVERY_ANNOTATIONS, ANNOTATIONS, PROPERTIES, APPLICATION_PROPERTIES = 0x70, 0x71, 0x72, 0x73, 0x74
DATA, SEQUENCE, VALUE, FOOTER = 0x75, 0x76, 0x77, 0x78

SCHEDULED_TIME = Symbol("x-opt-scheduled-enqueue-time")

_BODY = {DATA, SEQUENCE, VALUE, FOOTER}
# Where a field is in the properties section (3.2.4).
_MESSAGE_ID, _REPLY_TO, _CORRELATION_ID, _GROUP_ID = 0, 4, 5, 10
_TTL = 2


@dataclass(frozen=True)
class Message:
    """A message as it was sent: decoded header and annotations, the other sections as octets."""

    header: list[Any] = field(default_factory=list)
    annotations: dict[Any, Any] = field(default_factory=dict)
    properties: Octets = b""
    application_properties: Octets = b""
    body: Octets = b""

    @property
    def ttl(self) -> float | None:
        """Seconds that the sender wants it to live (3.2.1), or None."""
        milliseconds = self.header[_TTL] if len(self.header) > _TTL else None
        return None if milliseconds is None else milliseconds / 1000

    @property
    def scheduled_at(self) -> float:
        """Seconds since 1970 before which the sender wants it not to be delivered, or 0."""
        milliseconds = self.annotations.get(SCHEDULED_TIME)
        return milliseconds / 1000 if isinstance(milliseconds, int) else 0.0

    @property
    def message_id(self) -> Any:
        """The sender's identifier, or None."""
        return self._property(_MESSAGE_ID)

    @property
    def reply_to(self) -> Any:
        """The address for answers, or None."""
        return self._property(_REPLY_TO)

    @property
    def correlation_id(self) -> Any:
        """The message that this one answers, or None."""
        return self._property(_CORRELATION_ID)

    @property
    def group_id(self) -> Any:
        """The session that it belongs to, or None."""
        return self._property(_GROUP_ID)

    @cached_property
    def application_map(self) -> dict[Any, Any]:
        """The application properties, decoded."""
        value = _section_value(self.application_properties)
        return value if isinstance(value, dict) else {}

    @cached_property
    def value(self) -> Any:
        """The value of an amqp-value body (3.2.8), or None where there is none."""
        if not self.body:
            return None
        section, _ = decode(self.body)
        return section.value if section.descriptor == VALUE else None

    @property
    def data(self) -> bytes:
        """The octets of all data sections of the body (3.2.6)."""
        return b"".join(data_sections(self.body))

    def with_id(self, message_id: str) -> "Message":
        """A copy with this identifier, where the sender gave none."""
        if self.message_id is not None:
            return self
        section = encoded(Described(PROPERTIES, [message_id, *self._fields[1:]]))
        return replace(self, properties=section)

    def with_application_properties(self, added: dict[Any, Any]) -> "Message":
        """A copy with these application properties added or replaced."""
        if not added:
            return self
        section = encoded(Described(APPLICATION_PROPERTIES, {**self.application_map, **added}))
        return replace(self, application_properties=section)

    @cached_property
    def _fields(self) -> list[Any]:
        value = _section_value(self.properties)
        return value if isinstance(value, list) else []

    def _property(self, index: int) -> Any:
        return self._fields[index] if len(self._fields) > index else None


def parse(payload: Octets) -> Message:
    """Take a transferred message apart without decoding its body; raises `AmqpError` (decode-error)."""
    header: list[Any] = []
    annotations: dict[Any, Any] = {}
    kept: dict[int, Octets] = {}
    body: list[Octets] = []
    at = 0
    view = memoryview(payload)
    while at < len(view):
        code, value_at, end = _section(view, at)
        if code == HEADER:
            header = decode(view, value_at)[0]
        elif code == ANNOTATIONS:
            annotations = decode(view, value_at)[0]
        elif code in _BODY:
            body.append(view[at:end])
        elif code != DELIVERY_ANNOTATIONS:  # these are for this hop alone, and the SDK writes them last
            kept[code] = view[at:end]
        at = end
    if not isinstance(header, list) or not isinstance(annotations, dict):
        raise AmqpError(DECODE_ERROR, "a header must be a list and annotations a map")
    rest = body[0] if len(body) == 1 else b"".join(body)
    return Message(header, annotations, kept.get(PROPERTIES, b""), kept.get(APPLICATION_PROPERTIES, b""), rest)


def data_sections(body: Octets) -> list[bytes]:
    """The octets of each data section."""
    found, at = [], 0
    while at < len(body):
        code, value_at, end = _section(body, at)
        if code == DATA:
            found.append(decode(body, value_at)[0])
        at = end
    return found


def delivery_sections(message: Message, delivery_count: int, added: dict[Symbol, Any]) -> tuple[Octets, ...]:
    """The sections of one delivery: header and annotations written anew, the bare message as it came."""
    durable, priority, ttl = (*message.header, None, None, None)[:3]
    head = bytearray()
    encode(head, Described(HEADER, [durable, priority, ttl, None, Uint(delivery_count)]))
    encode(head, Described(ANNOTATIONS, {**message.annotations, **added}))
    return bytes(head), message.properties, message.application_properties, message.body


def answer(correlation_id: Any, application_properties: dict[str, Any], value: Any) -> bytes:
    """An encoded response message of a request/response link."""
    out = bytearray()
    encode(out, Described(PROPERTIES, [None, None, None, None, None, correlation_id]))
    encode(out, Described(APPLICATION_PROPERTIES, application_properties))
    encode(out, Described(VALUE, value))
    return bytes(out)


def _section(data: Octets, at: int) -> tuple[int, int, int]:
    """A section's descriptor, where its value begins and where it ends."""
    try:
        if data[at] != 0:
            raise AmqpError(DECODE_ERROR, "a message section must be a described value")
        code, value_at = decode(data, at + 1)
        end = skip(data, value_at)
    except (IndexError, struct.error) as error:
        raise AmqpError(DECODE_ERROR, f"a message section is cut short: {error}") from None
    if end > len(data) or not isinstance(code, int) or not HEADER <= code <= FOOTER:
        raise AmqpError(DECODE_ERROR, f"a message section {code} that is unknown or cut short")
    return code, value_at, end


def _section_value(section: Octets) -> Any:
    """What a section holds, or None where it cannot be read: that is the receiver's business, not the broker's."""
    try:
        return decode(section)[0].value if section else None
    except AmqpError:
        return None
