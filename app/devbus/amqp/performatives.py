"""The frame bodies of a connection (AMQP 1.0, part 2, section 2.7) and of the SASL layer before it (part 5, 5.3.3).

Each class lists its fields in the order of the wire. `encode_performative` leaves out what is unset at the end.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from app.devbus.amqp import encode as e
from app.devbus.amqp.decode import Octets, decode
from app.devbus.amqp.encode import Encoder
from app.devbus.amqp.errors import DECODE_ERROR, AmqpError
from app.devbus.amqp.types import Array, Described, Symbol, Ulong

SENDER, RECEIVER = False, True
"""Roles (2.8.1)."""
SETTLED = 1
"""Sender settle mode of a link whose deliveries are settled when they are sent (2.8.2)."""


@dataclass(slots=True)
class Performative:
    """What all frame bodies have: a descriptor, and an encoder for every field."""

    code: ClassVar[int]
    wire: ClassVar[tuple[Encoder, ...]]


@dataclass(slots=True)
class Open(Performative):
    """2.7.1"""

    code = 0x10
    wire = (e.string, e.string, e.uint, e.ushort, e.uint, e.encode, e.encode, e.encode, e.encode, e.encode)

    container_id: str
    hostname: str | None = None
    max_frame_size: int | None = None
    channel_max: int | None = None
    idle_timeout: int | None = None
    outgoing_locales: Any = None
    incoming_locales: Any = None
    offered_capabilities: Any = None
    desired_capabilities: Any = None
    properties: dict[Any, Any] | None = None


@dataclass(slots=True)
class Begin(Performative):
    """2.7.2"""

    code = 0x11
    wire = (e.ushort, e.uint, e.uint, e.uint, e.uint, e.encode, e.encode, e.encode)

    remote_channel: int | None
    next_outgoing_id: int
    incoming_window: int
    outgoing_window: int
    handle_max: int | None = None
    offered_capabilities: Any = None
    desired_capabilities: Any = None
    properties: dict[Any, Any] | None = None


@dataclass(slots=True)
class Attach(Performative):
    """2.7.3"""

    code = 0x12
    wire = (
        *(e.string, e.uint, e.boolean, e.ubyte, e.ubyte, e.encode, e.encode, e.encode, e.boolean, e.uint, e.ulong),
        *(e.encode, e.encode, e.encode),
    )

    name: str
    handle: int
    role: bool
    snd_settle_mode: int | None = None
    rcv_settle_mode: int | None = None
    source: Described | None = None
    target: Described | None = None
    unsettled: Any = None
    incomplete_unsettled: bool | None = None
    initial_delivery_count: int | None = None
    max_message_size: int | None = None
    offered_capabilities: Any = None
    desired_capabilities: Any = None
    properties: dict[Any, Any] | None = None


@dataclass(slots=True)
class Flow(Performative):
    """2.7.4"""

    code = 0x13
    wire = (*(e.uint,) * 8, e.boolean, e.boolean, e.encode)

    next_incoming_id: int | None
    incoming_window: int
    next_outgoing_id: int
    outgoing_window: int
    handle: int | None = None
    delivery_count: int | None = None
    link_credit: int | None = None
    available: int | None = None
    drain: bool | None = None
    echo: bool | None = None
    properties: dict[Any, Any] | None = None


@dataclass(slots=True)
class Transfer(Performative):
    """2.7.5; the payload follows it in the frame."""

    code = 0x14
    wire = (
        *(e.uint, e.uint, e.binary, e.uint, e.boolean, e.boolean, e.ubyte, e.encode),
        *(e.boolean, e.boolean, e.boolean),
    )

    handle: int
    delivery_id: int | None = None
    delivery_tag: bytes | None = None
    message_format: int | None = None
    settled: bool | None = None
    more: bool | None = None
    rcv_settle_mode: int | None = None
    state: Any = None
    resume: bool | None = None
    aborted: bool | None = None
    batchable: bool | None = None


@dataclass(slots=True)
class Disposition(Performative):
    """2.7.6"""

    code = 0x15
    wire = (e.boolean, e.uint, e.uint, e.boolean, e.encode, e.boolean)

    role: bool
    first: int
    last: int | None = None
    settled: bool | None = None
    state: Any = None
    batchable: bool | None = None


@dataclass(slots=True)
class Detach(Performative):
    """2.7.7"""

    code = 0x16
    wire = (e.uint, e.boolean, e.encode)

    handle: int
    closed: bool | None = None
    error: Described | None = None


@dataclass(slots=True)
class End(Performative):
    """2.7.8"""

    code = 0x17
    wire = (e.encode,)

    error: Described | None = None


@dataclass(slots=True)
class Close(Performative):
    """2.7.9"""

    code = 0x18
    wire = (e.encode,)

    error: Described | None = None


@dataclass(slots=True)
class SaslMechanisms(Performative):
    """Part 5, 5.3.3.1"""

    code = 0x40
    wire = (e.encode,)

    mechanisms: Array


@dataclass(slots=True)
class SaslInit(Performative):
    """Part 5, 5.3.3.2"""

    code = 0x41
    wire = (e.symbol, e.binary, e.string)

    mechanism: Symbol
    initial_response: bytes | None = None
    hostname: str | None = None


@dataclass(slots=True)
class SaslOutcome(Performative):
    """Part 5, 5.3.3.6; code 0 is success."""

    code = 0x44
    wire = (e.ubyte, e.binary)

    outcome: int
    additional_data: bytes | None = None


_KINDS: dict[int, type[Performative]] = {
    kind.code: kind
    for kind in (
        *(Open, Begin, Attach, Flow, Transfer, Disposition, Detach, End, Close),
        *(SaslMechanisms, SaslInit, SaslOutcome),
    )
}

_NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in _KINDS.values()}


def encode_performative(performative: Performative) -> bytearray:
    """The octets of a frame body."""
    values = [getattr(performative, name) for name in _NAMES[type(performative)]]
    while values and values[-1] is None:
        values.pop()
    body = bytearray()
    for value, encoder in zip(values, performative.wire, strict=False):
        if value is None:
            body.append(0x40)
        else:
            encoder(body, value)
    out = bytearray((0x00, 0x53, performative.code))
    e.compound(out, 0xC0, len(values), body)
    return out


def decode_performative(body: Octets) -> tuple[Performative, int]:
    """The performative at the start of a frame body and where its payload begins; raises `AmqpError`."""
    described, at = decode(body)
    if not isinstance(described, Described) or not isinstance(described.descriptor, Ulong):
        raise AmqpError(DECODE_ERROR, "a frame body must be a described list")
    kind = _KINDS.get(described.descriptor)
    if kind is None:
        raise AmqpError(DECODE_ERROR, f"unknown performative {described.descriptor:#x}")
    try:
        return kind(*described.value), at
    except TypeError as error:
        raise AmqpError(DECODE_ERROR, f"{kind.__name__} has the wrong fields: {error}") from None
