"""The broker and the real SDK, for the conformance tests."""

from collections.abc import AsyncIterator

import pytest

from app.devbus.broker import Broker
from app.devbus.limits import BrokerLimits
from tests.devbus.sdk import Sdk
from tests.fixtures.hasty import HastyLoop

QUEUES = [
    "jobs,lock=60,max_delivery=3",
    "brief,lock=0.3,max_delivery=3",
    "results,dedup=60",
    "fleeting,ttl=0.2",
    "mourned,ttl=0.2,dlq_expired",
    "rows,sessions,lock=60",
    "brief-rows,sessions,lock=0.5",
]
TOPICS = {"events": ["audit", "billing,lock=60"]}


def pytest_asyncio_loop_factories() -> dict[str, type[HastyLoop]]:
    """All tests here run on a loop that shortens the SDK's naps."""
    return {"hasty": HastyLoop}


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    """A broker with a queue of every sort that the tests need."""
    async with Broker(QUEUES, TOPICS, limits=BrokerLimits(max_message_size=8 << 20)) as broker:
        yield broker


@pytest.fixture
async def sdk(broker: Broker) -> AsyncIterator[Sdk]:
    """The SDK, connected to that broker."""
    sdk = Sdk(broker)
    yield sdk
    await sdk.close()
