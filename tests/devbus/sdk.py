"""The real SDK, unmodified, with short ways to do what most tests do first."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, TypeVar

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender

from app.devbus.amqp.encode import encoded
from app.devbus.amqp.message import DATA, PROPERTIES, Message
from app.devbus.amqp.types import Described
from app.devbus.broker import Broker

Handler = TypeVar("Handler", ServiceBusSender, ServiceBusReceiver)

PATIENCE = 20.0
"""Seconds that a receive may take before the test fails; it returns as soon as the messages are there."""


def body(message: ServiceBusReceivedMessage) -> bytes:
    """The message's data, whole."""
    return b"".join(message.body)


def connect(broker: Broker, **settings: Any) -> ServiceBusClient:
    """The SDK's client. It retries soon, so that faults do not slow the tests."""
    settings = {"retry_backoff_factor": 0.05, "retry_backoff_max": 0.5, **settings}
    return ServiceBusClient.from_connection_string(broker.connection_string, **settings)


async def receive(receiver: ServiceBusReceiver, count: int = 1) -> Sequence[ServiceBusReceivedMessage]:
    """Exactly `count` messages, however the SDK splits them."""
    messages: list[ServiceBusReceivedMessage] = []
    while len(messages) < count:
        more = await receiver.receive_messages(max_message_count=count - len(messages), max_wait_time=PATIENCE)
        assert more, f"{len(messages)} of {count} messages came"
        messages += more
    return messages


class Sdk:
    """A client and everything that was opened with it."""

    def __init__(self, broker: Broker) -> None:
        self.client = connect(broker)
        self._senders: dict[str, ServiceBusSender] = {}
        self._opened: list[ServiceBusSender | ServiceBusReceiver] = []

    async def sender(self, queue: str) -> ServiceBusSender:
        """The queue's sender, open."""
        if queue not in self._senders:
            self._senders[queue] = await self.opened(self.client.get_queue_sender(queue))
        return self._senders[queue]

    async def send(self, queue: str, *bodies: bytes, **settings: Any) -> None:
        """Send one message for each body, all with these settings."""
        sender = await self.sender(queue)
        for content in bodies:
            await sender.send_messages(ServiceBusMessage(content, **settings))

    async def receiver(self, queue: str, **settings: Any) -> ServiceBusReceiver:
        """A receiver, open."""
        return await self.opened(self.client.get_queue_receiver(queue, **settings))

    async def received(self, queue: str, **settings: Any) -> tuple[ServiceBusReceiver, ServiceBusReceivedMessage]:
        """A receiver and the next message of a queue."""
        receiver = await self.receiver(queue, **settings)
        return receiver, (await receive(receiver))[0]

    async def dead_letter(self, queue: str) -> tuple[ServiceBusReceiver, ServiceBusReceivedMessage]:
        """As `received`, of a queue's dead letters."""
        return await self.received(queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER)

    async def opened(self, handler: Handler) -> Handler:
        """Open a sender or receiver that is closed with the client."""
        self._opened.append(handler)
        await handler.__aenter__()
        return handler

    async def close(self) -> None:
        """Close everything."""
        await asyncio.gather(*(handler.close() for handler in self._opened))
        await self.client.close()


def put(broker: Broker, queue: str, *bodies: bytes, message_id: str | None = None) -> None:
    """Messages in a queue, without a sender; `test_sending` sends them with the SDK."""
    for content in bodies:
        properties = encoded(Described(PROPERTIES, [message_id]))
        message = Message(properties=properties, body=encoded(Described(DATA, content)))
        broker.queue(queue).send(message, time.time())
