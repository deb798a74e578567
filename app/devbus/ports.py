"""What the layers of a connection need of each other: a session of its connection, a link of its session, and back."""

from collections.abc import Callable, Iterable
from typing import Protocol

from app.devbus.amqp.decode import Octets
from app.devbus.amqp.errors import AmqpError
from app.devbus.amqp.performatives import Attach, Flow, Performative, Transfer
from app.devbus.entity import Queue
from app.devbus.entry import Entry
from app.devbus.faults import Faults
from app.devbus.namespace import Namespace


class Wire(Protocol):
    """A connection, as its sessions see it."""

    @property
    def namespace(self) -> Namespace:
        """All that can be sent to and received from."""
        ...

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds since 1970."""
        ...

    @property
    def faults(self) -> Faults:
        """What goes wrong on demand."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether the client reads as fast as we write."""
        ...

    @property
    def max_frame_size(self) -> int:
        """Octets of the largest frame that both ends take."""
        ...

    @property
    def max_message_size(self) -> int:
        """Octets of the largest message that is taken."""
        ...

    def send(self, channel: int, performative: Performative) -> None:
        """One frame without payload."""
        ...

    def write(self, octets: bytes) -> None:
        """Octets of whole frames."""
        ...

    def abort(self) -> None:
        """Hang up without a word."""
        ...


class Link(Protocol):
    """A link, as its session sees it."""

    handle: int
    path: str

    def opened(self) -> None:
        """The attach is answered."""
        ...

    def on_flow(self, flow: Flow) -> None:
        """The client's view of the link (AMQP 1.0, part 2, 2.7.4)."""
        ...

    def on_transfer(self, transfer: Transfer, payload: Octets) -> None:
        """A transfer on a link on which the client sends (2.7.5)."""
        ...

    def wake(self) -> None:
        """The connection has room again."""
        ...

    def closed(self) -> None:
        """The link is gone."""
        ...


class Replier(Protocol):
    """A link that carries answers to requests."""

    def reply(self, answer: bytes) -> None:
        """Send an encoded message as soon as there is credit for it."""
        ...


class Channel(Protocol):
    """A session, as its links see it."""

    @property
    def connection(self) -> Wire:
        """What it runs over."""
        ...

    @property
    def has_room(self) -> bool:
        """Whether a transfer would go out now."""
        ...

    def send(self, performative: Performative) -> None:
        """One frame."""
        ...

    def send_flow(
        self, handle: int | None, count: int | None, credit: int | None, *, drain: bool | None = None
    ) -> None:
        """The windows and, with a handle, a link's state."""
        ...

    def send_entry(self, handle: int, queue: Queue, entry: Entry, sections: Iterable[Octets]) -> None:
        """Deliver a queue's message over a link."""
        ...

    def send_message(self, handle: int, sections: Iterable[Octets], *, tag: bytes, settled: bool) -> None:
        """Send a message over a link."""
        ...

    def answer(self, delivery_id: int, error: AmqpError | None) -> None:
        """Tell the client that its message is stored, or why it is not."""
        ...

    def reply_link(self, path: str) -> Replier | None:
        """The link that carries answers of the node at `path`."""
        ...

    def attached(self, attach: Attach, link: Link) -> None:
        """Answer an attach: the link is there."""
        ...

    def refuse(self, attach: Attach, error: AmqpError) -> None:
        """Answer an attach: there will be no link."""
        ...

    def detach(self, link: Link, error: AmqpError) -> None:
        """Close a link because of an error."""
        ...
