"""What takes a client's messages: queues and topics, and the two nodes that answer requests."""

import asyncio
from typing import Any

from app.devbus.amqp.decode import Octets
from app.devbus.amqp.errors import SERVER_BUSY, AmqpError
from app.devbus.amqp.message import BATCH_FORMAT, Message, answer, data_sections, parse
from app.devbus.links import IncomingLink
from app.devbus.management import SETTLING, Management, failure
from app.devbus.namespace import Namespace
from app.devbus.settlement import fated
from app.devbus.tokens import read_token, token_status

_BUSY = AmqpError(SERVER_BUSY, "The request was terminated because the entity is being throttled, on demand.")


class EntityInbox:
    """Stores messages in a queue or a topic."""

    def __init__(self, namespace: Namespace, path: str) -> None:
        """Raises `AmqpError` where there is no such queue or topic."""
        self._namespace = namespace
        self._path = path
        self._target = namespace.target(path)

    def receive(self, link: IncomingLink, payload: Octets, message_format: int) -> None:
        """Store a message, or all messages of a batch; raises `AmqpError`."""
        if self._namespace.faults.throttles():
            raise _BUSY
        self._namespace.check_access(self._path)
        message = parse(payload)
        messages = [parse(one) for one in data_sections(message.body)] if message_format == BATCH_FORMAT else [message]
        self._target.check(messages)
        now = self._namespace.clock()
        for each in messages:
            self._target.send(each, now)


class CbsInbox:
    """`$cbs`: takes tokens (AMQP Claims-based Security, section 4)."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace

    def receive(self, link: IncomingLink, payload: Octets, message_format: int) -> None:
        """Remember the token and answer."""
        request = parse(payload)
        self._namespace.tokens.append(read_token(request))
        _reply(link, request, token_status(not self._namespace.faults.tokens_refused), None)


class ManagementInbox:
    """`<entity>/$management`: request and response (AMQP Management, section 3)."""

    def __init__(self, namespace: Namespace, path: str) -> None:
        self._namespace = namespace
        self._management = Management(namespace, path)

    def receive(self, link: IncomingLink, payload: Octets, message_format: int) -> None:
        """Do the operation and answer; a settlement meets its fate like any other."""
        request = parse(payload)
        faults = self._namespace.faults
        if faults.silences():
            return
        if faults.answer_delay:
            asyncio.get_running_loop().call_later(faults.answer_delay, self._answer, link, request)
        else:
            self._answer(link, request)

    def _answer(self, link: IncomingLink, request: Message) -> None:
        if self._namespace.faults.throttles():
            _reply(link, request, *failure(_BUSY))
        elif request.application_map.get("operation") == SETTLING:
            fated(
                self._namespace.faults,
                lambda: _reply(link, request, *self._management.answer(request)),
                lambda: _ignore(self._management.answer(request)),
                link.session.connection.abort,
            )
        else:
            _reply(link, request, *self._management.answer(request))


def _reply(link: IncomingLink, request: Message, properties: dict[str, Any], value: Any) -> None:
    replies = link.session.reply_link(link.path)
    if replies is not None:
        replies.reply(answer(request.message_id, properties, value))


def _ignore(_: object) -> None:
    return
