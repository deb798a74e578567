"""What the SDK never does, or never shows: other handshakes, windows, drains, heartbeats, broken frames."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator

import pytest

from app.devbus.amqp.errors import (
    CONNECTION_FORCED,
    DECODE_ERROR,
    FRAMING_ERROR,
    HANDLE_IN_USE,
    INVALID_FIELD,
    MESSAGE_SIZE_EXCEEDED,
    NOT_ALLOWED,
    NOT_FOUND,
    UNATTACHED_HANDLE,
    Symbol,
)
from app.devbus.amqp.framing import AMQP_HEADER, EMPTY_FRAME, SASL_FRAME, SASL_HEADER, Frame, ProtocolHeader, frame
from app.devbus.amqp.message import parse
from app.devbus.amqp.performatives import (
    RECEIVER,
    SENDER,
    Attach,
    Begin,
    Close,
    Detach,
    Disposition,
    End,
    Flow,
    Open,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    Transfer,
    encode_performative,
)
from app.devbus.broker import Broker
from app.devbus.limits import BrokerLimits
from app.devbus.settlement import ACCEPTED
from tests.devbus.raw import RawClient, data_message, raw_client
from tests.devbus.sdk import put
from tests.fixtures.waiting import until_async


@pytest.fixture
async def bus() -> AsyncIterator[Broker]:
    async with Broker(["jobs"], limits=BrokerLimits(max_message_size=100_000)) as broker:
        yield broker


@pytest.fixture
async def raw(bus: Broker) -> AsyncIterator[RawClient]:
    async with raw_client(bus) as client:
        yield client


def condition(performative: Close | End | Detach) -> Symbol:
    assert performative.error is not None
    assert len(performative.error.value) == 3
    found: Symbol = performative.error.value[0]
    return found


@pytest.mark.parametrize("mechanism", ["ANONYMOUS", "PLAIN", "MSSBCBS"])
async def test_sasl(raw: RawClient, mechanism: str) -> None:
    raw.writer.write(SASL_HEADER)
    assert await raw.item() == ProtocolHeader(SASL_HEADER)
    assert mechanism in (await raw.expect(SaslMechanisms)).mechanisms
    init = SaslInit(Symbol(mechanism), b"\0user\0password")
    raw.writer.write(frame(SASL_FRAME, 0, encode_performative(init)))
    assert (await raw.expect(SaslOutcome)).outcome == 0
    raw.begin()
    assert await raw.item() == ProtocolHeader(AMQP_HEADER)
    assert (await raw.expect(Open)).max_frame_size == 65536
    assert (await raw.expect(Begin)).remote_channel == 0


async def test_an_unknown_protocol_is_told_which_one_is_known(raw: RawClient) -> None:
    raw.writer.write(b"AMQP\x00\x00\x09\x01")
    assert await raw.item() == ProtocolHeader(AMQP_HEADER)
    with pytest.raises(EOFError):
        await raw.item()


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        (struct.pack(">IBBH", 1 << 20, 2, 0, 0), FRAMING_ERROR),
        (struct.pack(">IBBH", 4, 2, 0, 0), FRAMING_ERROR),
        (struct.pack(">IBBH", 8, 1, 0, 0), FRAMING_ERROR),
        (frame(0, 0, b"\x00\x53\x99\x45"), DECODE_ERROR),
        (frame(0, 0, b"\x00\x53\x14\xd0\x00\x00"), DECODE_ERROR),
        (frame(0, 0, b"\xff"), DECODE_ERROR),
        (frame(0, 0, b"\x00" * 500), DECODE_ERROR),
        (frame(0, 0, encode_performative(Open("again"))), NOT_ALLOWED),
        (frame(0, 0, encode_performative(Begin(None, 0, 1, 1))), NOT_ALLOWED),
    ],
)
async def test_a_broken_frame_closes_the_connection_and_says_why(
    bus: Broker, raw: RawClient, octets: bytes, expected: Symbol
) -> None:
    raw.begin()
    await raw.expect(Begin)
    raw.writer.write(octets)
    assert condition(await raw.expect(Close)) == expected
    await until_async(lambda: bus.connections == 0)


async def test_a_frame_that_comes_octet_by_octet(bus: Broker, raw: RawClient) -> None:
    raw.begin()
    raw.attach_sender("jobs")
    await raw.expect(Flow)
    payload = data_message(b"slowly")
    for octet in frame(0, 0, encode_performative(Transfer(0, 0, b"t", 0, True)), payload):
        raw.writer.write(bytes((octet,)))
        await raw.writer.drain()
        await asyncio.sleep(0)
    await until_async(lambda: bus.queue("jobs").depths.active)
    assert [entry.body for entry in bus.queue("jobs").peek()] == [b"slowly"]


async def test_small_frames(bus: Broker, raw: RawClient) -> None:
    content = bytes(range(256)) * 20
    put(bus, "jobs", content)
    raw.begin(max_frame_size=512)
    raw.attach_receiver("amqp://127.0.0.1/jobs")
    raw.send(Flow(0, 1000, 0, 1000, 0, 0, 1))
    payload, more, frames = b"", True, 0
    while more:
        performative, part = await raw.next()
        if isinstance(performative, Transfer):
            payload, more, frames = payload + part, bool(performative.more), frames + 1
    assert parse(payload).data == content
    assert frames > 10


async def test_an_aborted_message_is_forgotten(bus: Broker, raw: RawClient) -> None:
    raw.begin()
    raw.attach_sender("jobs")
    raw.send(Transfer(0, 0, b"a", 0, False, more=True), data_message(b"half"))
    raw.send(Transfer(0, aborted=True))
    raw.send(Transfer(0, 1, b"b", 0, False), data_message(b"whole"))
    assert (await raw.expect(Disposition)).first == 1
    assert [entry.body for entry in bus.queue("jobs").peek()] == [b"whole"]


async def test_a_message_that_is_sent_settled_is_not_answered(bus: Broker, raw: RawClient) -> None:
    raw.begin()
    raw.attach_sender("jobs")
    raw.send(Transfer(0, 0, b"a", 0, settled=True), data_message(b"one"))
    raw.send(Transfer(0, 1, b"b", 0, settled=False), data_message(b"two"))
    assert (await raw.expect(Disposition)).first == 1
    assert bus.queue("jobs").depths.active == 2


async def test_a_message_that_is_too_large_in_many_frames(bus: Broker, raw: RawClient) -> None:
    raw.begin()
    raw.attach_sender("jobs")
    message = data_message(b"x" * 200_000)
    for start in range(0, len(message), 50_000):
        part = message[start : start + 50_000]
        raw.send(Transfer(0, 0 if start == 0 else None, b"a", 0, more=start + 50_000 < len(message)), part)
    state = (await raw.expect(Disposition)).state
    assert state.value[0].value[0] == MESSAGE_SIZE_EXCEEDED
    assert bus.queue("jobs").depths.total == 0


async def test_the_session_window_is_kept(bus: Broker, raw: RawClient) -> None:
    put(bus, "jobs", *(b"%d" % i for i in range(5)))
    raw.begin(window=2)
    raw.attach_receiver("jobs")
    raw.send(Flow(0, 2, 0, 1000, 0, 0, 100))
    assert [(await raw.expect(Transfer)).delivery_id for _ in range(2)] == [0, 1]
    assert bus.queue("jobs").depths.locked == 2
    raw.send(Flow(2, 10, 0, 1000))
    assert [(await raw.expect(Transfer)).delivery_id for _ in range(3)] == [2, 3, 4]


async def test_a_message_of_more_frames_than_the_window_waits_in_its_middle(bus: Broker, raw: RawClient) -> None:
    put(bus, "jobs", b"x" * 2000)
    raw.begin(max_frame_size=512, window=2)
    raw.attach_receiver("jobs")
    raw.send(Flow(0, 2, 0, 1000, 0, 0, 1))
    seen = 0
    more = True
    while more:
        transfer = await raw.expect(Transfer)
        seen, more = seen + 1, bool(transfer.more)
        if seen % 2 == 0:
            raw.send(Flow(seen, 2, 0, 1000))
    assert seen == 5


async def test_draining_uses_up_the_credit(bus: Broker, raw: RawClient) -> None:
    put(bus, "jobs", b"one")
    raw.begin()
    raw.attach_receiver("jobs")
    raw.send(Flow(0, 1000, 0, 1000, 0, 0, 10, drain=True))
    await raw.expect(Transfer)
    drained = await raw.expect(Flow)
    assert (drained.delivery_count, drained.link_credit, drained.drain) == (10, 0, True)
    put(bus, "jobs", b"two")
    raw.send(Flow(0, 1000, 0, 1000, 0, 10, 0, echo=True))
    assert (await raw.expect(Flow)).delivery_count == 10
    assert bus.queue("jobs").depths.active == 1


async def test_a_range_of_deliveries_is_settled_at_once(bus: Broker, raw: RawClient) -> None:
    put(bus, "jobs", b"one", b"two", b"three")
    raw.begin()
    raw.attach_receiver("jobs")
    raw.send(Flow(0, 1000, 0, 1000, 0, 0, 10))
    for _ in range(3):
        await raw.expect(Transfer)
    raw.send(Disposition(RECEIVER, 0, 0xFFFFFFFF, state=ACCEPTED))
    confirmed = [await raw.expect(Disposition) for _ in range(3)]
    assert [(item.role, item.first, item.settled) for item in confirmed] == [(SENDER, i, True) for i in range(3)]
    assert bus.queue("jobs").depths.total == 0


@pytest.mark.parametrize(
    ("address", "role", "expected"),
    [
        ("nothing", RECEIVER, NOT_FOUND),
        ("nothing", SENDER, NOT_FOUND),
        ("jobs/$DeadLetterQueue", SENDER, NOT_FOUND),
        (None, RECEIVER, INVALID_FIELD),
    ],
)
async def test_a_link_that_leads_nowhere_is_attached_and_closed(
    raw: RawClient, address: str | None, role: bool, expected: Symbol
) -> None:
    raw.begin()
    raw.attach(address, role=role)
    attached = await raw.expect(Attach)
    assert (attached.source, attached.target) == (None, None)
    assert condition(await raw.expect(Detach)) == expected


async def test_a_frame_for_a_link_that_is_not_there_ends_the_session(raw: RawClient) -> None:
    raw.begin()
    raw.send(Transfer(9, 0, b"t", 0), data_message(b""))
    assert condition(await raw.expect(End)) == UNATTACHED_HANDLE


async def test_a_handle_twice_ends_the_session(raw: RawClient) -> None:
    raw.begin()
    raw.attach_sender("jobs")
    raw.attach_sender("jobs")
    assert condition(await raw.expect(End)) == HANDLE_IN_USE


async def test_goodbyes_are_answered(bus: Broker, raw: RawClient) -> None:
    raw.begin()
    raw.attach_sender("jobs")
    raw.send(Detach(0, closed=True))
    assert (await raw.expect(Detach)).error is None
    raw.send(End())
    assert (await raw.expect(End)).error is None
    raw.send(Close())
    assert (await raw.expect(Close)).error is None
    with pytest.raises(EOFError):
        await raw.item()


async def test_heartbeats_come_as_often_as_they_are_wanted(raw: RawClient) -> None:
    raw.begin(idle_timeout=100)
    await raw.expect(Begin)
    item = await raw.item()
    assert isinstance(item, Frame)
    assert not item.body


async def test_a_client_that_falls_silent_is_cut_off_and_heartbeats_keep_it() -> None:
    async with Broker(["jobs"], limits=BrokerLimits(idle_timeout=0.2)) as bus, raw_client(bus) as raw:
        raw.begin()
        assert (await raw.expect(Open)).idle_timeout == 200
        silent_until = time.monotonic() + 1.0
        while time.monotonic() < silent_until:
            raw.writer.write(EMPTY_FRAME)
            await asyncio.sleep(0.1)
        assert bus.connections == 1
        assert condition(await raw.expect(Close)) == CONNECTION_FORCED
