"""From an answer to the message that carries it."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from pydantic_core import to_json

from app.core.request import InferenceResult
from app.errors import ReplyRefused
from app.servicebus.message import Job
from app.sinks.base import Finding
from app.telemetry import tracing
from app.wire.telling import to_wire

_ID_DIGITS = 32

_ENTITY = re.compile(r"[A-Za-z0-9_-][\w.~-]*(/[A-Za-z0-9_-][\w.~-]*)*", re.ASCII)
"""A queue's or a topic's name. What else a broker may understand (`$DeadLetterQueue`, `..`, `%24`) is no place for
results."""


@dataclass(frozen=True, slots=True)
class Replies:
    """Where results go: `default` where a message names no place, and the entities that it may name.

    With `allowed` empty these are all of the namespace but `source`, the queue that is read, and `others` that are.
    Names are compared as Service Bus does, in whatever case they are written.
    """

    default: str | None
    source: str
    namespace: str
    allowed: frozenset[str]
    others: tuple[str, ...] = ()

    def entity_for(self, reply_to: str | None) -> str:
        """The queue or topic for a result; raises `ReplyRefused`."""
        if not reply_to:
            if self.default is None:
                raise ReplyRefused("The message has no reply_to, and ROO_RESULTS_QUEUE is not set.")
            return self.default
        entity = self._entity(str(reply_to))
        if self.default is not None and entity.lower() == self.default.lower():
            return self.default
        if _first(entity) in map(_first, (self.source, *self.others)):
            raise ReplyRefused("reply_to is a queue that is read: the result would come back as a request.")
        if self.allowed and entity.lower() not in {name.lower() for name in self.allowed}:
            raise ReplyRefused(f"reply_to {reply_to[:200]!r} is not one of ROO_REPLY_TO.")
        return entity

    def _entity(self, reply_to: str) -> str:
        """A bare name is an entity of our namespace; so is a URL, if its host is."""
        is_url = "://" in reply_to or reply_to.startswith("//")
        name = self._path_of(reply_to) if is_url else reply_to
        if not _ENTITY.fullmatch(name.strip("/")):
            raise ReplyRefused(f"reply_to {reply_to[:200]!r} is not the name of a queue or a topic.")
        return name.strip("/")

    def _path_of(self, url: str) -> str:
        try:
            place = urlsplit(url)
        except ValueError:
            raise ReplyRefused(f"reply_to {url[:200]!r} is not a URL.") from None
        if place.netloc.lower() != self.namespace.lower():
            raise ReplyRefused(
                f"reply_to is on {(place.hostname or 'no host')[:200]!r}; results go to {self.namespace} only."
            )
        return place.path


def _first(path: str) -> str:
    """The entity that a path begins with: a subscription's is its topic."""
    return path.strip("/").partition("/")[0].lower()


def request_id_of(message: ServiceBusReceivedMessage, queue: str) -> str:
    """The message's id, which may be a number too, or what else is the same each time that it is delivered."""
    found: object = message.message_id
    if isinstance(found, bytes):
        found = found.decode("utf-8", "backslashreplace")
    return f"{queue}:{message.sequence_number}" if found in (None, "") else str(found)


def result_id(request_id: str, model: str, version: str) -> str:
    """The same for every repetition of a request, so that duplicate detection drops all results but the first."""
    digest = hashlib.sha256("\0".join((request_id, model, version)).encode())
    return digest.hexdigest()[:_ID_DIGITS]


@dataclass(frozen=True, slots=True)
class Bodies:
    """A result, and what is stored in its place where it is too large."""

    whole: bytes
    pointer: bytes = b""

    def within(self, limit: int) -> bytes:
        """The one of them that a place for so many bytes gets."""
        return self.whole if len(self.whole) <= limit else self.pointer


def body_of(job: Job, result: InferenceResult, annotated_url: str | None) -> bytes:
    """The result as JSON: HTTP's `Prediction`, and what the message said of itself."""
    said: dict[str, Any] = {"robot_id": job.options.robot_id, "image_url": _without_signature(job.image_url)}
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


def finding_of(request: ServiceBusReceivedMessage, result: InferenceResult, body: bytes) -> Finding:
    """What sinks are given of a result of `request`."""
    found = result_id(result.request_id, result.model, result.version)
    return Finding(found, body, tracing.carried_on(request.application_properties))


def _without_signature(url: str | None) -> str | None:
    return url.partition("?")[0] if url else url
