"""From a message to the picture and the options that it asks for.

Three kinds are understood: the picture itself (`content_type: image/*`), a JSON envelope, and the event that Event
Grid sends when a blob was created, as CloudEvents 1.0 or in its own schema
(https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage).
`docs/queue.md` describes them; `docs/queue-message.schema.json` is the envelope's schema.
"""

import base64
import binascii
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.amqp import AmqpMessageBodyType
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json

from app.errors import InvalidMessage, PayloadTooLarge
from app.servicebus.wrong_fields import explain
from app.wire.options import RequestOptions

BLOB_CREATED = "Microsoft.Storage.BlobCreated"
_RAW = ("image/", "application/octet-stream")
_JSON = ("application/json", "application/cloudevents+json", "text/plain")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_NO_JSON = (
    "The message is read as JSON, as its content type says (application/json, text/plain), and is none. Send a picture "
    "itself as image/jpeg, image/png or image/webp."
)
_A_STRING = (
    "The message's body is a JSON string, and no envelope is in it. The JavaScript SDK encodes every string as JSON: "
    "give it the envelope as an object, and a picture as a Buffer."
)

_AROUND_BYTES = 64 * 1024
"""What an envelope or an event may have beside the picture. Event Grid's events have a few kilobytes."""


class MessageOptions(RequestOptions):
    """What a message may ask for, in its envelope or in its application properties."""

    model: str | None = Field(None, max_length=256, description="Model to ask; the default one where left out.")
    version: str | None = Field(
        None, max_length=64, description="Version or stage of the model; left out, its shares decide."
    )
    robot_id: str | None = Field(
        None,
        max_length=256,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]*$",
        description="Who took the picture; comes back with the result. No control characters.",
    )
    priority: Literal["high", "normal", "low"] | None = Field(
        None, description="Which of the messages that are held goes first; `normal` where left out."
    )
    annotate: Literal["image/jpeg", "image/png"] | None = Field(
        None, description="Also store the picture with the answers drawn in, and link it in the result."
    )

    # A property of a message is a string as often as a number.
    model_config = ConfigDict(extra="forbid", protected_namespaces=(), coerce_numbers_to_str=True)


class Envelope(MessageOptions):
    """A JSON message: one picture, in it or in a blob, and what is wanted of it."""

    envelope: Literal[1] = Field(1, description="Version of this schema.")
    image: str | None = Field(None, description="The encoded picture (JPEG, PNG or WebP) in base64.")
    image_url: str | None = Field(
        None, max_length=4096, description="The blob that holds the picture, in a storage account that is allowed."
    )

    @model_validator(mode="after")
    def _one_picture(self) -> "Envelope":
        if (self.image is None) == (self.image_url is None):
            raise ValueError("give either `image` or `image_url`")
        return self


class _BlobData(BaseModel):
    model_config = ConfigDict(extra="ignore")

    url: str = Field(max_length=4096)


class _BlobEvent(BaseModel):
    """The part that counts of a CloudEvent 1.0, or of Event Grid's own schema, which says `eventType`."""

    model_config = ConfigDict(extra="ignore")

    type: str = Field(validation_alias=AliasChoices("type", "eventType"))
    data: _BlobData


@dataclass(frozen=True, slots=True)
class Job:
    """What a message asks for: a picture, here or in a blob (exactly one of the two), and its options."""

    image: bytes | None
    image_url: str | None
    options: MessageOptions


def read_job(message: ServiceBusReceivedMessage, most_bytes: int) -> Job:
    """Understand a message.

    Raises `InvalidMessage` saying what is not as documented, `PayloadTooLarge` where the picture has more than
    `most_bytes`.
    """
    properties = _options_of(message.application_properties or {})
    body = _body(message)
    kind = str(_text(message.content_type or "")).partition(";")[0].strip().lower()
    if kind.startswith(_RAW) and body.startswith(b'"'):
        raise InvalidMessage(_A_STRING)
    if kind.startswith(_RAW) or (not kind and not _looks_like_json(body)):
        return Job(_checked(body, most_bytes), None, properties)
    if not kind or kind in _JSON:
        return _read_json(_parse(body, _base64_length(most_bytes) + _AROUND_BYTES), properties, most_bytes)
    raise InvalidMessage(
        f"Messages of content type {kind[:100]!r} are not taken. Send the picture itself as image/jpeg, image/png or "
        "image/webp, or a JSON envelope as application/json."
    )


def robot_in(message: ServiceBusReceivedMessage) -> str | None:
    """The robot that a message names, be it good for anything else or not; raises `InvalidMessage` or returns None."""
    said = {_text(name): _text(value) for name, value in (message.application_properties or {}).items()}
    body = _body(message)
    if _looks_like_json(body):
        with contextlib.suppress(InvalidMessage, PayloadTooLarge):
            said |= _parse(body, len(body))
    return str(said["robot_id"]) if said.get("robot_id") is not None else None


