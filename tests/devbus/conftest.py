"""The broker and the real SDK, for the conformance tests.

The tests of a module share an event loop, so that the SDK can close in the background what a test had opened.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest_asyncio

from app.devbus import Broker, Limits
from tests.devbus.hasty import HastyLoop
from tests.devbus.sdk import Sdk

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


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def closing() -> AsyncIterator[list[asyncio.Task[None]]]:
    """What is being closed in the background; a failure to close fails the module."""
    tasks: list[asyncio.Task[None]] = []
    yield tasks
    await asyncio.gather(*tasks)


@pytest_asyncio.fixture(loop_scope="module")
async def broker(closing: list[asyncio.Task[None]]) -> AsyncIterator[Broker]:
    """A broker with a queue of every sort that the tests need."""
    async with Broker(QUEUES, TOPICS, limits=Limits(max_message_size=8 << 20)) as broker:
        yield broker


@pytest_asyncio.fixture(loop_scope="module")
async def sdk(broker: Broker, closing: list[asyncio.Task[None]]) -> AsyncIterator[Sdk]:
    """The SDK, connected to that broker."""
    sdk = Sdk(broker)
    yield sdk
    closing.append(asyncio.create_task(sdk.close()))
