"""A worker that is full loses its link: it notices, reconnects while it holds, and settles over the new link."""

import asyncio
import logging

import pytest

from app.devbus.broker import Broker
from app.servicebus.link_errors import LinkLost
from app.servicebus.queue_status import LinkState
from app.servicebus.receiver import Receiver
from app.servicebus.worker import QueueWorker
from tests.fixtures.engines import Gate, MeanColourEngine
from tests.fixtures.pictures import Colour
from tests.fixtures.queue import colour_in, picture, put, results, working
from tests.fixtures.service import colour_model, running
from tests.fixtures.waiting import until_async

HELD = 8
BACKLOG = 24


def broker() -> Broker:
    return Broker(["jobs,lock=30", "results,dedup=600"])


def colours(count: int) -> dict[str, Colour]:
    return {f"message-{number}": (number * 9 % 256, number * 11 % 256, 77) for number in range(count)}


async def put_backlog(bus: Broker) -> dict[str, Colour]:
    sent = colours(BACKLOG)
    await put(bus, (picture(colour, name) for name, colour in sent.items()))
    return sent


async def reconnected(worker: QueueWorker) -> None:
    await until_async(lambda: worker.status.state is LinkState.DISCONNECTED)
    await until_async(lambda: worker.status.state is LinkState.CONNECTED)


@pytest.mark.parametrize("loss", ["cut", "detach"])
async def test_a_full_worker_reconnects_while_it_holds_and_computes_nothing_twice(
    loss: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    gate = Gate()
    engine = MeanColourEngine(gate)
    with running(colour_model(engine, max_batch_size=1)) as service:
        async with (
            Broker(["jobs,lock=30", "results,dedup=600"]) as bus,
            working(service, bus, queue_held=HELD) as worker,
        ):
            sent = await put_backlog(bus)
            await until_async(lambda: worker.held == HELD and gate.entered)
            bus.cut() if loss == "cut" else bus.detach("jobs")
            await reconnected(worker)
            assert worker.held == HELD  # nothing was given up
            gate.open()
            found = await results(bus, BACKLOG)
            await until_async(lambda: bus.queue("jobs").depths.total == 0)
            assert {name: colour_in(body) for name, body in found.items()} == sent
            assert sum(engine.batches) == BACKLOG
            assert bus.queue("results").totals["duplicates"] == 0
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) < 5, [record.getMessage() for record in warnings]


async def test_whoever_looks_is_told_while_the_broker_is_away(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    with running(colour_model(MeanColourEngine(gate), max_batch_size=1)) as service:
        async with (
            Broker(["jobs,lock=30", "results,dedup=600"]) as bus,
            working(service, bus, queue_held=HELD) as worker,
        ):
            await put_backlog(bus)
            await until_async(lambda: worker.held == HELD and gate.entered)
            await bus.refuse()
            await until_async(lambda: not worker.status.connected)
            assert "disconnected" in str(worker.status)
            assert worker.status.credit == 0
            gate.open()
            await bus.reopen()
            await results(bus, BACKLOG)
            await until_async(lambda: bus.queue("jobs").depths.total == 0)


async def test_a_loss_while_stopping_is_survived_too() -> None:
    """What is computed when the link is lost during the drain is settled over another."""
    gate = Gate()
    with running(colour_model(MeanColourEngine(gate), max_batch_size=1)) as service:
        async with (
            Broker(["jobs,lock=30", "results,dedup=600"]) as bus,
            working(service, bus, queue_held=HELD) as worker,
        ):
            await put_backlog(bus)
            await until_async(lambda: worker.held == HELD and gate.entered)
            stopping = asyncio.create_task(worker.stop(20))
            await until_async(lambda: worker.held == 1)
            connections = bus.cut()
            await until_async(lambda: bus.connections == connections)
            gate.open()
            await stopping
            assert bus.queue("jobs").totals["completed"] == 1
            assert bus.queue("jobs").depths.active == BACKLOG - 1
            assert all(entry.delivery_count == 0 for entry in bus.queue("jobs").peek())


async def test_after_a_loss_stopping_finishes_what_could_be_given_back_at_the_price_of_a_delivery_only() -> None:
    """A message can be released over the link alone that it came over."""
    gate = Gate()
    with running(colour_model(MeanColourEngine(gate), max_batch_size=1)) as service:
        async with (
            Broker(["jobs,lock=30", "results,dedup=600"]) as bus,
            working(service, bus, queue_held=HELD) as worker,
        ):
            await put_backlog(bus)
            await until_async(lambda: worker.held == HELD and gate.entered)
            bus.cut()
            await reconnected(worker)
            stopping = asyncio.create_task(worker.stop(20))
            await until_async(lambda: worker.status.credit == 0)
            gate.open()
            await stopping
            assert bus.queue("jobs").totals["completed"] == HELD
            assert bus.queue("jobs").depths.active == BACKLOG - HELD
            assert all(entry.delivery_count == 0 for entry in bus.queue("jobs").peek())


async def test_after_a_loss_an_operators_fault_uses_up_no_delivery_either() -> None:
    gate = Gate()
    with running(colour_model(MeanColourEngine(gate), max_batch_size=1)) as service:
        async with (
            Broker(["jobs,lock=30", "results,dedup=600"]) as bus,
            working(service, bus, queue_held=HELD) as worker,
        ):
            sent = await put_backlog(bus)
            await until_async(lambda: worker.held == HELD and gate.entered)
            bus.cut()
            await reconnected(worker)
            bus.forbid("results")
            gate.open()
            await until_async(lambda: worker._breaker._unstored.total() >= 3 * HELD)
            assert all(entry.delivery_count == 0 for entry in bus.queue("jobs").peek())
            bus.forbid("results", False)
            assert set(await results(bus, BACKLOG)) == set(sent)
            await until_async(lambda: bus.queue("jobs").depths.total == 0)


async def test_what_has_come_by_the_time_that_granting_fails_is_answered_over_the_next_link(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Left unread, it would be locked for nobody until its lock ended, and that uses up a delivery."""
    granted = 0
    grant = Receiver.grant

    async def grant_and_be_cut(self: Receiver, count: int) -> None:
        nonlocal granted
        granted += 1
        await grant(self, count)
        if granted == 1:
            await until_async(lambda: not self._arrived.empty())
            bus.cut()
            self._lose("cut")
            raise LinkLost("cut")

    monkeypatch.setattr(Receiver, "grant", grant_and_be_cut)
    with running(colour_model(MeanColourEngine())) as service:
        async with Broker(["jobs,lock=30", "results,dedup=600"]) as bus:
            await put_backlog(bus)
            async with working(service, bus, queue_held=HELD):
                await results(bus, BACKLOG)
                await until_async(lambda: bus.queue("jobs").depths.total == 0, patience=10)
