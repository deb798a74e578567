"""Short ways to do with the SDK what most tests do first."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver

PATIENCE = 20.0
"""Seconds that a receive may take before the test fails; it returns as soon as the messages are there."""


def body(message: ServiceBusReceivedMessage) -> bytes:
    """The message's data, whole."""
    return b"".join(message.body)


async def send(client: ServiceBusClient, queue: str, *bodies: bytes, **settings: Any) -> None:
    """Send one message for each body, all with these settings."""
    async with client.get_queue_sender(queue) as sender:
        for content in bodies:
            await sender.send_messages(ServiceBusMessage(content, **settings))


async def receive(receiver: ServiceBusReceiver, count: int = 1) -> Sequence[ServiceBusReceivedMessage]:
    """Exactly `count` messages, however the SDK splits them."""
    messages: list[ServiceBusReceivedMessage] = []
    while len(messages) < count:
        more = await receiver.receive_messages(max_message_count=count - len(messages), max_wait_time=PATIENCE)
        assert more, f"{len(messages)} of {count} messages came"
        messages += more
    return messages


@asynccontextmanager
async def received(
    client: ServiceBusClient, queue: str, **settings: Any
) -> AsyncIterator[tuple[ServiceBusReceiver, ServiceBusReceivedMessage]]:
    """A receiver and the next message of a queue."""
    async with client.get_queue_receiver(queue, **settings) as receiver:
        yield receiver, (await receive(receiver))[0]


@asynccontextmanager
async def dead_letter(
    client: ServiceBusClient, queue: str
) -> AsyncIterator[tuple[ServiceBusReceiver, ServiceBusReceivedMessage]]:
    """As `received`, of a queue's dead letters."""
    async with received(client, queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER) as pair:
        yield pair
