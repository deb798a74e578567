"""Faults while a plain worker works: nothing is lost, and what comes twice comes for a reason."""

import asyncio
from collections import Counter
from collections.abc import Callable

from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.exceptions import ServiceBusError

from app.devbus.broker import Broker
from tests.devbus.sdk import body, connect, put
from tests.fixtures.waiting import until_async

MESSAGES = 60


async def work(client: ServiceBusClient, seen: Counter[bytes], is_done: Callable[[], bool]) -> None:
    """A worker that knows nothing but to begin again.

    It is not cancelled: on Python 3.11 `asyncio.wait_for`, which the SDK lives in, may swallow a cancellation.
    """
    while not is_done():
        try:
            async with client.get_queue_receiver("jobs", prefetch_count=5, max_wait_time=0.5) as receiver:
                async for message in receiver:
                    seen[body(message)] += 1
                    await receiver.complete_message(message)
        except ServiceBusError:
            await asyncio.sleep(0.05)


async def test_nothing_is_lost_whatever_is_cut() -> None:
    async with Broker(["jobs,lock=1,max_delivery=1000"]) as broker:
        put(broker, "jobs", *(b"%d" % i for i in range(MESSAGES)))
        broker.faults.set(seed=1, swallowed=0.05, lost=0.05, cut_unconfirmed=True)
        queue, seen = broker.queue("jobs"), Counter[bytes]()
        async with connect(broker) as client, asyncio.TaskGroup() as workers:
            for _ in range(3):
                workers.create_task(work(client, seen, lambda: queue.totals["completed"] == MESSAGES))
            for already in range(0, MESSAGES, 20):
                await until_async(lambda already=already: queue.totals["completed"] > already)
                broker.cut()
        assert set(seen) == {b"%d" % i for i in range(MESSAGES)}
        assert queue.depths.total == 0
