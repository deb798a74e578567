"""Faults on demand, as the SDK sees them."""

import asyncio

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import (
    MessageLockLostError,
    OperationTimeoutError,
    ServiceBusAuthenticationError,
    ServiceBusAuthorizationError,
    ServiceBusError,
    ServiceBusQuotaExceededError,
    ServiceBusServerBusyError,
)

from app.devbus.broker import Broker
from tests.devbus.sdk import Sdk, body, connect, put, receive
from tests.fixtures.waiting import until_async


async def test_after_a_cut_the_sdk_comes_back(broker: Broker, sdk: Sdk) -> None:
    await sdk.send("jobs", b"one")
    receiver, message = await sdk.received("jobs")
    assert broker.cut() == 2
    await sdk.send("jobs", b"two")
    await receiver.complete_message(message)
    (second,) = await receive(receiver)
    assert body(second) == b"two"
    assert broker.queue("jobs").totals["completed"] == 1


async def test_a_lock_outlives_the_connection(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", b"one")
    receiver, message = await sdk.received("jobs")
    broker.cut()
    await until_async(lambda: broker.connections == 0)
    assert broker.queue("jobs").depths.locked == 1
    assert await receiver.renew_message_lock(message)


async def test_after_a_detach_the_sdk_attaches_again(broker: Broker, sdk: Sdk) -> None:
    await sdk.send("jobs", b"one")
    receiver, message = await sdk.received("jobs")
    assert broker.detach("jobs") == 2
    await sdk.send("jobs", b"two")
    await receiver.complete_message(message)
    (second,) = await receive(receiver)
    assert body(second) == b"two"


async def test_a_broker_that_is_down_for_a_while(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", b"one")
    port = broker.port
    await broker.refuse()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    waiting = asyncio.create_task(sdk.received("jobs"))
    await broker.reopen()
    _, message = await waiting
    assert body(message) == b"one"
    assert broker.port == port


async def test_a_refusal_ends_by_itself(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", b"one")
    await broker.refuse(0.1)
    _, message = await sdk.received("jobs")
    assert body(message) == b"one"


async def test_a_throttled_send_is_tried_again(broker: Broker, sdk: Sdk) -> None:
    await sdk.send("jobs", b"zero")
    broker.faults.set(throttled=1.0)
    sending = asyncio.create_task(sdk.send("jobs", b"one"))
    await until_async(lambda: broker.faults.happened["throttled"])
    broker.faults.set(throttled=0.0)
    await sending
    assert broker.queue("jobs").depths.active == 2


async def test_throttling_that_does_not_end_is_server_busy(broker: Broker) -> None:
    broker.faults.set(throttled=1.0)
    async with connect(broker, retry_total=0) as client, client.get_queue_sender("jobs") as sender:
        with pytest.raises(ServiceBusServerBusyError):
            await sender.send_messages(ServiceBusMessage(b"one"))


async def test_a_slow_settlement_is_confirmed_late(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", b"one")
    receiver, message = await sdk.received("jobs")
    broker.faults.set(settlement_delay=0.2)
    settling = asyncio.create_task(receiver.complete_message(message))
    await asyncio.sleep(0)
    assert broker.queue("jobs").depths.locked == 1
    await settling
    assert broker.queue("jobs").depths.total == 0


async def test_a_settlement_whose_confirmation_is_lost_looks_like_a_lost_lock(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", b"one")
    receiver, message = await sdk.received("jobs")
    broker.faults.set(swallowed=1.0, cut_unconfirmed=True)
    settling = asyncio.create_task(receiver.complete_message(message))
    await until_async(lambda: broker.queue("jobs").depths.total == 0)
    broker.faults.set(swallowed=0.0)
    with pytest.raises(MessageLockLostError):
        await settling


async def test_a_lost_settlement_can_be_repeated(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", b"one")
    receiver, message = await sdk.received("jobs")
    broker.faults.set(lost=1.0, cut_unconfirmed=True)
    settling = asyncio.create_task(receiver.complete_message(message))
    await until_async(lambda: broker.faults.happened["lost"])
    broker.faults.set(lost=0.0)
    assert broker.queue("jobs").depths.locked == 1
    await settling
    assert broker.queue("jobs").depths.total == 0


async def test_silence_instead_of_a_confirmation(broker: Broker) -> None:
    """The SDK waits for its `timeout` and then asks `$management`, which says that the lock is lost."""
    put(broker, "jobs", b"one")
    async with connect(broker) as client, client.get_queue_receiver("jobs", timeout=0.3) as receiver:
        (message,) = await receive(receiver)
        broker.faults.set(swallowed=1.0)
        settling = asyncio.create_task(receiver.complete_message(message))
        await until_async(lambda: broker.queue("jobs").depths.total == 0)
        broker.faults.set(swallowed=0.0)
        with pytest.raises(MessageLockLostError):
            await settling


async def test_a_refused_token_is_an_authentication_error(broker: Broker) -> None:
    broker.faults.set(tokens_refused=True)
    async with connect(broker, retry_total=0) as client:
        sender = client.get_queue_sender("jobs")
        with pytest.raises(ServiceBusAuthenticationError):
            await sender.send_messages(ServiceBusMessage(b"one"))
        await sender.close()


@pytest.mark.parametrize("changes", [{"lots": 1.0}, {"lost": "often"}, {"lost": True}, {"cut_unconfirmed": 1}])
async def test_a_fault_that_cannot_be_is_refused(broker: Broker, changes: dict[str, object]) -> None:
    before = broker.faults.current()
    with pytest.raises(ValueError, match=next(iter(changes))):
        broker.faults.set(throttled=0.5, **changes)
    assert broker.faults.current() == before


async def test_chance_can_be_repeated(broker: Broker) -> None:
    runs = []
    for _ in range(2):
        broker.faults.set(seed=7, lost=0.3, swallowed=0.3)
        runs.append([broker.faults.fate() for _ in range(50)])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 3


async def test_a_request_that_is_never_answered_and_one_that_is_late(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", b"one")
    receiver, message = await sdk.received("jobs")
    broker.faults.set(unanswered=1.0)
    with pytest.raises(OperationTimeoutError):
        await receiver.renew_message_lock(message, timeout=0.3)
    assert broker.faults.happened["unanswered"] >= 1
    broker.faults.set(unanswered=0.0, answer_delay=0.05)
    assert await receiver.renew_message_lock(message)


async def test_a_message_that_is_stored_and_not_confirmed(broker: Broker, sdk: Sdk) -> None:
    sender = await sdk.sender("jobs")
    broker.faults.set(unconfirmed=1.0)
    with pytest.raises(ServiceBusError):
        await sender.send_messages(ServiceBusMessage(b"one"), timeout=0.3)
    assert broker.queue("jobs").depths.active >= 1


async def test_who_may_not_is_refused_on_old_links_and_new_ones(broker: Broker, sdk: Sdk) -> None:
    sender = await sdk.sender("jobs")
    broker.forbid("jobs")
    with pytest.raises(ServiceBusAuthorizationError):
        await sender.send_messages(ServiceBusMessage(b"one"))
    async with connect(broker, retry_total=0) as client:
        with pytest.raises(ServiceBusAuthorizationError):
            await client.get_queue_receiver("jobs").__aenter__()
    broker.forbid("jobs", False)
    await sdk.send("jobs", b"two")
    assert broker.queue("jobs").depths.active == 1


async def test_entities_that_are_full_or_take_no_batches() -> None:
    async with (
        Broker(["full,full=2", "single,no_batches,dedup=60"]) as broker,
        connect(broker, retry_total=0) as client,
    ):
        async with client.get_queue_sender("full") as sender:
            await sender.send_messages([ServiceBusMessage(b"1"), ServiceBusMessage(b"2")])
            with pytest.raises(ServiceBusQuotaExceededError):
                await sender.send_messages(ServiceBusMessage(b"3"))
        async with client.get_queue_sender("single") as sender:
            with pytest.raises(ServiceBusError, match="Batching brokered messages"):
                await sender.send_messages([ServiceBusMessage(b"1"), ServiceBusMessage(b"2")])
            await sender.send_messages(ServiceBusMessage(b"1"))
        assert (broker.queue("full").depths.active, broker.queue("single").depths.active) == (2, 1)
