"""Whatever is lost, doubled, late or silent between the worker and its broker: one result each, no dead letters."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.devbus.broker import Broker
from app.servicebus import connection, intake, locks, receiver, sending
from app.servicebus.queue_status import LinkState
from app.servicebus.worker import QueueWorker
from tests.fixtures.engines import Gate, MeanColourEngine
from tests.fixtures.pictures import Colour
from tests.fixtures.queue import colour_in, picture, put, results, working
from tests.fixtures.service import colour_model, running
from tests.fixtures.waiting import until_async
from tests.servicebus.relay import DISPOSITION, FLOW, TRANSFER, Copies, Passing, Relay

COUNT = 40


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not answered is given up soon."""
    monkeypatch.setattr(receiver, "CONFIRM_SECONDS", 1.0)
    monkeypatch.setattr(locks, "CONFIRM_SECONDS", 1.0)
    monkeypatch.setattr(connection, "_OPEN_SECONDS", 2.0)
    monkeypatch.setattr(intake, "IDLE_LINK_SECONDS", 2.0)
    monkeypatch.setattr(sending, "SEND_SECONDS", 1.0)
    monkeypatch.setattr(intake, "REFRESH_SECONDS", 1.0)


def colours(count: int = COUNT) -> dict[str, Colour]:
    return {f"message-{number}": (number * 6 % 256, number * 11 % 256, 77) for number in range(count)}


@asynccontextmanager
async def relayed(
    lock: float = 30, gate: Gate | None = None, copies: Copies | None = None
) -> AsyncIterator[tuple[Broker, Relay, QueueWorker]]:
    """A broker with a backlog, a relay before it, and a worker that knows only the relay."""
    with running(colour_model(MeanColourEngine(gate), max_batch_size=4)) as service:
        async with Broker([f"jobs,lock={lock},max_delivery=10", "results,dedup=600"]) as bus:
            await put(bus, (picture(colour, name) for name, colour in colours().items()))
            async with Relay(bus.port) as relay:
                relay.copies = copies or _once
                string = bus.connection_string.replace(f":{bus.port};", f":{relay.port};")
                async with working(service, bus, servicebus_connection_string=string, queue_held=8) as worker:
                    yield bus, relay, worker
                    relay.copies = _once


def _once(_: Passing) -> int:
    return 1


async def all_is_well(bus: Broker) -> None:
    await until_async(lambda: bus.queue("results").depths.total >= COUNT, patience=60)
    found = await results(bus, COUNT)
    await until_async(lambda: bus.queue("jobs").depths.total == 0, patience=40)
    assert {name: colour_in(body) for name, body in found.items()} == colours()
    assert bus.queue("results").depths.total == COUNT
    assert bus.queue("jobs").depths.dead_lettered == 0


def some(relay: Relay, performative: int, copies: int, *, to_broker: bool, share: float = 0.2) -> Copies:
    """Some frames of a kind are lost or doubled; those that open the links are not."""

    def decide(passing: Passing) -> int:
        if passing.performative != performative or passing.to_broker is not to_broker or passing.number < 16:
            return 1
        return copies if relay.chance.random() < share else 1

    return decide


@pytest.mark.parametrize("copies", [0, 2], ids=["lost", "doubled"])
@pytest.mark.parametrize("to_broker", [True, False], ids=["to-broker", "to-worker"])
@pytest.mark.parametrize("performative", [DISPOSITION, TRANSFER, FLOW], ids=["disposition", "transfer", "flow"])
async def test_frames_that_are_lost_or_doubled(performative: int, to_broker: bool, copies: int) -> None:
    async with relayed(lock=5) as (bus, relay, _):
        relay.copies = some(relay, performative, copies, to_broker=to_broker)
        await all_is_well(bus)


async def test_frames_that_are_late() -> None:
    async with relayed() as (bus, relay, _):
        relay.delay = 0.02
        await all_is_well(bus)


@pytest.mark.parametrize("way", ["reset", "end", "stall"])
async def test_connections_that_end_or_fall_silent_while_the_worker_is_full(way: str) -> None:
    gate = Gate()
    async with relayed(lock=20, gate=gate) as (bus, relay, worker):
        await until_async(lambda: worker.held == 8 and gate.entered)
        if way == "stall":
            assert relay.stall()
        else:
            relay.end(reset=way == "reset")
        await until_async(lambda: not worker.status.connected)
        await until_async(lambda: worker.status.connected)
        assert worker.held == 8
        gate.open()
        await all_is_well(bus)
        assert sum(entry.delivery_count for entry in bus.queue("jobs").peek()) == 0


async def test_again_and_again() -> None:
    async with relayed(lock=5) as (bus, relay, _):
        for share in range(1, 5):
            await until_async(lambda share=share: bus.queue("results").depths.total >= 8 * share, patience=60)
            relay.end(reset=bool(share % 2))
        await all_is_well(bus)


async def test_what_is_on_its_way_when_it_is_told_to_stop_uses_up_no_delivery() -> None:
    with running(colour_model(MeanColourEngine(), max_batch_size=4)) as service:
        async with Broker(["jobs,lock=30,max_delivery=10", "results,dedup=600"]) as bus, Relay(bus.port) as relay:
            string = bus.connection_string.replace(f":{bus.port};", f":{relay.port};")
            async with working(service, bus, servicebus_connection_string=string):
                await put(bus, [picture((9, 9, 9), "first")])
                await results(bus, 1)
                relay.delay = 0.5
                await put(bus, (picture(colour, name) for name, colour in colours().items()))
                await until_async(lambda: bus.queue("jobs").depths.locked > 0)
            depths = bus.queue("jobs").depths
            assert depths.locked == 0
            assert depths.active > 0
            assert all(entry.delivery_count == 0 for entry in bus.queue("jobs").peek())


@pytest.mark.parametrize("after", [0, 2, 6, 10], ids=lambda after: f"frame-{after}")
async def test_a_broker_that_falls_silent_while_a_link_is_opened_is_given_up_and_tried_again(after: int) -> None:
    async with relayed(copies=lambda passing: int(passing.number < after)) as (bus, relay, worker):
        await until_async(lambda: worker.status.state is LinkState.DISCONNECTED)
        relay.copies = _once
        await all_is_well(bus)


@pytest.mark.parametrize("frames", [4, 5, 6])
async def test_closing_while_a_link_is_opened_takes_no_connection_from_under_it(
    frames: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The SDK calls that unexpected, and logs where in its code it was."""
    async with relayed(copies=lambda passing: int(passing.number < frames)) as (_, relay, _):
        await until_async(lambda: relay.lost)
        relay.end(reset=True)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
