"""A session: channels, windows, links and unsettled deliveries (AMQP 1.0, part 2, section 2.5)."""

from collections import deque
from collections.abc import Iterable

from app.devbus.amqp.decode import Octets
from app.devbus.amqp.errors import HANDLE_IN_USE, NOT_IMPLEMENTED, UNATTACHED_HANDLE, AmqpError
from app.devbus.amqp.framing import AMQP_FRAME, frame
from app.devbus.amqp.performatives import (
    RECEIVER,
    SENDER,
    Attach,
    Begin,
    Detach,
    Disposition,
    Flow,
    Performative,
    Transfer,
    encode_performative,
)
from app.devbus.attaching import attach_answer, make_link
from app.devbus.entity import Queue
from app.devbus.entry import Entry
from app.devbus.links import ReplyLink
from app.devbus.ports import Link, Wire
from app.devbus.session_waiter import SessionWaiter
from app.devbus.settlement import ACCEPTED, Delivery, rejected, settle

WINDOW = 5000
"""Transfer frames that the client may send ahead; topped up when half of them are used (2.5.6)."""


class Session:
    """The broker's end of a session; its channel has the number that the client chose."""

    def __init__(self, connection: Wire, channel: int, begin: Begin) -> None:
        self.connection = connection
        self.channel = channel
        self.links: dict[int, Link] = {}
        self._next_incoming = begin.next_outgoing_id
        self._incoming_window = WINDOW
        self._next_outgoing = 0
        self._next_delivery = 0
        self._peer_window = begin.incoming_window
        self._held: deque[bytes] = deque()
        self._unsettled: dict[int, Delivery] = {}
        self.send(Begin(channel, 0, WINDOW, WINDOW, handle_max=255))

    @property
    def has_room(self) -> bool:
        """Whether a transfer would go out now."""
        return not self._held and self._peer_window > 0 and self.connection.has_room

    def on(self, performative: Performative, payload: Octets) -> None:
        """A frame for this session; raises `AmqpError`, which ends the session."""
        match performative:
            case Transfer():
                self._on_transfer(performative, payload)
            case Disposition():
                self._on_disposition(performative)
            case Flow():
                self._on_flow(performative)
            case Attach():
                self._on_attach(performative)
            case Detach():
                self._on_detach(performative)
            case _:
                raise AmqpError(NOT_IMPLEMENTED, f"{type(performative).__name__} is not for a session")

    def send(self, performative: Performative) -> None:
        """One frame on this session's channel."""
        self.connection.send(self.channel, performative)

    def send_flow(
        self, handle: int | None, count: int | None, credit: int | None, *, drain: bool | None = None
    ) -> None:
        """The session's windows and, with a handle, a link's state (2.7.4)."""
        self._incoming_window = WINDOW
        self.send(
            Flow(
                *(self._next_incoming, WINDOW, self._next_outgoing, WINDOW),
                *(handle, count, credit),
                drain=drain,
            )
        )

    def send_entry(self, handle: int, queue: Queue, entry: Entry, sections: Iterable[Octets]) -> None:
        """Deliver a queue's message; its lock token is the delivery tag, in Microsoft's byte order."""
        token = entry.lock_token
        if token is None:
            self.send_message(handle, sections, tag=entry.sequence_number.to_bytes(8, "big"), settled=True)
        else:
            self._unsettled[self._next_delivery] = Delivery(handle, queue, token)
            self.send_message(handle, sections, tag=token.bytes_le, settled=False)

    def send_message(self, handle: int, sections: Iterable[Octets], *, tag: bytes, settled: bool) -> None:
        """A message in as many transfer frames as the client's frame size asks for (2.6.14)."""
        payload = memoryview(b"".join(sections))
        room = self.connection.max_frame_size - 8
        transfer = Transfer(handle, self._next_delivery, tag, 0, settled, more=True)
        self._next_delivery += 1
        frames = []
        while True:
            head = encode_performative(transfer)
            if len(head) + len(payload) <= room:
                break
            frames.append(frame(AMQP_FRAME, self.channel, head, payload[: room - len(head)]))
            payload = payload[room - len(head) :]
            transfer = Transfer(handle, more=True)
        transfer.more = False
        frames.append(frame(AMQP_FRAME, self.channel, encode_performative(transfer), payload))
        self._held.extend(frames)
        self._release_held()

    def answer(self, delivery_id: int, error: AmqpError | None) -> None:
        """Tell the client that its message is stored, or why it is not."""
        state = ACCEPTED if error is None else rejected(error)
        self.send(Disposition(RECEIVER, delivery_id, delivery_id, settled=True, state=state))

    def reply_link(self, path: str) -> ReplyLink | None:
        """The link that carries answers of the node at `path`."""
        links = (link for link in self.links.values() if isinstance(link, ReplyLink))
        return next((link for link in links if link.path == path), None)

    def detach(self, link: Link, error: AmqpError) -> None:
        """Close a link because of an error (2.6.5)."""
        self._drop(link)
        self.send(Detach(link.handle, closed=True, error=error.described()))

    def attached(self, attach: Attach, link: Link) -> None:
        """Answer an attach: the link is there."""
        self.links[attach.handle] = link
        self.send(attach_answer(attach, self.connection.max_message_size, source=attach.source, target=attach.target))
        link.opened()

    def refuse(self, attach: Attach, error: AmqpError) -> None:
        """A link that cannot be is attached without source and target and closed at once (2.6.3)."""
        self.links.pop(attach.handle, None)
        self.send(attach_answer(attach, 0, source=None, target=None))
        self.send(Detach(attach.handle, closed=True, error=error.described()))

    def closed(self) -> None:
        """The session, or its connection, is gone."""
        for link in list(self.links.values()):
            self._drop(link)

    def wake(self) -> None:
        """The connection has room again."""
        self._release_held()
        for link in list(self.links.values()):
            link.wake()

    def _release_held(self) -> None:
        while self._held and self._peer_window > 0:
            self._peer_window -= 1
            self._next_outgoing = (self._next_outgoing + 1) & 0xFFFFFFFF
            self.connection.write(self._held.popleft())

    def _on_transfer(self, transfer: Transfer, payload: Octets) -> None:
        self._next_incoming = (self._next_incoming + 1) & 0xFFFFFFFF
        self._incoming_window -= 1
        self._link(transfer.handle).on_transfer(transfer, payload)
        if self._incoming_window <= WINDOW // 2:
            self.send_flow(None, None, None)

    def _on_disposition(self, disposition: Disposition) -> None:
        if disposition.role is SENDER:
            return
        last = disposition.first if disposition.last is None else disposition.last
        wanted = range(disposition.first, last + 1)
        ids = wanted if len(wanted) <= len(self._unsettled) else [i for i in self._unsettled if i in wanted]
        for delivery_id in ids:
            delivery = self._unsettled.pop(delivery_id, None)
            if delivery is not None:
                settle(self, delivery_id, delivery, disposition)

    def _on_flow(self, flow: Flow) -> None:
        next_incoming = flow.next_incoming_id if flow.next_incoming_id is not None else 0
        self._peer_window = (next_incoming + flow.incoming_window - self._next_outgoing) & 0xFFFFFFFF
        self._release_held()
        if flow.handle is not None:
            self._link(flow.handle).on_flow(flow)
        else:
            self.wake()

    def _on_attach(self, attach: Attach) -> None:
        if attach.handle in self.links:
            raise AmqpError(HANDLE_IN_USE, f"handle {attach.handle} is attached already")
        try:
            link = make_link(self, attach)
        except AmqpError as error:
            self.refuse(attach, error)
            return
        self.links[attach.handle] = link
        if isinstance(link, SessionWaiter):
            link.opened()  # answers when there is a session for it
        else:
            self.attached(attach, link)

    def _on_detach(self, detach: Detach) -> None:
        link = self.links.get(detach.handle)
        if link is not None:  # else the answer to our own detach
            self._drop(link)
            if isinstance(link, SessionWaiter):
                # It was not attached yet, and what is not attached cannot be detached (2.6.4).
                self.send(attach_answer(link.attach, 0, source=None, target=None))
            self.send(Detach(detach.handle, closed=detach.closed))

    def _drop(self, link: Link) -> None:
        self.links.pop(link.handle, None)
        link.closed()
        for delivery_id in [key for key, delivery in self._unsettled.items() if delivery.handle == link.handle]:
            del self._unsettled[delivery_id]

    def _link(self, handle: int) -> Link:
        link = self.links.get(handle)
        if link is None:
            raise AmqpError(UNATTACHED_HANDLE, f"no link has the handle {handle}")
        return link
