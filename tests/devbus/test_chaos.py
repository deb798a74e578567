"""Faults while a plain worker works: nothing is lost, and what comes twice comes for a reason."""

import asyncio
from collections import Counter

from azure.servicebus.aio import ServiceBusClient
from azure.servicebus.exceptions import ServiceBusError

from app.devbus import Broker
from tests.devbus.sdk import body, connect, put
from tests.fixtures.waiting import until_async

MESSAGES = 60


async def work(client: ServiceBusClient, seen: Counter[bytes]) -> None:
    """A worker that knows nothing but to begin again."""
    while True:
        try:
            async with client.get_queue_receiver("jobs", prefetch_count=5, socket_timeout=0.02) as receiver:
                async for message in receiver:
                    seen[body(message)] += 1
                    await receiver.complete_message(message)
        except ServiceBusError:
            await asyncio.sleep(0.05)


async def test_nothing_is_lost_whatever_is_cut() -> None:
    async with Broker(["jobs,lock=1,max_delivery=1000"]) as broker:
        put(broker, "jobs", *(b"%d" % i for i in range(MESSAGES)))
        broker.faults.set(seed=1, swallowed=0.05, lost=0.05, cut_unconfirmed=True)
        seen: Counter[bytes] = Counter()
        async with connect(broker) as client:
            workers = [asyncio.create_task(work(client, seen)) for _ in range(3)]
            for already in range(0, MESSAGES, 20):
                await until_async(lambda already=already: broker.queue("jobs").totals["completed"] > already)
                broker.cut()
            await until_async(lambda: broker.queue("jobs").totals["completed"] == MESSAGES)
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        assert set(seen) == {b"%d" % i for i in range(MESSAGES)}
        assert broker.queue("jobs").depths.total == 0
