"""Senders over one connection. What the SDK has inside, and is relied upon, is what these tests hold it to."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import MessagingEntityNotFoundError

from app.devbus.broker import Broker
from app.servicebus import sending, shared_connection
from app.servicebus.connection import Access, Connection
from app.servicebus.link_errors import LinkLost
from app.servicebus.sending import Sender, Senders
from tests.fixtures.waiting import until_async

ENTITIES = ("first", "second", "third")


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with Broker(ENTITIES) as broker:
        yield broker


@pytest.fixture
async def shared(broker: Broker) -> AsyncIterator[Senders]:
    connection = Connection(Access(None, broker.connection_string))
    shared = Senders(connection.sender)
    yield shared
    await shared.close()
    await connection.close()


async def opened(shared: Senders, entity: str) -> Sender:
    sender = shared.sender(entity)
    await sender.open()
    return sender


def message(message_id: str) -> ServiceBusMessage:
    return ServiceBusMessage(b"result", message_id=message_id)


def ids(broker: Broker, entity: str) -> list[str]:
    return [str(entry.message_id) for entry in broker.queue(entity).peek()]


async def test_all_senders_share_one_connection_and_what_was_sent_is_stored(broker: Broker, shared: Senders) -> None:
    senders = await asyncio.gather(*(opened(shared, entity) for entity in ENTITIES))
    await asyncio.gather(*(sender.send([message("m1"), message("m2")]) for sender in senders))
    assert broker.connections == 1
    assert [ids(broker, entity) for entity in ENTITIES] == [["m1", "m2"]] * 3
    await asyncio.gather(*(sender.close() for sender in senders))


async def test_the_connection_outlives_the_sender_that_opened_it(broker: Broker, shared: Senders) -> None:
    first, second = [await opened(shared, entity) for entity in ENTITIES[:2]]
    await first.close()
    await second.send([message("m1")])
    third = await opened(shared, "third")
    await third.send([message("m1")])
    assert broker.connections == 1
    await asyncio.gather(second.close(), third.close())


async def test_the_connection_is_kept_alive_by_who_reads_it_alone(shared: Senders) -> None:
    senders = [await opened(shared, entity) for entity in ENTITIES]
    handlers = [sender._sender._handler for sender in senders]
    assert {handler._connection for handler in handlers} == {shared._connection}
    assert all(handler._keep_alive_thread is None for handler in handlers)
    assert shared._connection._idle_timeout == shared_connection._HEARTBEAT_SECONDS
    await asyncio.gather(*(sender.close() for sender in senders))


async def test_a_place_that_is_not_there_is_the_brokers_answer_and_costs_no_connection(
    broker: Broker, shared: Senders
) -> None:
    first = await opened(shared, "first")
    missing = shared.sender("nowhere")
    with pytest.raises(MessagingEntityNotFoundError):
        await missing.open()
    await missing.close()
    await first.send([message("m1")])
    assert (broker.connections, ids(broker, "first")) == (1, ["m1"])
    await first.close()


async def test_a_cut_is_a_lost_link_to_all_and_the_next_to_open_connects_anew(broker: Broker, shared: Senders) -> None:
    senders = [await opened(shared, entity) for entity in ENTITIES[:2]]
    broker.cut()
    for sender in senders:
        with pytest.raises(LinkLost):
            await sender.send([message("lost")])
        await sender.close()
    again = [await opened(shared, entity) for entity in ENTITIES]
    for sender in again:
        await sender.send([message("m1")])
        await sender.close()
    assert broker.connections == 1


async def test_what_is_not_confirmed_is_a_lost_link(
    broker: Broker, shared: Senders, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "SEND_SECONDS", 0.5)
    sender = await opened(shared, "first")
    broker.faults.set(unconfirmed=1.0)
    with pytest.raises(LinkLost):
        await sender.send([message("m1")])
    broker.faults.set(unconfirmed=0.0)
    await sender.close()
    again = await opened(shared, "first")
    await again.send([message("m2")])
    assert ids(broker, "first") == ["m1", "m2"]
    await again.close()


async def test_closing_leaves_no_connection(broker: Broker, shared: Senders) -> None:
    sender = await opened(shared, "first")
    await sender.close()
    await shared.close()
    await until_async(lambda: broker.connections == 0)
