"""Tells who waits for a result that there will be none: the failure of a dead letter, as a message.

A report is a courtesy beside the settlement: one that cannot be sent changes nothing about the dead letter.
"""

import asyncio
import hashlib
import logging
from typing import Any

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage
from pydantic_core import to_json

from app.errors import InvalidMessage, ReplyRefused, RequestError
from app.servicebus.message import robot_in
from app.servicebus.outboxes import Outboxes
from app.servicebus.results import Replies, request_id_of
from app.servicebus.settlement import settlement_for
from app.servicebus.trouble import Trouble
from app.telemetry import tracing

log = logging.getLogger(__name__)

SECONDS = 5.0
"""How long a report may take: its message's lock is kept meanwhile, and its dead-lettering waits."""
SUBJECT = "problem"
_ID_DIGITS = 32


class FailureReports:
    """Goes where the result would have gone; where that place is refused, to the operator's results queue."""

    def __init__(self, replies: Replies, outboxes: Outboxes) -> None:
        self._replies = replies
        self._outboxes = outboxes
        self._trouble = Trouble(log, "reporting failures")

    async def send(self, message: ServiceBusReceivedMessage, error: RequestError) -> None:
        """Report `error`, because of which `message` is about to be dead-lettered. Raises nothing."""
        try:
            async with asyncio.timeout(SECONDS):
                await self._send(message, *report_of(message, error, self._replies.source))
        except (RequestError, TimeoutError) as failure:
            self._trouble.again(str(failure) or "it took too long")
        except Exception:  # nothing about a report may keep a message from its end
            log.exception("failed on reporting a failure")
        else:
            self._trouble.over()

    async def _send(self, message: ServiceBusReceivedMessage, report: ServiceBusMessage, size: int) -> None:
        default = self._replies.default
        try:
            entity = self._replies.entity_for(message.reply_to)
            await self._outboxes.send(entity, report, size)
        except ReplyRefused:
            if default is None or (message.reply_to or default) == default:
                raise
            await self._outboxes.send(default, report, size)


def report_of(message: ServiceBusReceivedMessage, error: RequestError, queue: str) -> tuple[ServiceBusMessage, int]:
    """The report, and its body's size in bytes. Its id is the same for every repetition of the same failure."""
    request_id = request_id_of(message, queue)
    settled = settlement_for(error)
    robot_id = _robot(message)
    body = to_json(
        {
            "type": "about:blank",
            "title": settled.reason,
            "code": error.code,
            "detail": settled.description,
            "request_id": request_id,
            "message_id": None if message.message_id is None else str(message.message_id),
            "robot_id": robot_id,
        }
    )
    properties: dict[str | bytes, Any] = {"code": error.code}
    properties.update(tracing.carried_on(message.application_properties))
    if robot_id is not None:
        properties["robot_id"] = robot_id
    report = ServiceBusMessage(
        body,
        message_id=hashlib.sha256("\0".join((request_id, SUBJECT, error.code)).encode()).hexdigest()[:_ID_DIGITS],
        correlation_id=request_id,
        session_id=message.reply_to_session_id or message.session_id,
        content_type="application/problem+json",
        subject=SUBJECT,
        application_properties=properties,
    )
    return report, len(body)


def _robot(message: ServiceBusReceivedMessage) -> str | None:
    """A robot's name that is too long for one is among what may be wrong with the message."""
    try:
        named = robot_in(message)
    except InvalidMessage:
        return None
    return named[:256] if named is not None and named.isprintable() else None
