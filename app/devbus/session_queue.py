"""Queues with sessions: each message belongs to one, and whoever holds a session alone receives its messages."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.devbus.amqp.errors import NOT_ALLOWED, SESSION_CANNOT_BE_LOCKED, SESSION_LOCK_LOST, AmqpError
from app.devbus.amqp.message import Message
from app.devbus.entity import Queue
from app.devbus.entry import Entry, State
from app.devbus.options import QueueOptions

_NO_SESSION_ID = (
    "The SessionId was not set on a message, and it cannot be sent to the entity. Entities that have session support "
    "enabled can only receive messages that have the SessionId set to a valid value."
)


@dataclass(slots=True)
class SessionHold:
    """A session locked by a receiver. `lost` is called when the lock runs out."""

    queue: "SessionQueue"
    session_id: str
    until: float
    lost: Callable[[], None]

    def release(self, now: float) -> None:
        """Give the session back; what it had locked is active again and has not failed."""
        self.queue.release(self, now)


class SessionQueue(Queue):
    """A queue whose locks are those of sessions: a message's lock ends when its session's does."""

    def __init__(self, options: QueueOptions) -> None:
        super().__init__(options)
        self.states: dict[str, bytes] = {}
        """What holders have left for the next one."""
        self._holds: dict[str, SessionHold] = {}

    def check(self, messages: Sequence[Message]) -> None:
        """Every message must say which session it belongs to."""
        super().check(messages)
        for message in messages:
            self._session_of(message)

    def accept(self, session_id: str | None, now: float, lost: Callable[[], None]) -> SessionHold | None:
        """Lock a session, or the next that has messages; None where none has. Raises `AmqpError` where it is held."""
        if session_id is None:
            free = (known for known in self.ready_sessions() if known not in self._holds)
            session_id = next(free, None)
        elif session_id in self._holds:
            raise AmqpError(SESSION_CANNOT_BE_LOCKED, f"The session {session_id!r} is locked by another receiver.")
        if session_id is None:
            return None
        hold = SessionHold(self, session_id, now + self.options.lock_seconds, lost)
        self._holds[session_id] = hold
        self.changed()
        return hold

    def renew_session(self, session_id: str, now: float) -> float:
        """Hold it for the whole lock duration again; returns until when. Raises `AmqpError` (session-lock-lost)."""
        hold = self._held(session_id)
        hold.until = now + self.options.lock_seconds
        for entry in self._locked_in(session_id):
            entry.locked_until = hold.until
        self.changed()
        return hold.until

    def release(self, hold: SessionHold, now: float, *, failed: bool = False) -> None:
        """End a hold; what was locked counts as a failed delivery if the lock ran out."""
        if self._holds.get(hold.session_id) is not hold:
            return
        del self._holds[hold.session_id]
        if hold.session_id in self._ready:  # others first: who comes next gets another session, where there is one
            self._ready[hold.session_id] = self._ready.pop(hold.session_id)
        for entry in self._locked_in(hold.session_id):
            if failed:
                self._fail(entry, now)
            else:
                self._unlock(entry, now)
        self.changed()

    def set_state(self, session_id: str, state: bytes | None) -> None:
        """Leave something for the session's next holder; None takes it away."""
        if state is None:
            self.states.pop(session_id, None)
        else:
            self.states[session_id] = state

    def ready_sessions(self) -> list[str]:
        """Sessions that have active messages."""
        return [known for known in list(self._ready) if known is not None and self.has_ready(known)]

    def known_sessions(self) -> list[str]:
        """Sessions that have active messages or a state, in order."""
        return sorted({*self.ready_sessions(), *self.states})

    def next_deadline(self) -> float | None:
        """As in `Queue`, and when the next session's lock ends."""
        own = super().next_deadline()
        ends = [hold.until for hold in self._holds.values()]
        return min([*ends, own] if own is not None else ends, default=None)

    def advance(self, now: float) -> None:
        """As in `Queue`; sessions whose lock has run out are lost."""
        for hold in [hold for hold in self._holds.values() if hold.until <= now]:
            self.release(hold, now, failed=True)
            hold.lost()
        self._advance_entries(now)

    def _session_of(self, message: Message) -> str | None:
        if message.group_id is None:
            raise AmqpError(NOT_ALLOWED, _NO_SESSION_ID)
        return str(message.group_id)

    def _lock(self, entry: Entry, now: float) -> None:
        self._held(entry.session_id)
        super()._lock(entry, now)

    def _hold(self, entry: Entry, now: float) -> None:
        entry.locked_until = self._held(entry.session_id).until

    def _held(self, session_id: str | None) -> SessionHold:
        hold = self._holds.get(session_id or "")
        if hold is None:
            raise AmqpError(SESSION_LOCK_LOST, f"The session {session_id!r} is not locked.")
        return hold

    def _locked_in(self, session_id: str) -> list[Entry]:
        entries = self._locks.values()
        return [entry for entry in entries if entry.session_id == session_id and entry.state is State.LOCKED]


def make_queue(options: QueueOptions) -> Queue:
    """A queue of the sort that the options want."""
    return SessionQueue(options) if options.sessions else Queue(options)
