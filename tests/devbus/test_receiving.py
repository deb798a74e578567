"""Credit, prefetch, peeking, many receivers, topics."""

import asyncio
from datetime import UTC, datetime, timedelta

from azure.servicebus import ServiceBusMessage

from app.devbus.broker import Broker
from tests.devbus.sdk import Sdk, body, connect, put, receive
from tests.fixtures.waiting import until_async


async def test_no_more_is_locked_than_was_asked_for(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", *(b"%d" % i for i in range(10)))
    receiver = await sdk.receiver("jobs")
    messages = await receive(receiver, 2)
    assert [body(message) for message in messages] == [b"0", b"1"]
    assert broker.queue("jobs").depths.locked <= 3  # the SDK may have asked for one more


async def test_prefetch_locks_ahead(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", *(b"%d" % i for i in range(20)))
    receiver = await sdk.receiver("jobs", prefetch_count=7)
    await receive(receiver)
    await until_async(lambda: broker.queue("jobs").depths.locked >= 7)
    assert broker.queue("jobs").depths.locked <= 9


async def test_a_waiting_receiver_is_served_as_soon_as_something_comes(broker: Broker, sdk: Sdk) -> None:
    receiver = await sdk.receiver("jobs")
    waiting = asyncio.create_task(receive(receiver))
    put(broker, "jobs", b"one")
    (message,) = await waiting
    assert body(message) == b"one"


async def test_the_iterator_gets_everything_in_order(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", *(b"%d" % i for i in range(15)))
    got = []
    receiver = await sdk.receiver("jobs", max_wait_time=5, prefetch_count=4)
    async for message in receiver:
        got.append(body(message))
        await receiver.complete_message(message)
        if len(got) == 15:
            break
    assert got == [b"%d" % i for i in range(15)]


async def test_receivers_share_and_nothing_comes_twice(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", *(b"%d" % i for i in range(30)))
    seen: list[bytes] = []

    async def consume() -> None:
        receiver = await sdk.receiver("jobs")
        while len(seen) < 30:
            for message in await receiver.receive_messages(max_message_count=3, max_wait_time=0.5):
                seen.append(body(message))
                await receiver.complete_message(message)

    await asyncio.gather(*(consume() for _ in range(4)))
    assert sorted(seen) == sorted(b"%d" % i for i in range(30))
    assert broker.queue("jobs").depths.total == 0


async def test_settling_from_many_tasks(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", *(b"%d" % i for i in range(20)))
    receiver = await sdk.receiver("jobs", prefetch_count=20)
    messages = await receive(receiver, 20)
    await asyncio.gather(*(receiver.complete_message(message) for message in messages))
    assert broker.queue("jobs").totals["completed"] == 20


async def test_peeking_shows_everything_and_locks_nothing(broker: Broker, sdk: Sdk) -> None:
    put(broker, "jobs", b"one", b"two", b"three")
    receiver = await sdk.receiver("jobs")
    (first,) = await receive(receiver)
    peeked = await receiver.peek_messages(max_message_count=10, sequence_number=1)
    assert [body(message) for message in peeked] == [b"one", b"two", b"three"]
    assert first.sequence_number is not None
    later = await receiver.peek_messages(max_message_count=10, sequence_number=first.sequence_number + 1)
    assert [body(message) for message in later] == [b"two", b"three"]
    assert await receiver.peek_messages(sequence_number=1000) == []
    assert broker.queue("jobs").depths.dead_lettered == 0


async def test_a_topic_copies_to_every_subscription(broker: Broker, sdk: Sdk) -> None:
    sender = await sdk.opened(sdk.client.get_topic_sender("events"))
    await sender.send_messages([ServiceBusMessage(b"one"), ServiceBusMessage(b"two")])
    for subscription in ("audit", "billing"):
        receiver = await sdk.opened(sdk.client.get_subscription_receiver("events", subscription))
        messages = await receive(receiver, 2)
        assert [body(message) for message in messages] == [b"one", b"two"]
        await receiver.complete_message(messages[0])
        await receiver.dead_letter_message(messages[1], reason="r")
        assert broker.queue(f"events/Subscriptions/{subscription}").depths.dead_lettered == 1


async def test_a_scheduled_topic_message_can_be_cancelled(broker: Broker, sdk: Sdk) -> None:
    sender = await sdk.opened(sdk.client.get_topic_sender("events"))
    numbers = await sender.schedule_messages(ServiceBusMessage(b"x"), datetime.now(UTC) + timedelta(hours=1))
    assert broker.queue("events/subscriptions/audit").depths.scheduled == 1
    await sender.cancel_scheduled_messages(numbers)
    assert broker.queue("events/subscriptions/billing").depths.total == 0


async def test_many_connections_at_once(broker: Broker) -> None:
    async with connect(broker) as client:

        async def send_one(i: int) -> None:
            async with client.get_queue_sender("jobs") as sender:
                await sender.send_messages(ServiceBusMessage(b"%d" % i))

        await asyncio.gather(*(send_one(i) for i in range(25)))
    assert broker.queue("jobs").depths.active == 25
    await until_async(lambda: broker.connections == 0)


async def test_draining_gives_what_there_is_and_leaves_no_credit(broker: Broker, sdk: Sdk) -> None:
    """The SDK drains when it closes a receiver: nothing may be sent to it afterwards."""
    receiver = await sdk.receiver("jobs", prefetch_count=50)
    await receiver.close()
    put(broker, "jobs", b"one")
    other = await sdk.receiver("jobs")
    (message,) = await receive(other)
    assert message.delivery_count == 0
