"""Queues with sessions."""

import asyncio
from datetime import UTC, datetime

import pytest
from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusMessage
from azure.servicebus.aio import ServiceBusReceiver
from azure.servicebus.exceptions import (
    OperationTimeoutError,
    ServiceBusError,
    SessionCannotBeLockedError,
    SessionLockLostError,
)

from app.devbus.broker import Broker
from tests.devbus.sdk import Sdk, body, connect, receive
from tests.fixtures.waiting import until_async


async def send(sdk: Sdk, queue: str, *messages: tuple[str, bytes]) -> None:
    sender = await sdk.sender(queue)
    await sender.send_messages([ServiceBusMessage(content, session_id=robot) for robot, content in messages])


async def hold(sdk: Sdk, queue: str, session_id: object, **settings: object) -> ServiceBusReceiver:
    return await sdk.receiver(queue, session_id=session_id, **settings)


async def test_a_holder_gets_its_sessions_messages_in_order_and_no_others(broker: Broker, sdk: Sdk) -> None:
    await send(sdk, "rows", ("a", b"a1"), ("b", b"b1"), ("a", b"a2"))
    receiver = await hold(sdk, "rows", "a")
    messages = await receive(receiver, 2)
    assert [(message.session_id, body(message)) for message in messages] == [("a", b"a1"), ("a", b"a2")]
    for message in messages:
        await receiver.complete_message(message)
    assert [entry.session_id for entry in broker.queue("rows").peek()] == ["b"]


async def test_the_next_session_is_one_that_nobody_holds(sdk: Sdk) -> None:
    await send(sdk, "rows", ("a", b"a1"), ("b", b"b1"))
    first = await hold(sdk, "rows", NEXT_AVAILABLE_SESSION, max_wait_time=10)
    second = await hold(sdk, "rows", NEXT_AVAILABLE_SESSION, max_wait_time=10)
    assert {first.session.session_id, second.session.session_id} == {"a", "b"}
    assert first.session.locked_until_utc is not None
    (message,) = await receive(second)
    assert message.session_id == second.session.session_id


async def test_who_gives_a_session_back_gets_another_where_there_is_one(sdk: Sdk) -> None:
    await send(sdk, "rows", ("a", b"a1"), ("b", b"b1"))
    held = []
    for _ in range(3):
        receiver = await hold(sdk, "rows", NEXT_AVAILABLE_SESSION, max_wait_time=10)
        held.append(receiver.session.session_id)
        await receiver.close()
    assert held == ["a", "b", "a"]


async def test_a_client_waits_for_a_session_to_come(sdk: Sdk) -> None:
    waiting = asyncio.create_task(hold(sdk, "rows", NEXT_AVAILABLE_SESSION, max_wait_time=15))
    await send(sdk, "rows", ("late", b"one"))
    receiver = await waiting
    assert receiver.session.session_id == "late"


async def test_nobody_waits_longer_than_it_wants(broker: Broker) -> None:
    async with connect(broker, retry_total=0) as client:
        receiver = client.get_queue_receiver("rows", session_id=NEXT_AVAILABLE_SESSION, max_wait_time=0.3)
        with pytest.raises(OperationTimeoutError):
            await receiver.receive_messages()
        await receiver.close()


async def test_a_session_has_one_holder(broker: Broker, sdk: Sdk) -> None:
    await hold(sdk, "rows", "a")
    async with connect(broker, retry_total=0) as client:
        receiver = client.get_queue_receiver("rows", session_id="a")
        with pytest.raises(SessionCannotBeLockedError):
            await receiver.receive_messages(max_wait_time=5)
        await receiver.close()


async def test_closing_gives_the_session_back_with_what_it_had_locked(broker: Broker, sdk: Sdk) -> None:
    await send(sdk, "rows", ("a", b"a1"))
    receiver = await hold(sdk, "rows", "a")
    await receive(receiver)
    await receiver.close()
    await until_async(lambda: broker.queue("rows").depths.active == 1)
    (message,) = await receive(await hold(sdk, "rows", "a"))
    assert message.delivery_count == 0


async def test_a_session_whose_lock_ends_is_lost(broker: Broker, sdk: Sdk) -> None:
    await send(sdk, "brief-rows", ("a", b"a1"))
    receiver = await hold(sdk, "brief-rows", "a")
    (message,) = await receive(receiver)
    await until_async(lambda: broker.queue("brief-rows").depths.active == 1)
    with pytest.raises(SessionLockLostError):
        await receiver.complete_message(message)
    (entry,) = broker.queue("brief-rows").peek()
    assert entry.delivery_count == 1


async def test_a_renewed_session_keeps_its_messages_locks(broker: Broker, sdk: Sdk) -> None:
    await send(sdk, "brief-rows", ("a", b"a1"))
    receiver = await hold(sdk, "brief-rows", "a")
    (message,) = await receive(receiver)
    first_end = receiver.session.locked_until_utc
    assert first_end is not None
    while datetime.now(UTC) < first_end:
        await receiver.session.renew_lock()
        await asyncio.sleep(0.1)
    await receiver.complete_message(message)
    assert broker.queue("brief-rows").totals["completed"] == 1


async def test_a_session_remembers(sdk: Sdk) -> None:
    receiver = await hold(sdk, "rows", "a")
    assert await receiver.session.get_state() is None
    await receiver.session.set_state(b"seen up to 7")
    assert await receiver.session.get_state() == b"seen up to 7"


async def test_sessions_are_listed(broker: Broker, sdk: Sdk) -> None:
    await send(sdk, "rows", ("b", b"1"), ("a", b"2"), ("b", b"3"))
    listed = sdk.client.list_queue_sessions("rows")
    assert [session_id async for session_id in listed] == ["a", "b"]


@pytest.mark.parametrize(("queue", "settings"), [("rows", {}), ("jobs", {"session_id": "a"})])
async def test_sessions_are_neither_left_out_nor_added(broker: Broker, queue: str, settings: dict[str, str]) -> None:
    async with connect(broker, retry_total=0) as client:
        receiver = client.get_queue_receiver(queue, **settings)
        with pytest.raises(ServiceBusError, match="sessions"):
            await receiver.receive_messages(max_wait_time=5)
        await receiver.close()


async def test_a_batch_with_a_message_without_session_is_refused_whole(broker: Broker, sdk: Sdk) -> None:
    sender = await sdk.sender("rows")
    with pytest.raises(ServiceBusError, match="SessionId"):
        await sender.send_messages([ServiceBusMessage(b"with", session_id="a"), ServiceBusMessage(b"without")])
    assert broker.queue("rows").depths.total == 0
