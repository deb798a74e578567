"""One message in a queue, with what the broker knows about it."""

from dataclasses import dataclass
from enum import Enum
from typing import Any
from uuid import UUID

from app.devbus.amqp.message import Message
from app.devbus.amqp.types import Int, Symbol, Timestamp

SEQUENCE_NUMBER = Symbol("x-opt-sequence-number")
ENQUEUED_SEQUENCE_NUMBER = Symbol("x-opt-enqueue-sequence-number")
ENQUEUED_TIME = Symbol("x-opt-enqueued-time")
LOCKED_UNTIL = Symbol("x-opt-locked-until")
MESSAGE_STATE = Symbol("x-opt-message-state")
REASON, DESCRIPTION = "DeadLetterReason", "DeadLetterErrorDescription"


class State(Enum):
    """Where a message is; each is in exactly one place."""

    ACTIVE = "active"
    SCHEDULED = "scheduled"
    LOCKED = "locked"
    DEFERRED = "deferred"


class Outcome(Enum):
    """The ways to settle a locked message."""

    COMPLETE = "complete"
    ABANDON = "abandon"
    RELEASE = "release"
    """Back to the queue as if it had never been delivered (AMQP 1.0, part 3, 3.4.4)."""
    DEFER = "defer"
    DEAD_LETTER = "dead-letter"


_WIRE_STATES = {State.ACTIVE: 0, State.LOCKED: 0, State.DEFERRED: 1, State.SCHEDULED: 2}
_DEFERRED = 1


@dataclass(slots=True)
class Entry:
    """A message held by a queue. Times are seconds since 1970."""

    sequence_number: int
    message: Message
    session_id: str | None
    enqueued_at: float
    expires_at: float | None = None
    state: State = State.ACTIVE
    delivery_count: int = 0
    """Deliveries that failed: abandoned, or their lock ran out."""
    lock_token: UUID | None = None
    locked_until: float = 0.0
    deferred: bool = False
    """Whether it goes back to the deferred ones, not to the active ones, when its lock ends."""

    @property
    def reason(self) -> str | None:
        """Why it was dead-lettered, if it was."""
        found: str | None = self.message.application_map.get(REASON)
        return found

    @property
    def description(self) -> str | None:
        """The text that goes with the reason."""
        found: str | None = self.message.application_map.get(DESCRIPTION)
        return found

    @property
    def message_id(self) -> Any:
        """The sender's identifier."""
        return self.message.message_id

    @property
    def body(self) -> bytes:
        """The message's data sections, joined."""
        return self.message.data

    def delivery_annotations(self) -> dict[Symbol, Any]:
        """What Service Bus writes on a message that it delivers."""
        annotations: dict[Symbol, Any] = {
            SEQUENCE_NUMBER: self.sequence_number,
            ENQUEUED_SEQUENCE_NUMBER: self.sequence_number,
            ENQUEUED_TIME: milliseconds(self.enqueued_at),
        }
        if self.lock_token is not None:
            annotations[LOCKED_UNTIL] = milliseconds(self.locked_until)
        if self.deferred:
            annotations[MESSAGE_STATE] = Int(_DEFERRED)
        return annotations

    def peek_annotations(self) -> dict[Symbol, Any]:
        """What Service Bus writes on a message that it only shows."""
        state = _DEFERRED if self.deferred else _WIRE_STATES[self.state]
        return {**self.delivery_annotations(), MESSAGE_STATE: Int(state)}


def milliseconds(seconds: float) -> Timestamp:
    """A time of the clock as the wire has it."""
    return Timestamp(round(seconds * 1000))
