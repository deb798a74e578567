"""Messages arrive as they were sent: properties, batches, sizes, duplicates, lives, times."""

from datetime import UTC, datetime, timedelta

import pytest
from azure.servicebus import ServiceBusMessage
from azure.servicebus.amqp import AmqpAnnotatedMessage, AmqpMessageBodyType
from azure.servicebus.exceptions import MessageSizeExceededError, MessagingEntityNotFoundError, ServiceBusError

from app.devbus.broker import Broker
from app.devbus.limits import BrokerLimits
from tests.devbus.sdk import Sdk, body, connect, receive
from tests.fixtures.waiting import until_async


async def test_every_property_comes_back(sdk: Sdk) -> None:
    sent = ServiceBusMessage(
        b"picture",
        message_id="m-1",
        correlation_id="c-1",
        content_type="image/jpeg",
        subject="shelf",
        reply_to="results",
        to="anyone",
        partition_key="p",
        time_to_live=timedelta(minutes=5),
        application_properties={"robot": "r7", "threshold": 0.5, "tries": 3, "urgent": True},
    )
    sender = await sdk.sender("jobs")
    await sender.send_messages(sent)
    _, message = await sdk.received("jobs")
    assert body(message) == b"picture"
    assert (message.message_id, message.correlation_id) == ("m-1", "c-1")
    assert (message.content_type, message.subject) == ("image/jpeg", "shelf")
    assert (message.reply_to, message.to, message.partition_key) == ("results", "anyone", "p")
    assert message.time_to_live == timedelta(minutes=5)
    assert message.application_properties == {b"robot": b"r7", b"threshold": 0.5, b"tries": 3, b"urgent": True}
    assert message.sequence_number == 1
    assert message.enqueued_time_utc is not None
    assert message.locked_until_utc is not None
    assert message.locked_until_utc - message.enqueued_time_utc > timedelta(seconds=59)


async def test_a_body_that_is_a_value_comes_back(sdk: Sdk) -> None:
    sender = await sdk.sender("jobs")
    await sender.send_messages(AmqpAnnotatedMessage(value_body={"a": [1, 2, None]}))
    _, message = await sdk.received("jobs")
    assert message.body_type is AmqpMessageBodyType.VALUE
    assert message.body == {b"a": [1, 2, None]}


async def test_an_empty_message_comes_back(sdk: Sdk) -> None:
    await sdk.send("jobs", b"")
    _, message = await sdk.received("jobs")
    assert body(message) == b""


async def test_lists_and_batches_arrive_in_order(broker: Broker, sdk: Sdk) -> None:
    sender = await sdk.sender("jobs")
    await sender.send_messages([ServiceBusMessage(f"list {i}".encode()) for i in range(3)])
    batch = await sender.create_message_batch()
    for i in range(3):
        batch.add_message(ServiceBusMessage(f"batch {i}".encode(), message_id=f"b{i}"))
    await sender.send_messages(batch)
    expected = [f"{kind} {i}".encode() for kind in ("list", "batch") for i in range(3)]
    receiver = await sdk.receiver("jobs")
    messages = await receive(receiver, 6)
    assert [body(message) for message in messages] == expected
    assert messages[3].message_id == "b0"


async def test_messages_of_every_size_pass_through_frames_of_64_kb(sdk: Sdk) -> None:
    receiver = await sdk.receiver("jobs")
    for size in (0, 1, 200, 255, 256, 65_000, 65_536, 150_000, 5_000_000):
        content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        await sdk.send("jobs", content)
        (message,) = await receive(receiver)
        assert body(message) == content
        await receiver.complete_message(message)


async def test_many_large_messages_in_flight(broker: Broker, sdk: Sdk) -> None:
    contents = [bytes([i]) * 150_000 for i in range(40)]
    await sdk.send("jobs", *contents)
    receiver = await sdk.receiver("jobs", prefetch_count=20)
    for content in contents:
        (message,) = await receive(receiver)
        assert body(message) == content
        await receiver.complete_message(message)


