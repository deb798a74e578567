"""The operations of `<entity>/$management`, as the SDK asks for them."""

from collections.abc import Callable
from typing import Any

from app.devbus.amqp.errors import (
    ARGUMENT_ERROR,
    MESSAGE_LOCK_LOST,
    MESSAGE_NOT_FOUND,
    NOT_ALLOWED,
    NOT_FOUND,
    NOT_IMPLEMENTED,
    SERVER_BUSY,
    SESSION_LOCK_LOST,
    AmqpError,
)
from app.devbus.amqp.message import Message, delivery_sections, parse
from app.devbus.amqp.types import Array, Int
from app.devbus.entity import Queue
from app.devbus.entry import Entry, Outcome, milliseconds
from app.devbus.namespace import Namespace, Topic
from app.devbus.session_queue import SessionQueue

SETTLING = "com.microsoft:update-disposition"
"""The operation that settles by lock token."""

_OUTCOMES = {
    "completed": Outcome.COMPLETE,
    "abandoned": Outcome.ABANDON,
    "defered": Outcome.DEFER,
    "suspended": Outcome.DEAD_LETTER,
}
_STATUS = {
    MESSAGE_LOCK_LOST: 410,
    SESSION_LOCK_LOST: 410,
    MESSAGE_NOT_FOUND: 404,
    NOT_FOUND: 404,
    SERVER_BUSY: 503,
    NOT_IMPLEMENTED: 501,
}
_OK, _NO_CONTENT, _BAD_REQUEST = 200, 204, 400
_DELETE = 0
"""The receiver settle mode (AMQP 1.0, part 2, 2.8.3) that stands for receive-and-delete in a request."""

Body = dict[str, Any]
Answer = tuple[dict[str, Any], Any]


class Management:
    """One entity's operations."""

    def __init__(self, namespace: Namespace, path: str) -> None:
        self._namespace = namespace
        self._path = path
        self._operations: dict[str, Callable[[Body], Body | None]] = {
            "renew-lock": self._renew_lock,
            "update-disposition": self._update_disposition,
            "peek-message": self._peek_message,
            "receive-by-sequence-number": self._receive_by_sequence_number,
            "schedule-message": self._schedule_message,
            "cancel-scheduled-message": self._cancel_scheduled_message,
            "renew-session-lock": self._renew_session_lock,
            "get-session-state": self._get_session_state,
            "set-session-state": self._set_session_state,
            "get-message-sessions": self._get_message_sessions,
        }

    def answer(self, request: Message) -> Answer:
        """Do what is asked; the answer's application properties and value, errors included."""
        name = str(request.application_map.get("operation")).removeprefix("com.microsoft:")
        try:
            if name not in self._operations:
                raise AmqpError(NOT_IMPLEMENTED, f"The operation {name!r} is not supported.")
            body = self._operations[name](request.value or {})
        except AmqpError as error:
            return failure(error)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return failure(AmqpError(ARGUMENT_ERROR, f"The request {name!r} is not complete: {error!r}"))
        return _status(_NO_CONTENT if body is None else _OK, "OK"), body or {}

    def _renew_lock(self, body: Body) -> Body:
        now = self._namespace.clock()
        until = [milliseconds(self._queue.renew(token, now)) for token in body["lock-tokens"]]
        return {"expirations": Array(until)}

    def _update_disposition(self, body: Body) -> Body:
        outcome = _OUTCOMES[body["disposition-status"]]
        reason, description = body.get("deadletter-reason") or "", body.get("deadletter-description") or ""
        properties = body.get("properties-to-modify")
        for token in body["lock-tokens"]:
            self._queue.settle(token, outcome, self._namespace.clock(), reason, description, properties)
        return {}

    def _peek_message(self, body: Body) -> Body | None:
        entries = self._queue.peek(body["from-sequence-number"], body["message-count"], body.get("session-id"))
        return {"messages": [{"message": _shown(entry)} for entry in entries]} if entries else None

    def _receive_by_sequence_number(self, body: Body) -> Body:
        delete = body["receiver-settle-mode"] == _DELETE
        entries = self._queue.acquire_deferred(body["sequence-numbers"], self._namespace.clock(), delete=delete)
        return {"messages": [_received(entry) for entry in entries]}

    def _schedule_message(self, body: Body) -> Body:
        now, numbers = self._namespace.clock(), Array()
        messages = [parse(item["message"]) for item in body["messages"]]
        self._target.check(messages)
        for message in messages:
            numbers.append(self._target.send(message, now, message.scheduled_at))
        return {"sequence-numbers": numbers}

    def _cancel_scheduled_message(self, body: Body) -> Body:
        self._target.cancel(body["sequence-numbers"])
        return {}

    def _renew_session_lock(self, body: Body) -> Body:
        until = self._session_queue.renew_session(body["session-id"], self._namespace.clock())
        return {"expiration": milliseconds(until)}

    def _get_session_state(self, body: Body) -> Body:
        return {"session-state": self._session_queue.states.get(body["session-id"])}

    def _set_session_state(self, body: Body) -> Body:
        self._session_queue.set_state(body["session-id"], body["session-state"])
        return {}

    def _get_message_sessions(self, body: Body) -> Body | None:
        skip = body["skip"]
        found = self._session_queue.known_sessions()[skip : skip + body["top"]]
        return {"skip": Int(skip + len(found)), "sessions-ids": Array(found)} if found else None

    @property
    def _session_queue(self) -> SessionQueue:
        queue = self._queue
        if not isinstance(queue, SessionQueue):
            raise AmqpError(NOT_ALLOWED, f"{self._path!r} has no sessions.")
        return queue

    @property
    def _queue(self) -> Queue:
        return self._namespace.dispatcher(self._path).queue

    @property
    def _target(self) -> Queue | Topic:
        return self._namespace.target(self._path)


def failure(error: AmqpError) -> Answer:
    """The answer that reports an error."""
    status = _status(_STATUS.get(error.condition, _BAD_REQUEST), error.description)
    return {**status, "errorCondition": error.condition}, {}


def _status(code: int, description: str) -> dict[str, Any]:
    return {"statusCode": Int(code), "statusDescription": description}


def _shown(entry: Entry) -> bytes:
    return b"".join(delivery_sections(entry.message, entry.delivery_count, entry.peek_annotations()))


def _received(entry: Entry) -> Body:
    sections = delivery_sections(entry.message, entry.delivery_count, entry.delivery_annotations())
    message: Body = {"message": b"".join(sections)}
    return message if entry.lock_token is None else {**message, "lock-token": entry.lock_token}
