"""A link as the worker needs it. What the SDK has inside, and is relied upon, is what these tests hold it to."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from app.devbus.amqp.message import parse
from app.devbus.broker import Broker
from app.servicebus.connection import Access, Connection
from app.servicebus.link_errors import LinkLost
from app.servicebus.receiver import Received, Receiver
from app.servicebus.settlement import ABANDON, COMPLETE, RELEASE
from tests.fixtures.waiting import until_async
from tests.servicebus.relay import Relay
from tests.servicebus.wire import octets

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUEUES = ("credit", "back", "release", "cancel", "wake", "buffer", "many", "twice", "late", "silent")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker() -> AsyncIterator[Broker]:
    async with Broker([f"{name},lock=60" for name in QUEUES]) as broker:
        yield broker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def connection(broker: Broker) -> AsyncIterator[Connection]:
    connection = Connection(Access(None, broker.connection_string))
    yield connection
    await connection.close()


def put(broker: Broker, queue: str, count: int) -> None:
    for number in range(count):
        broker.queue(queue).send(parse(octets(b"picture", message_id=f"m{number}")), time.time())


async def opened(connection: Connection, queue: str) -> Receiver:
    receiver = connection.receiver(queue)
    await receiver.open()
    return receiver


async def taken(receiver: Receiver, count: int) -> list[Received]:
    found: list[Received] = []
    while len(found) < count:
        found += await receiver.read()
    return found


async def test_the_broker_sends_what_it_was_granted_and_no_more(broker: Broker, connection: Connection) -> None:
    put(broker, "credit", 5)
    receiver = await opened(connection, "credit")
    assert (receiver.credit, await receiver.read()) == (0, [])
    await receiver.grant(2)
    await taken(receiver, 2)
    assert (receiver.credit, await receiver.read(), broker.queue("credit").depths.locked) == (0, [], 2)
    await receiver.grant(1)
    await taken(receiver, 1)
    assert broker.queue("credit").depths.locked == 3
    await receiver.close()


async def test_what_was_granted_can_be_taken_back(broker: Broker, connection: Connection) -> None:
    receiver = await opened(connection, "back")
    await receiver.grant(5)
    await receiver.grant(1)
    await receiver.read()
    put(broker, "back", 4)
    await taken(receiver, 1)
    assert broker.queue("back").depths.locked == 1
    await receiver.grant(3)
    await receiver.drain()
    await receiver.read()
    assert receiver.credit == 0
    await receiver.close()


async def test_what_is_released_was_never_delivered_and_what_is_abandoned_was(
    broker: Broker, connection: Connection
) -> None:
    put(broker, "release", 1)
    receiver = await opened(connection, "release")
    for settlement, count in ((RELEASE, 0), (ABANDON, 1), (RELEASE, 1)):
        await receiver.grant(1)
        (received,) = await taken(receiver, 1)
        await receiver.settle(received, settlement)
        (entry,) = broker.queue("release").peek()
        assert (entry.delivery_count, broker.queue("release").depths.active) == (count, 1)
    await receiver.close()


async def test_a_call_that_is_cancelled_loses_nothing(broker: Broker, connection: Connection) -> None:
    put(broker, "cancel", 20)
    receiver = await opened(connection, "cancel")
    await receiver.grant(20)
    found: list[Received] = []
    while len(found) < 20:
        reading = asyncio.create_task(receiver.read())
        for _ in range(len(found) % 4):
            await asyncio.sleep(0)
        if not reading.cancel():
            found += reading.result()
        found += await receiver.read()
    assert len({item.message.message_id for item in found}) == 20
    for item in found:
        await receiver.settle(item, COMPLETE)
    assert broker.queue("cancel").depths.total == 0
    await receiver.close()


async def test_many_settle_at_once_beside_a_reader(broker: Broker, connection: Connection) -> None:
    put(broker, "many", 200)
    receiver = await opened(connection, "many")
    await receiver.grant(200)
    settling = []
    while len(settling) < 200:
        settling += [asyncio.create_task(receiver.settle(item, COMPLETE)) for item in await receiver.read()]
    reading = asyncio.create_task(receiver.read())
    await asyncio.gather(*settling)
    assert broker.queue("many").depths.total == 0
    await reading
    await receiver.close()


async def test_what_had_come_before_the_link_was_lost_is_read_first(broker: Broker, connection: Connection) -> None:
    put(broker, "buffer", 3)
    receiver = await opened(connection, "buffer")
    await receiver.grant(3)
    await until_async(lambda: receiver._arrived.qsize() == 3)
    broker.detach("buffer")
    assert len(await receiver.read()) == 3
    while not receiver.lost:
        with contextlib.suppress(LinkLost):
            await receiver.read()
    with pytest.raises(LinkLost):
        await receiver.grant(1)
    await receiver.close()


async def test_a_receiver_that_was_closed_is_not_opened_again_by_the_sdk(
    broker: Broker, connection: Connection
) -> None:
    put(broker, "twice", 1)
    receiver = await opened(connection, "twice")
    await receiver.grant(1)
    (received,) = await taken(receiver, 1)
    connections = broker.connections
    await receiver.close()
    await until_async(lambda: broker.connections == connections - 1)
    for call in (receiver.renew(received), receiver.settle(received, COMPLETE), receiver.read()):
        with pytest.raises(LinkLost):
            await call
    assert broker.connections == connections - 1


async def test_a_link_that_the_sdk_shuts_down_by_itself_is_lost_and_no_defect(
    broker: Broker, connection: Connection
) -> None:
    """It does where a message comes twice and is settled twice at once, for one."""
    for call in ("grant", "drain", "read"):
        receiver = await opened(connection, "twice")
        await receiver._receiver._handler.close_async()
        assert receiver.credit == 0
        with pytest.raises(LinkLost):
            await (receiver.grant(1) if call == "grant" else getattr(receiver, call)())
        assert receiver.lost
        await receiver.close()


async def test_a_late_answer_says_nothing_of_a_link_that_is_heard(broker: Broker, connection: Connection) -> None:
    """A renewal of a short lock is not waited for for long; the link is left alone where it tells something else."""
    put(broker, "late", 1)
    receiver = await opened(connection, "late")
    await receiver.grant(2)
    (received,) = await taken(receiver, 1)
    broker.faults.set(unanswered=1.0)
    renewal = asyncio.create_task(receiver.renew(received, 1.0))
    await until_async(lambda: broker.faults.happened["unanswered"] == 1)
    put(broker, "late", 1)
    await taken(receiver, 1)
    with pytest.raises(TimeoutError):
        await renewal
    assert not receiver.lost
    broker.faults.set(unanswered=0.0)
    await receiver.renew(received, 1.0)
    await receiver.close()


async def test_a_late_answer_on_a_link_that_says_nothing_at_all_is_a_loss(broker: Broker) -> None:
    put(broker, "silent", 1)
    async with Relay(broker.port) as relay:
        string = broker.connection_string.replace(f":{broker.port};", f":{relay.port};")
        connection = Connection(Access(None, string))
        receiver = await opened(connection, "silent")
        await receiver.grant(1)
        (received,) = await taken(receiver, 1)
        await receiver.renew(received)
        relay.stall()
        with pytest.raises(LinkLost):
            await receiver.renew(received, 0.5)
        assert receiver.lost
        await receiver.close()
        await connection.close()
