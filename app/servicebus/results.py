"""From an answer to the message that carries it."""

import hashlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from pydantic_core import to_json

from app.core.request import InferenceResult
from app.errors import ReplyRefused
from app.servicebus.message import Order
from app.telemetry import tracing
from app.wire.prediction import to_wire

_ID_DIGITS = 32


@dataclass(frozen=True, slots=True)
class Replies:
    """Where results go: `default` where a message names no place, and the entities that it may name.

    With `allowed` empty these are all of the namespace but `source`, the queue that is read.
    """

    default: str | None
    source: str
    namespace: str
    allowed: frozenset[str]

    def entity_for(self, reply_to: str | None) -> str:
        """The queue or topic for a result; raises `ReplyRefused`."""
        if not reply_to:
            if self.default is None:
                raise ReplyRefused("The message has no reply_to, and ROO_RESULTS_QUEUE is not set.")
            return self.default
        entity = self._entity(reply_to)
        if entity == self.default:
            return entity
        if self.allowed and entity not in self.allowed:
            raise ReplyRefused(f"reply_to {reply_to[:200]!r} is not one of ROO_REPLY_TO.")
        if entity.partition("/")[0].lower() == self.source.lower():
            raise ReplyRefused("reply_to is the queue that is read: the result would come back as a request.")
        return entity

    def _entity(self, reply_to: str) -> str:
        """A bare name is an entity of our namespace; so is a URL, if its host is."""
        if "//" not in reply_to:
            return reply_to.strip("/")
        place = urlsplit(reply_to)
        if place.netloc.lower() != self.namespace.lower():
            raise ReplyRefused(f"reply_to is on {place.netloc[:200]!r}; results go to {self.namespace} only.")
        return place.path.strip("/")


def request_id_of(message: ServiceBusReceivedMessage, queue: str) -> str:
    """The message's id, or what else is the same each time that it is delivered."""
    return str(message.message_id) if message.message_id else f"{queue}:{message.sequence_number}"


def result_id(request_id: str, model: str, version: str) -> str:
    """The same for every repetition of a request, so that duplicate detection drops all results but the first."""
    digest = hashlib.sha256("\0".join((request_id, model, version)).encode())
    return digest.hexdigest()[:_ID_DIGITS]


def body_of(order: Order, result: InferenceResult, annotated_url: str | None) -> bytes:
    """The result as JSON: HTTP's `Prediction`, and what the message said of itself."""
    said: dict[str, Any] = {"robot_id": order.options.robot_id, "image_url": _without_signature(order.image_url)}
    return to_json({**to_wire(result), **said, "annotated_url": annotated_url})


def pointer_to(url: str, result: InferenceResult) -> bytes:
    """What is sent in place of a result that is too large for a message."""
    return to_json(
        {"model": result.model, "version": result.version, "request_id": result.request_id, "result_url": url}
    )


def message_of(
    request: ServiceBusReceivedMessage, result: InferenceResult, body: bytes, robot_id: str | None
) -> ServiceBusMessage:
    """The message for a result of `request`."""
    properties: dict[str | bytes, Any] = {"model": result.model, "version": result.version}
    properties.update(tracing.carried_on(request.application_properties))
    if robot_id is not None:
        properties["robot_id"] = robot_id
    return ServiceBusMessage(
        body,
        message_id=result_id(result.request_id, result.model, result.version),
        correlation_id=result.request_id,
        session_id=request.reply_to_session_id or request.session_id,
        content_type="application/json",
        subject="prediction",
        application_properties=properties,
    )


def _without_signature(url: str | None) -> str | None:
    return url.partition("?")[0] if url else url
