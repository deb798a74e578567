"""What a client's disposition does to a queue, and what it is told (AMQP 1.0, part 3, section 3.4)."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.devbus.amqp.errors import NOT_IMPLEMENTED, AmqpError
from app.devbus.amqp.performatives import SENDER, Disposition
from app.devbus.amqp.types import Described
from app.devbus.entity import Queue
from app.devbus.entry import DESCRIPTION, REASON, Outcome
from app.devbus.faults import Fate, Faults
from app.devbus.ports import Channel

_ACCEPTED, _REJECTED, _RELEASED, _MODIFIED = 0x24, 0x25, 0x26, 0x27
ACCEPTED = Described(_ACCEPTED, [])
_UNDELIVERABLE_HERE, _ANNOTATIONS = 1, 2


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way: sent over the link with that handle and locked with that token."""

    handle: int
    queue: Queue
    token: UUID


@dataclass(frozen=True, slots=True)
class Settlement:
    """What is wanted of a locked message."""

    outcome: Outcome
    reason: str = ""
    description: str = ""
    properties: dict[Any, Any] = field(default_factory=dict)
    """Application properties that are added to the message's own."""


def rejected(error: AmqpError) -> Described:
    """The delivery state that carries an error (3.4.3)."""
    return Described(_REJECTED, [error.described()])


def read_state(state: Any) -> Settlement:
    """What an AMQP delivery state means to Service Bus; raises `AmqpError` for states that settle nothing."""
    if not isinstance(state, Described):
        return Settlement(Outcome.RELEASE)
    fields = state.value
    match int(state.descriptor):
        case 0x24:
            return Settlement(Outcome.COMPLETE)
        case 0x25:
            return _dead_letter(fields[0].value if fields and fields[0] is not None else [])
        case 0x26:
            return Settlement(Outcome.RELEASE)
        case 0x27:
            is_deferral = len(fields) > _UNDELIVERABLE_HERE and fields[_UNDELIVERABLE_HERE]
            added = fields[_ANNOTATIONS] if len(fields) > _ANNOTATIONS else None
            return Settlement(Outcome.DEFER if is_deferral else Outcome.ABANDON, properties=added or {})
    raise AmqpError(NOT_IMPLEMENTED, f"delivery state {state.descriptor:#x}")


def settle(session: Channel, delivery_id: int, delivery: Delivery, disposition: Disposition) -> None:
    """Do what a disposition asks and confirm it, unless a fault was ordered."""
    settlement = read_state(disposition.state)

    def apply() -> None:
        answer = _apply(delivery.queue, delivery.token, settlement, session.connection.clock(), disposition.state)
        if not disposition.settled:
            session.send(Disposition(SENDER, delivery_id, delivery_id, settled=True, state=answer))

    def unconfirmed() -> None:
        _apply(delivery.queue, delivery.token, settlement, session.connection.clock(), disposition.state)

    fated(session.connection.faults, apply, unconfirmed, session.connection.abort)


def fated(
    faults: Faults, confirmed: Callable[[], None], unconfirmed: Callable[[], None], cut: Callable[[], None]
) -> None:
    """Run a settlement as chance has it: now or later, confirmed or not, or not at all."""
    fate = faults.fate()

    def run() -> None:
        if fate is Fate.CONFIRMED:
            confirmed()
            return
        if fate is Fate.SWALLOWED:
            unconfirmed()
        if faults.cut_unconfirmed:
            cut()

    if faults.settlement_delay:
        asyncio.get_running_loop().call_later(faults.settlement_delay, run)
    else:
        run()


def _apply(queue: Queue, token: UUID, settlement: Settlement, now: float, state: Any) -> Described:
    """The state to confirm with: the client's own, without the error, for the SDK takes any error for a failure."""
    try:
        queue.settle(token, settlement.outcome, now, settlement.reason, settlement.description, settlement.properties)
    except AmqpError as error:
        return rejected(error)
    if settlement.outcome is Outcome.DEAD_LETTER:
        return Described(_REJECTED, [])
    return state if isinstance(state, Described) else Described(_RELEASED, [])


def _dead_letter(error: list[Any]) -> Settlement:
    info = error[2] if len(error) > 2 and isinstance(error[2], dict) else {}
    described = error[1] if len(error) > 1 else None
    reason, description = info.get(REASON), info.get(DESCRIPTION, described)
    others = {name: value for name, value in info.items() if name not in (REASON, DESCRIPTION)}
    return Settlement(Outcome.DEAD_LETTER, str(reason or ""), str(description or ""), others)
