"""Complete, abandon, defer, dead-letter, renew; locks that end; deliveries that fail too often."""

import asyncio
from datetime import UTC, datetime

import pytest
from azure.servicebus import ServiceBusReceiveMode
from azure.servicebus.exceptions import MessageLockLostError, MessageNotFoundError

from app.devbus.broker import Broker
from tests.devbus.sdk import Sdk, body, put, receive
from tests.fixtures.waiting import until_async


async def test_a_completed_message_is_gone(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", b"one")
    receiver, message = await sdk.received("jobs")
    assert body(message) == b"one"
    assert message.delivery_count == 0
    assert broker.queue("jobs").depths.locked == 1
    await receiver.complete_message(message)
    assert broker.queue("jobs").depths.total == 0


async def test_an_abandoned_message_comes_back_with_its_delivery_counted(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", b"one", b"two")
    receiver = await sdk.receiver("jobs")
    (first,) = await receive(receiver)
    await receiver.abandon_message(first)
    (again,) = await receive(receiver)
    assert (body(again), again.delivery_count) == (b"one", 1)
    assert again.sequence_number == first.sequence_number


async def test_a_message_abandoned_too_often_is_dead_lettered(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", b"poison")
    receiver = await sdk.receiver("jobs")
    for _ in range(3):
        (message,) = await receive(receiver)
        await receiver.abandon_message(message)
    assert broker.queue("jobs").depths.active == 0
    receiver, dead = await sdk.dead_letter("jobs")
    assert dead.dead_letter_reason == "MaxDeliveryCountExceeded"
    assert body(dead) == b"poison"
    await receiver.complete_message(dead)
    assert broker.queue("jobs").depths.total == 0


async def test_a_dead_letter_keeps_its_properties_and_says_why(broker: Broker, sdk: Sdk) -> None:
    settings = {"message_id": "m1", "application_properties": {"robot": "r7"}, "content_type": "image/png"}
    await sdk.send("jobs", b"bad", **settings)
    receiver, message = await sdk.received("jobs")
    await receiver.dead_letter_message(message, reason="invalid_image", error_description="cut short at byte 7")
    (entry,) = broker.queue("jobs/$DeadLetterQueue").peek()
    assert (entry.reason, entry.description, entry.body) == ("invalid_image", "cut short at byte 7", b"bad")
    _, dead = await sdk.dead_letter("jobs")
    assert dead.dead_letter_reason == "invalid_image"
    assert dead.dead_letter_error_description == "cut short at byte 7"
    assert dead.application_properties is not None
    assert dead.application_properties[b"robot"] == b"r7"
    assert (dead.message_id, dead.content_type) == ("m1", "image/png")


async def test_a_deferred_message_is_received_by_its_number_alone(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", b"later", b"next")
    receiver = await sdk.receiver("jobs")
    (message,) = await receive(receiver)
    number = message.sequence_number
    assert number is not None
    await receiver.defer_message(message)
    assert broker.queue("jobs").depths.deferred == 1
    (other,) = await receive(receiver)
    assert body(other) == b"next"
    (deferred,) = await receiver.receive_deferred_messages(number)
    assert body(deferred) == b"later"
    await receiver.complete_message(deferred)
    with pytest.raises(MessageNotFoundError):
        await receiver.receive_deferred_messages(number)
    assert broker.queue("jobs").depths.deferred == 0


async def test_an_abandoned_deferred_message_stays_deferred(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", b"later")
    receiver, message = await sdk.received("jobs")
    number = message.sequence_number
    assert number is not None
    await receiver.defer_message(message)
    (deferred,) = await receiver.receive_deferred_messages(number)
    await receiver.abandon_message(deferred)
    assert broker.queue("jobs").depths.deferred == 1


async def test_receive_and_delete_locks_nothing(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", b"one")
    _, message = await sdk.received("jobs", receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE)
    assert body(message) == b"one"
    assert broker.queue("jobs").depths.total == 0


async def test_a_lock_that_ends_gives_the_message_back(broker: Broker, sdk: Sdk) -> None:
    put(broker, "brief", b"one")
    receiver, message = await sdk.received("brief")
    await until_async(lambda: broker.queue("brief").depths.active)
    with pytest.raises(MessageLockLostError):
        await receiver.complete_message(message)
    (again,) = await receive(receiver)
    assert again.delivery_count == 1
    assert again.lock_token != message.lock_token


async def test_locks_that_end_too_often_are_dead_lettered(broker: Broker, sdk: Sdk) -> None:
    put(broker, "brief", b"one")
    receiver = await sdk.receiver("brief")
    for _ in range(3):
        await receive(receiver)
        await until_async(lambda: broker.queue("brief").depths.locked == 0)
    (entry,) = broker.queue("brief/$DeadLetterQueue").peek()
    assert entry.reason == "MaxDeliveryCountExceeded"


async def test_a_renewed_lock_outlives_its_first_term(broker: Broker, sdk: Sdk) -> None:
    put(broker, "brief", b"one")
    receiver, message = await sdk.received("brief")
    first_end = message.locked_until_utc
    assert first_end is not None
    while datetime.now(UTC) < first_end:
        await receiver.renew_message_lock(message)
        await asyncio.sleep(0.05)
    await receiver.complete_message(message)
    assert broker.queue("brief").totals["completed"] == 1


async def test_a_lock_that_ended_cannot_be_renewed(broker: Broker, sdk: Sdk) -> None:
    put(broker, "brief", b"one")
    receiver, message = await sdk.received("brief")
    await until_async(lambda: broker.queue("brief").depths.locked == 0)
    with pytest.raises(MessageLockLostError):
        await receiver.renew_message_lock(message)


async def test_a_fresh_receiver_settles_what_another_received(broker: Broker, sdk: Sdk) -> None:
    """By lock token through `$management`, as a worker must after its connection was cut."""
    put(broker, "jobs", b"one", b"two", b"three")
    receiver = await sdk.receiver("jobs", prefetch_count=3)
    messages = await receive(receiver, 3)
    broker.cut()
    fresh = await sdk.receiver("jobs")
    await fresh.complete_message(messages[0])
    await fresh.abandon_message(messages[1])
    await fresh.dead_letter_message(messages[2], reason="r", error_description="d")
    queue = broker.queue("jobs")
    assert queue.totals["completed"] == 1
    assert [entry.body for entry in queue.peek()] == [b"two"]
    (dead,) = broker.queue("jobs/$deadletterqueue").peek()
    assert (dead.reason, dead.description) == ("r", "d")


async def test_closing_a_receiver_releases_what_it_had_fetched(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", b"one", b"two", b"three")
    receiver = await sdk.receiver("jobs", prefetch_count=10)
    await receive(receiver)
    await until_async(lambda: broker.queue("jobs").depths.locked == 3)
    await receiver.close()
    await until_async(lambda: broker.queue("jobs").depths.active == 2)
    assert all(entry.delivery_count == 0 for entry in broker.queue("jobs").peek())
