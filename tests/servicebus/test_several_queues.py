"""Several queues in one worker: the urgent one first, each with its model and share, one credit over all."""

import asyncio
import time
from typing import Any

import pytest

from app.core.service import InferenceService
from app.devbus.broker import Broker
from app.devbus.limits import BrokerLimits
from app.engines.base import Array
from app.errors import StartupError
from app.servicebus.breaker import Breaker
from app.servicebus.credit import Credit
from app.servicebus.front import QueueFront
from app.servicebus.worker import QueueWorker
from app.settings import Settings
from tests.fixtures.engines import Gate, MeanColourEngine
from tests.fixtures.pictures import Colour
from tests.fixtures.queue import picture, put, receiving, results
from tests.fixtures.service import colour_model, running, running_core
from tests.fixtures.waiting import until_async

RED: Colour = (255, 0, 0)
BOTH: dict[str, Any] = {"queue": "urgent,bulk"}


def broker(bulk: str = "bulk,lock=60") -> Broker:
    limits = BrokerLimits(max_message_size=8 << 20)
    return Broker(["urgent,lock=60", bulk, "results,dedup=600"], limits=limits)


def taken(*workers: QueueWorker) -> int:
    """All that is held and promised."""
    return sum(worker.held + worker.promised for worker in workers)


async def order(bus: Broker, count: int) -> list[str]:
    """Whose results they are, in the order in which they were stored: the first letter of each id."""
    await until_async(lambda: bus.queue("results").depths.total >= count)
    return [str(entry.message.correlation_id)[0] for entry in bus.queue("results").peek()]


async def test_the_urgent_queue_goes_first_and_the_other_keeps_its_share() -> None:
    gate = Gate()

    def slowly(batch: Array) -> None:
        gate(batch)
        time.sleep(0.01)

    with running_core(colour_model(MeanColourEngine(slowly), max_batch_size=1)) as core:
        async with broker() as bus, receiving(core.service, bus, **BOTH, queue_held=16) as (urgent, bulk):
            await put(bus, (picture(RED, f"b{number}") for number in range(40)), "bulk")
            await until_async(lambda: bulk.held == 15)
            await put(bus, (picture(RED, f"u{number}") for number in range(60)), "urgent")
            await until_async(lambda: urgent.held == 1)
            assert taken(urgent, bulk) == 16
            gate.open()
            found = await order(bus, 100)
            assert found[:60].count("u") >= 40
            assert found[:60].count("b") >= 4
            assert sorted(found) == ["b"] * 40 + ["u"] * 60


async def test_never_more_is_held_and_promised_than_may_be() -> None:
    most = 0

    async def watch(*workers: QueueWorker) -> None:
        nonlocal most
        while True:
            most = max(most, taken(*workers))
            await asyncio.sleep(0)

    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus, receiving(service, bus, **BOTH, queue_held=9) as workers:
            watching = asyncio.create_task(watch(*workers))
            for name in ("urgent", "bulk"):
                await put(bus, (picture(RED, f"{name}{number}") for number in range(60)), name)
            await results(bus, 120)
            watching.cancel()
    assert 4 < most <= 9


async def test_an_empty_urgent_queue_keeps_little_from_the_other() -> None:
    gate = Gate()
    with running(colour_model(MeanColourEngine(gate))) as service:
        async with broker() as bus, receiving(service, bus, **BOTH, queue_held=32) as (urgent, bulk):
            await put(bus, (picture(RED, f"b{number}") for number in range(60)), "bulk")
            await until_async(lambda: bulk.held == 31)  # how long the other's locks last is not known yet
            assert (urgent.held, urgent.promised) == (0, 1)
            await put(bus, [picture(RED, "u")], "urgent")
            gate.open()
            await results(bus, 61)
            await until_async(lambda: (urgent.promised, bulk.promised) == (4, 4))


async def test_each_queue_has_its_default_model_and_a_message_may_name_another() -> None:
    models = (colour_model(MeanColourEngine(), name="first"), colour_model(MeanColourEngine(), name="second"))
    with running(*models) as service:
        settings = {**BOTH, "queue_model": "urgent=first,bulk=second"}
        async with broker() as bus, receiving(service, bus, **settings):
            await put(bus, [picture(RED, "u")], "urgent")
            other = picture(RED, "b2", application_properties={"model": "first"})
            await put(bus, [picture(RED, "b1"), other], "bulk")
            found = await results(bus, 3)
            assert {name: body["model"] for name, body in found.items()} == {
                "u": "first",
                "b1": "second",
                "b2": "first",
            }


async def test_a_model_that_is_not_served_is_refused_at_the_start() -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus:
            settings = Settings(**BOTH, queue_model="bulk=nobody", servicebus_connection_string=bus.connection_string)
            with pytest.raises(StartupError, match=r"ROO_QUEUE_MODEL of bulk: .*nobody"):
                QueueFront(service, settings)


async def test_a_queue_with_sessions_beside_one_without() -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with (
            broker("bulk,sessions,lock=60") as bus,
            receiving(service, bus, **BOTH, queue_sessions="bulk=4", queue_held=16) as workers,
        ):
            await put(bus, (picture(RED, f"u{number}") for number in range(20)), "urgent")
            await put(bus, (picture(RED, f"b{number}", session_id=f"r{number % 5}") for number in range(20)), "bulk")
            assert len(await results(bus, 40)) == 40
            assert [str(worker.status) for worker in workers] == ["urgent: connected", "bulk: connected"]


async def test_results_go_to_no_queue_that_is_read() -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus, receiving(service, bus, **BOTH):
            await put(bus, [picture(RED, "loop", reply_to="bulk")], "urgent")
            await until_async(lambda: bus.queue("urgent").depths.dead_lettered == 1)


async def test_one_queue_that_is_missing_stops_no_other() -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus, receiving(service, bus, queue="urgent,nobody") as (urgent, nobody):
            await put(bus, [picture(RED, "u")], "urgent")
            await results(bus, 1)
            assert urgent.status.connected
            await until_async(lambda: "disconnected" in str(nobody.status))


class Queue:
    """A line of the credit, by its counts alone."""

    def __init__(self, held: int, promised: int) -> None:
        self.breaker = Breaker("queue")
        self.held = self.begun = held
        self.promised = promised
        self.lock_period = 60.0

    def nudge(self) -> None:
        """Nobody waits."""


def credit(service: InferenceService, *lines: tuple[Queue, float]) -> Credit:
    made = Credit(service, 32)
    for line, share in lines:
        made.join(line, share, None)
    return made


@pytest.mark.parametrize(
    ("urgent", "bulk", "expected"),
    [
        ((0, 0), (0, 0), (4, 4)),  # each is promised its window
        ((0, 4), (26, 0), (4, 2)),  # and what is left
        ((0, 4), (28, 0), (4, 0)),
        ((4, 0), (27, 0), (1, 0)),  # what comes free is the urgent queue's
        ((28, 0), (2, 0), (1, 1)),  # but for the other's own
        ((24, 4), (4, 0), (4, 0)),
    ],
)
def test_room_is_shared_by_urgency_and_nothing_is_promised_twice(
    urgent: tuple[int, int], bulk: tuple[int, int], expected: tuple[int, int]
) -> None:
    first, second = Queue(*urgent), Queue(*bulk)
    with running(colour_model(MeanColourEngine())) as service:
        shared = credit(service, (first, 0.9), (second, 0.1))
        assert (shared.of(first), shared.of(second)) == expected
