"""A client that waits for a session of a queue: Service Bus answers its attach when there is one."""

import asyncio
from dataclasses import replace
from typing import Any

from app.devbus.amqp.decode import Octets
from app.devbus.amqp.errors import SESSION_LOCK_LOST, TIMEOUT, AmqpError
from app.devbus.amqp.performatives import SETTLED, Attach, Flow, Transfer
from app.devbus.amqp.types import Described, Symbol
from app.devbus.dispatcher import Dispatcher
from app.devbus.entry import Entry
from app.devbus.links import OutgoingLink
from app.devbus.ports import Channel
from app.devbus.session_queue import SessionHold, SessionQueue

SESSION_FILTER = Symbol("com.microsoft:session-filter")
SESSION_LOCKED_UNTIL = Symbol("com.microsoft:locked-until-utc")
WAIT_PROPERTY = Symbol("com.microsoft:timeout")
WAIT_SECONDS = 65.0
"""How long a client waits for a session that has messages, unless it says so itself."""

SOURCE = 0x28
_FILTERS = 7
_TICKS_TO_1970, _TICKS_A_SECOND = 621_355_968_000_000_000, 10_000_000


def wants_a_session(attach: Attach) -> bool:
    """Whether the source has a filter for a session, be it one by name or the next."""
    return SESSION_FILTER in _filters(attach)


class SessionWaiter:
    """Stands for a link whose client waits for a session; the attach is answered when it has one."""

    session_id: str | None = None
    settled = False
    is_ready = False

    def __init__(
        self, session: Channel, attach: Attach, path: str, dispatcher: Dispatcher, queue: SessionQueue
    ) -> None:
        self.handle = attach.handle
        self.path = path
        self._session = session
        self.attach = attach
        self._dispatcher = dispatcher
        self._queue = queue
        self._wanted = _filters(attach)[SESSION_FILTER]
        self._timer: asyncio.TimerHandle | None = None

    def opened(self) -> None:
        """Take a session now or wait for one."""
        wait = (self.attach.properties or {}).get(WAIT_PROPERTY)
        seconds = WAIT_SECONDS if wait is None else wait / 1000
        self._timer = asyncio.get_running_loop().call_later(seconds, self._give_up)
        self._dispatcher.join(self)
        self.emptied()

    def emptied(self) -> None:
        """The queue has changed: there may be a session."""
        link: list[OutgoingLink] = []

        def lost() -> None:
            self._session.detach(link[0], AmqpError(SESSION_LOCK_LOST, "The session's lock has expired."))

        try:
            hold = self._queue.accept(self._wanted, self._session.connection.clock(), lost)
        except AmqpError as error:
            self.closed()
            self._session.refuse(self.attach, error)
            return
        if hold is not None:
            self.closed()
            link.append(self._link(hold))
            self._session.attached(_with_session(self.attach, hold), link[0])

    def deliver(self, entry: Entry) -> None:
        """Nothing is delivered to it."""

    def on_flow(self, flow: Flow) -> None:
        """Credit is given again when the link is there."""

    def on_transfer(self, transfer: Transfer, payload: Octets) -> None:
        """A client does not send on a link on which it receives."""

    def wake(self) -> None:
        """Nothing waits here."""

    def closed(self) -> None:
        """The client does not wait any more."""
        self._dispatcher.leave(self)
        if self._timer is not None:
            self._timer.cancel()

    def _link(self, hold: SessionHold) -> OutgoingLink:
        is_settled = self.attach.snd_settle_mode == SETTLED
        return OutgoingLink(self._session, self.handle, self.path, self._dispatcher, settled=is_settled, hold=hold)

    def _give_up(self) -> None:
        self.closed()
        self._session.refuse(self.attach, AmqpError(TIMEOUT, "There was no session with messages in time."))


def _fields(attach: Attach) -> list[Any]:
    return list(attach.source.value) if attach.source is not None else []


def _filters(attach: Attach) -> dict[Any, Any]:
    fields = _fields(attach)
    return (fields[_FILTERS] if len(fields) > _FILTERS else None) or {}


def _with_session(attach: Attach, hold: SessionHold) -> Attach:
    """The attach as it is answered: it names the session and says how long it is locked."""
    fields = _fields(attach)
    fields[_FILTERS] = {**_filters(attach), SESSION_FILTER: hold.session_id}
    ticks = _TICKS_TO_1970 + round(hold.until * _TICKS_A_SECOND)
    properties = {**(attach.properties or {}), SESSION_LOCKED_UNTIL: ticks}
    return replace(attach, source=Described(SOURCE, fields), properties=properties)