async def test_a_message_over_the_limit_is_refused() -> None:
    async with (
        Broker(["jobs"], limits=BrokerLimits(max_message_size=1000)) as broker,
        connect(broker, retry_total=0) as client,
        client.get_queue_sender("jobs") as sender,
    ):
        with pytest.raises(MessageSizeExceededError):
            await sender.send_messages(ServiceBusMessage(b"x" * 200_000))
        await sender.send_messages(ServiceBusMessage(b"x" * 500))
        assert broker.queue("jobs").depths.active == 1


async def test_an_unknown_queue_is_said_to_be_unknown(sdk: Sdk) -> None:
    with pytest.raises(MessagingEntityNotFoundError):
        await sdk.send("jbos", b"one")
    with pytest.raises(MessagingEntityNotFoundError):
        await sdk.receiver("jbos")


async def test_names_are_told_apart_without_case(broker: Broker, sdk: Sdk) -> None:
    await sdk.send("JOBS", b"one")
    assert broker.queue("Jobs").depths.active == 1


async def test_a_repeated_message_id_is_stored_once(broker: Broker, sdk: Sdk) -> None:
    await sdk.send("results", b"one", b"one again", message_id="m1")
    await sdk.send("results", b"two", message_id="m2")
    assert [entry.body for entry in broker.queue("results").peek()] == [b"one", b"two"]
    assert broker.queue("results").totals["duplicates"] == 1


async def test_an_expired_message_goes_away(broker: Broker, sdk: Sdk) -> None:
    await sdk.send("fleeting", b"one")
    await sdk.send("jobs", b"two", time_to_live=timedelta(seconds=0.2))
    await until_async(lambda: broker.queue("fleeting").totals["expired"] and broker.queue("jobs").totals["expired"])
    assert broker.queue("fleeting").depths.total == broker.queue("jobs").depths.total == 0


async def test_an_expired_message_goes_to_the_dead_letters_where_that_is_wanted(sdk: Sdk) -> None:
    await sdk.send("mourned", b"one")
    _, dead = await sdk.dead_letter("mourned")
    assert dead.dead_letter_reason == "TTLExpiredException"


async def test_a_scheduled_message_comes_at_its_time(sdk: Sdk) -> None:
    when = (datetime.now(UTC) + timedelta(seconds=1)).replace(microsecond=0)
    sender = await sdk.sender("jobs")
    (number,) = await sender.schedule_messages(ServiceBusMessage(b"later"), when)
    _, message = await sdk.received("jobs")
    assert (body(message), message.sequence_number) == (b"later", number)
    assert datetime.now(UTC) >= when


async def test_a_message_may_carry_its_time_itself(broker: Broker, sdk: Sdk) -> None:
    when = datetime.now(UTC) + timedelta(hours=1)
    await sdk.send("jobs", b"later", scheduled_enqueue_time_utc=when)
    assert broker.queue("jobs").depths.scheduled == 1


async def test_a_scheduled_message_can_be_cancelled(broker: Broker, sdk: Sdk) -> None:
    messages = [ServiceBusMessage(b"one"), ServiceBusMessage(b"two")]
    sender = await sdk.sender("jobs")
    numbers = await sender.schedule_messages(messages, datetime.now(UTC) + timedelta(hours=1))
    await sender.cancel_scheduled_messages(numbers[0])
    assert broker.queue("jobs").depths.scheduled == 1
    with pytest.raises(ServiceBusError):
        await sender.cancel_scheduled_messages(numbers[0])


async def test_a_request_is_answered_on_the_queue_that_it_names(sdk: Sdk) -> None:
    await sdk.send("jobs", b"2 + 2", message_id="question", reply_to="results")
    receiver, question = await sdk.received("jobs")
    assert question.reply_to is not None
    await sdk.send(question.reply_to, b"4", correlation_id=question.message_id)
    await receiver.complete_message(question)
    _, answer = await sdk.received("results")
    assert (answer.correlation_id, body(answer)) == ("question", b"4")
