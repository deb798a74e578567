"""From an attach to a link: what the client wants and where it leads (AMQP 1.0, part 2, 2.6.3 and 2.7.3)."""

from app.devbus.addresses import Kind, read
from app.devbus.amqp.errors import NOT_ALLOWED, AmqpError
from app.devbus.amqp.performatives import RECEIVER, SETTLED, Attach
from app.devbus.amqp.types import Described
from app.devbus.inboxes import CbsInbox, EntityInbox, ManagementInbox
from app.devbus.links import IncomingLink, OutgoingLink, ReplyLink
from app.devbus.ports import Channel, Link
from app.devbus.session_queue import SessionQueue
from app.devbus.session_waiter import SessionWaiter, wants_a_session

_SESSIONFUL = "It is not possible for an entity that requires sessions to create a non-sessionful message receiver."
_NOT_SESSIONFUL = (
    "A sessionful message receiver cannot be created on an entity that does not require sessions. Ensure "
    "RequiresSession is set to true when creating a Queue or Subscription to enable sessionful behavior."
)


def make_link(session: Channel, attach: Attach) -> Link:
    """The broker's end of the link that a client wants; raises `AmqpError` where it leads nowhere."""
    return _outgoing(session, attach) if attach.role is RECEIVER else _incoming(session, attach)


def attach_answer(
    attach: Attach, max_message_size: int, *, source: Described | None, target: Described | None
) -> Attach:
    """The answer to an attach. Source and target are echoed: the SDK compares addresses."""
    is_sender = attach.role is RECEIVER
    return Attach(
        *(attach.name, attach.handle, not attach.role, attach.snd_settle_mode, attach.rcv_settle_mode),
        source=source,
        target=target,
        initial_delivery_count=0 if is_sender else None,
        max_message_size=None if is_sender else max_message_size,
        properties=attach.properties,
    )


def _outgoing(session: Channel, attach: Attach) -> Link:
    kind, path = read(attach.source)
    if kind is not Kind.ENTITY:
        return ReplyLink(session, attach.handle, f"{kind.value}:{path}")
    dispatcher = session.connection.namespace.dispatcher(path)
    wants_session = wants_a_session(attach)
    if wants_session is not isinstance(dispatcher.queue, SessionQueue):
        raise AmqpError(NOT_ALLOWED, _NOT_SESSIONFUL if wants_session else _SESSIONFUL)
    if isinstance(dispatcher.queue, SessionQueue):
        return SessionWaiter(session, attach, path, dispatcher, dispatcher.queue)
    return OutgoingLink(session, attach.handle, path, dispatcher, settled=attach.snd_settle_mode == SETTLED)


def _incoming(session: Channel, attach: Attach) -> Link:
    kind, path = read(attach.target)
    namespace = session.connection.namespace
    inbox: CbsInbox | ManagementInbox | EntityInbox
    if kind is Kind.CBS:
        inbox = CbsInbox(namespace)
    elif kind is Kind.MANAGEMENT:
        inbox = ManagementInbox(namespace, path)
    else:
        inbox = EntityInbox(namespace, path)
    size = session.connection.max_message_size
    return IncomingLink(session, attach.handle, f"{kind.value}:{path}", inbox, size, is_entity=kind is Kind.ENTITY)
