"""The broker and the real SDK's client, for the conformance tests."""

from collections.abc import AsyncIterator

import pytest
from azure.servicebus.aio import ServiceBusClient

from app.devbus import Broker, Limits


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    """A broker with a queue of every sort that the tests need; locks are long unless the name says otherwise."""
    queues = [
        "jobs,lock=60,max_delivery=3",
        "brief,lock=0.3,max_delivery=3",
        "results,dedup=60",
        "fleeting,ttl=0.2",
        "mourned,ttl=0.2,dlq_expired",
        "rows,sessions,lock=60",
    ]
    topics = {"events": ["audit", "billing,lock=60"]}
    async with Broker(queues, topics, limits=Limits(max_message_size=8 << 20)) as broker:
        yield broker


@pytest.fixture
async def client(broker: Broker) -> AsyncIterator[ServiceBusClient]:
    """The SDK, connected to that broker; it retries soon, so that faults do not slow the tests."""
    async with ServiceBusClient.from_connection_string(
        broker.connection_string, retry_backoff_factor=0.05, retry_backoff_max=0.5
    ) as client:
        yield client