def envelope_in(body: bytes) -> dict[str, Any] | None:
    """The object of a body that is an envelope, be its fields right or wrong; None where it is something else."""
    if not _looks_like_json(body):
        return None
    with contextlib.suppress(InvalidMessage, PayloadTooLarge):
        parsed = _parse(body, len(body))
        return None if _is_event(parsed) else parsed
    return None


def _body(message: ServiceBusReceivedMessage) -> bytes:
    if message.body_type is not AmqpMessageBodyType.DATA:
        raise InvalidMessage("The message's body is an AMQP value or sequence. Send bytes (a data section).")
    sections = list(message.body)
    return bytes(sections[0]) if len(sections) == 1 else b"".join(sections)


def _looks_like_json(body: bytes) -> bool:
    """No picture begins with a brace, a bracket or a quote."""
    return body.removeprefix(_BYTE_ORDER_MARK).lstrip().startswith((b"{", b"[", b'"'))


def _parse(body: bytes, most_bytes: int) -> dict[str, Any]:
    """The object that is the body. The parser refuses NaN, lone surrogates and nesting that would overflow a stack."""
    if len(body) > most_bytes:
        raise PayloadTooLarge(f"The message has {len(body)} bytes; at most {most_bytes} of JSON are taken.")
    parsed = _from_json(body.removeprefix(_BYTE_ORDER_MARK), _NO_JSON)
    if isinstance(parsed, str):  # the JavaScript SDK encodes a string as JSON, also one that is JSON already
        parsed = _from_json(parsed.encode(), _A_STRING)
        if not isinstance(parsed, dict):
            raise InvalidMessage(_A_STRING)
    if isinstance(parsed, list) and len(parsed) == 1 and _is_event(parsed[0]):
        (parsed,) = parsed  # Event Grid's own schema is an array of events wherever it goes by HTTP
    if not isinstance(parsed, dict):
        raise InvalidMessage("The message's JSON is not an object. Send one envelope, or one event, a message.")
    return parsed


def _is_event(parsed: Any) -> bool:
    return isinstance(parsed, dict) and ("specversion" in parsed or "eventType" in parsed)


def _from_json(text: bytes, otherwise: str) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        raise InvalidMessage(otherwise) from None


def _read_json(parsed: dict[str, Any], properties: MessageOptions, most_bytes: int) -> Job:
    if _is_event(parsed):
        return Job(None, _read_event(parsed), properties)
    try:
        envelope = Envelope.model_validate(parsed)
    except ValidationError as error:
        raise InvalidMessage(f"The envelope is not as documented: {explain(error, Envelope.model_fields)}") from None
    options = _merge(properties, envelope)
    if envelope.image is None:
        return Job(None, envelope.image_url, options)
    return Job(_checked(_from_base64(envelope.image, most_bytes), most_bytes), None, options)


def _read_event(parsed: dict[str, Any]) -> str:
    try:
        event = _BlobEvent.model_validate(parsed)
    except ValidationError as error:
        raise InvalidMessage(f"The event is not a blob's: {explain(error, ())}") from None
    if event.type != BLOB_CREATED:
        raise InvalidMessage(f"Events of type {event.type[:100]!r} are not taken; subscribe to {BLOB_CREATED} alone.")
    return event.data.url


def _base64_length(size: int) -> int:
    """Characters that so many bytes have in base64, padding included."""
    return (size + 2) // 3 * 4


def _from_base64(text: str, most_bytes: int) -> bytes:
    if len(text) > _base64_length(most_bytes):
        raise PayloadTooLarge(f"The picture has more than {most_bytes} bytes, which is the most that are taken.")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidMessage("`image` is not base64. Encode the bytes without line breaks or a data: prefix.") from None


def _checked(body: bytes, most_bytes: int) -> bytes:
    if not body:
        raise InvalidMessage("The message has no picture in it.")
    if len(body) > most_bytes:
        raise PayloadTooLarge(f"The picture has {len(body)} bytes; at most {most_bytes} are taken.")
    return body


def _options_of(properties: Mapping[str | bytes, Any]) -> MessageOptions:
    """The options among the application properties; others, of tracing or the sender's own, are not ours to judge."""
    named = {_text(name): _text(value) for name, value in properties.items()}
    known = {name: value for name, value in named.items() if name in MessageOptions.model_fields}
    try:
        return MessageOptions.model_validate(known)
    except ValidationError as error:
        said = explain(error, MessageOptions.model_fields)
        raise InvalidMessage(f"The application properties are not as documented: {said}") from None


def _text(value: Any) -> Any:
    """AMQP strings come as bytes from the SDK."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _merge(properties: MessageOptions, envelope: Envelope) -> MessageOptions:
    """What the envelope says wins over the properties."""
    said = {name: getattr(envelope, name) for name in envelope.model_fields_set & MessageOptions.model_fields.keys()}
    return properties.model_copy(update=said)
