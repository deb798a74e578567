"""The two ends of a link (AMQP 1.0, part 2, section 2.6): one takes what the client sends, one sends to the client."""

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from app.devbus.amqp.decode import Octets
from app.devbus.amqp.errors import MESSAGE_SIZE_EXCEEDED, AmqpError
from app.devbus.amqp.message import delivery_sections
from app.devbus.amqp.performatives import Flow, Transfer
from app.devbus.dispatcher import Dispatcher
from app.devbus.entry import Entry
from app.devbus.ports import Channel
from app.devbus.session_queue import SessionHold

CREDIT = 1000
"""Messages that a client may send ahead (2.6.7); topped up when half of them are used."""


class Inbox(Protocol):
    """What a client's messages go to."""

    def receive(self, link: "IncomingLink", payload: Octets, message_format: int) -> None:
        """Take one whole message; raises `AmqpError`, which becomes the rejection."""
        ...


@dataclass(slots=True)
class _Arriving:
    """A delivery whose transfers are not all here."""

    delivery_id: int
    message_format: int
    settled: bool
    parts: list[Octets] = field(default_factory=list)
    size: int = 0


class IncomingLink:
    """The receiving end of a link on which the client sends."""

    def __init__(
        self, session: Channel, handle: int, path: str, inbox: Inbox, max_message_size: int, *, is_entity: bool
    ) -> None:
        self.session = session
        self.handle = handle
        self.path = path
        self._inbox = inbox
        self._max = max_message_size
        self._is_entity = is_entity
        self._arriving: _Arriving | None = None
        self._credit = 0
        self._delivery_count = 0

    def opened(self) -> None:
        """The attach is answered: the client may begin."""
        self._grant()

    def on_flow(self, flow: Flow) -> None:
        """The client's view of the link; answered only where it asks (2.7.4)."""
        if flow.echo:
            self._grant()

    def on_transfer(self, transfer: Transfer, payload: Octets) -> None:
        """One transfer of a delivery (2.6.14)."""
        if self._arriving is None:
            self._arriving = _Arriving(transfer.delivery_id or 0, transfer.message_format or 0, bool(transfer.settled))
        arriving = self._arriving
        arriving.size += len(payload)
        if arriving.size <= self._max:
            arriving.parts.append(payload)
        if transfer.aborted:
            self._arriving = None
        elif not transfer.more:
            self._arriving = None
            self._complete(arriving)

    def closed(self) -> None:
        """The link is gone, and with it what had not arrived whole."""
        self._arriving = None

    def wake(self) -> None:
        """Nothing waits here."""

    def _complete(self, arriving: _Arriving) -> None:
        self._delivery_count += 1
        self._credit -= 1
        error = self._store(arriving)
        hidden = error is None and self._is_entity and self.session.connection.faults.hides()
        if not arriving.settled and not hidden:  # else the client does not want to know
            self.session.answer(arriving.delivery_id, error)
        if self._credit <= CREDIT // 2:
            self._grant()

    def _store(self, arriving: _Arriving) -> AmqpError | None:
        try:
            if arriving.size > self._max:
                raise AmqpError(MESSAGE_SIZE_EXCEEDED, f"{arriving.size} octets; the limit is {self._max}.")
            self._inbox.receive(self, b"".join(arriving.parts), arriving.message_format)
        except AmqpError as error:
            return error
        return None

    def _grant(self) -> None:
        self._credit = CREDIT
        self.session.send_flow(self.handle, self._delivery_count, self._credit)


class OutgoingLink:
    """The sending end of a link on which the client receives from a queue."""

    def __init__(
        self,
        session: Channel,
        handle: int,
        path: str,
        dispatcher: Dispatcher,
        *,
        settled: bool,
        hold: SessionHold | None = None,
    ) -> None:
        self.session = session
        self.handle = handle
        self.path = path
        self.dispatcher = dispatcher
        self.settled = settled
        self.session_id = hold.session_id if hold else None
        self._hold = hold
        self._credit = 0
        self._delivery_count = 0
        self._is_draining = False

    @property
    def is_ready(self) -> bool:
        """Whether the client and the connection have room for another message."""
        return self._credit > 0 and self.session.has_room

    def opened(self) -> None:
        """The attach is answered: share in what the queue has."""
        self.dispatcher.join(self)

    def on_flow(self, flow: Flow) -> None:
        """Take the client's credit, reckoned from the deliveries that it had seen (2.6.7)."""
        if flow.link_credit is not None:
            seen = flow.delivery_count or 0
            self._credit = max(0, seen + flow.link_credit - self._delivery_count)
        self._is_draining = bool(flow.drain)
        if flow.echo and not flow.drain:
            self.session.send_flow(self.handle, self._delivery_count, self._credit)
        self.dispatcher.wake()

    def deliver(self, entry: Entry) -> None:
        """Send a message that was acquired or taken."""
        self._credit -= 1
        self._delivery_count += 1
        sections = delivery_sections(entry.message, entry.delivery_count, entry.delivery_annotations())
        self.session.send_entry(self.handle, self.dispatcher.queue, entry, sections)

    def emptied(self) -> None:
        """Draining: the queue has no more, so the credit that is left is used up (2.6.7)."""
        if self._is_draining and self.session.has_room:
            self._is_draining = False
            self._delivery_count += self._credit
            self._credit = 0
            self.session.send_flow(self.handle, self._delivery_count, 0, drain=True)

    def on_transfer(self, transfer: Transfer, payload: Octets) -> None:
        """A client does not send on a link on which it receives."""

    def closed(self) -> None:
        """The link is gone. Locks of what it carried stay until they end, but for those of a Service Bus session."""
        self.dispatcher.leave(self)
        if self._hold is not None:
            self._hold.release(self.session.connection.clock())

    def wake(self) -> None:
        """The connection has room again."""
        self.dispatcher.wake()


class ReplyLink:
    """The sending end of a request/response pair: carries answers from `$cbs` and `$management`."""

    def __init__(self, session: Channel, handle: int, path: str) -> None:
        self.session = session
        self.handle = handle
        self.path = path
        self._credit = 0
        self._delivery_count = 0
        self._waiting: deque[bytes] = deque()

    def opened(self) -> None:
        """Nothing to do before the first request."""

    def on_flow(self, flow: Flow) -> None:
        """As `OutgoingLink.on_flow`."""
        if flow.link_credit is not None:
            self._credit = max(0, (flow.delivery_count or 0) + flow.link_credit - self._delivery_count)
        self.wake()

    def reply(self, answer: bytes) -> None:
        """Send an answer as soon as there is credit for it."""
        self._waiting.append(answer)
        self.wake()

    def wake(self) -> None:
        """Send what waits."""
        while self._waiting and self._credit > 0 and self.session.has_room:
            self._credit -= 1
            self._delivery_count += 1
            self.session.send_message(self.handle, (self._waiting.popleft(),), tag=b"", settled=True)

    def on_transfer(self, transfer: Transfer, payload: Octets) -> None:
        """A client does not send on a link on which it receives."""

    def closed(self) -> None:
        """Answers that were not fetched are dropped."""
        self._waiting.clear()
