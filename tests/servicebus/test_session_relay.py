"""Whatever is lost, doubled or silent between sessions and their broker: each session's order, one result each."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.devbus.broker import Broker
from app.servicebus import connection, receiver, sending, session_intake, session_link
from app.servicebus.worker import QueueWorker
from tests.fixtures.engines import Gate, MeanColourEngine
from tests.fixtures.queue import picture, put, working
from tests.fixtures.service import colour_model, running
from tests.fixtures.waiting import until_async
from tests.servicebus.relay import DISPOSITION, FLOW, TRANSFER, Passing, Relay

ROBOTS, COUNT = "abcdef", 5


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not answered is given up soon."""
    monkeypatch.setattr(receiver, "CONFIRM_SECONDS", 1.0)
    monkeypatch.setattr(session_link, "CONFIRM_SECONDS", 1.0)
    monkeypatch.setattr(session_link, "_OPEN_SECONDS", 1.0)
    monkeypatch.setattr(session_link, "ACCEPT_SECONDS", 1.5)
    monkeypatch.setattr(connection, "ACCEPT_SECONDS", 1.5)
    monkeypatch.setattr(session_intake, "LONGEST_IDLE_SECONDS", 1.0)
    monkeypatch.setattr(sending, "SEND_SECONDS", 1.0)


@asynccontextmanager
async def relayed(gate: Gate | None = None) -> AsyncIterator[tuple[Broker, Relay, QueueWorker]]:
    """A broker with a backlog of sessions, a relay before it, and a worker that knows only the relay."""
    with running(colour_model(MeanColourEngine(gate), max_batch_size=4)) as service:
        async with Broker(["jobs,sessions,lock=5,max_delivery=10", "results,dedup=600"]) as bus:
            shots = [(robot, number) for number in range(COUNT) for robot in ROBOTS]
            await put(bus, (picture((9, 9, 9), f"{robot}{number}", session_id=robot) for robot, number in shots))
            async with Relay(bus.port) as relay:
                string = bus.connection_string.replace(f":{bus.port};", f":{relay.port};")
                async with working(
                    service, bus, servicebus_connection_string=string, queue_held=8, queue_sessions=4
                ) as worker:
                    yield bus, relay, worker
                    relay.copies = lambda _: 1


async def all_is_well(bus: Broker) -> None:
    await until_async(lambda: bus.queue("jobs").depths.total == 0, patience=60)
    ids = [json.loads(entry.body)["request_id"] for entry in bus.queue("results").peek()]
    assert {robot: [name for name in ids if name[0] == robot] for robot in ROBOTS} == {
        robot: [f"{robot}{number}" for number in range(COUNT)] for robot in ROBOTS
    }
    assert bus.queue("jobs").depths.dead_lettered == 0


@pytest.mark.parametrize("copies", [0, 2], ids=["lost", "doubled"])
@pytest.mark.parametrize("to_broker", [True, False], ids=["to-broker", "to-worker"])
@pytest.mark.parametrize("performative", [DISPOSITION, TRANSFER, FLOW], ids=["disposition", "transfer", "flow"])
async def test_frames_that_are_lost_or_doubled(performative: int, to_broker: bool, copies: int) -> None:
    async with relayed() as (bus, relay, _):

        def decide(passing: Passing) -> int:
            chosen = passing.performative == performative and passing.to_broker is to_broker and passing.number >= 16
            return copies if chosen and relay.chance.random() < 0.1 else 1

        relay.copies = decide
        await all_is_well(bus)


@pytest.mark.parametrize("way", ["reset", "end", "stall"])
async def test_connections_that_end_or_fall_silent_while_sessions_are_held(way: str) -> None:
    gate = Gate()
    async with relayed(gate) as (bus, relay, worker):
        await until_async(lambda: worker.held == 4 and gate.entered)
        if way == "stall":
            assert relay.stall()
        else:
            relay.end(reset=way == "reset")
        await until_async(lambda: not worker.status.connected)
        await until_async(lambda: worker.status.connected)
        gate.open()
        await all_is_well(bus)
