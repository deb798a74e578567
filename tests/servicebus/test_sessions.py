"""Sessions as input: order in each, batches across them, and nothing lost however they end."""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from azure.servicebus import ServiceBusMessage

from app.devbus.broker import Broker
from app.devbus.limits import BrokerLimits
from app.engines.base import Array
from app.errors import StartupError
from app.servicebus import breaker, connection, outboxes, session_intake
from app.servicebus.front import QueueFront
from app.servicebus.queue_status import LinkState
from app.servicebus.session_link import SessionLink
from app.settings import Settings
from tests.fixtures.engines import Gate, MeanColourEngine, shows
from tests.fixtures.pictures import Colour
from tests.fixtures.queue import picture, put, results, working
from tests.fixtures.service import colour_model, running
from tests.fixtures.waiting import until_async

RED: Colour = (255, 0, 0)
GREEN: Colour = (0, 255, 0)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker is asked again soon, so that many an answer of its is that there is no session."""
    monkeypatch.setattr(connection, "ACCEPT_SECONDS", 1.0)
    monkeypatch.setattr(session_intake, "IDLE_SECONDS", 0.2)


def broker(jobs: str = "lock=60") -> Broker:
    limits = BrokerLimits(max_message_size=8 << 20)
    return Broker([f"jobs,sessions,{jobs}", "results,dedup=600"], limits=limits)


def shots(robots: Iterable[str], count: int, colour: Colour = RED) -> list[ServiceBusMessage]:
    """`count` pictures of each robot, the robots in turn."""
    return [picture(colour, f"{robot}-{number}", session_id=robot) for number in range(count) for robot in list(robots)]


def order(bus: Broker) -> dict[str, list[int]]:
    """The numbers of each robot's results, in the order in which they were stored."""
    found: dict[str, list[int]] = {}
    for entry in bus.queue("results").peek():
        robot, _, number = json.loads(entry.body)["request_id"].rpartition("-")
        found.setdefault(robot, []).append(int(number))
    return found


async def emptied(bus: Broker) -> None:
    await until_async(lambda: bus.queue("jobs").depths.total == bus.queue("jobs").depths.dead_lettered)


async def test_each_sessions_results_come_in_its_order_and_batches_are_filled_across_sessions() -> None:
    gate = Gate()
    engine = MeanColourEngine(gate)
    with running(colour_model(engine, max_batch_size=8)) as service:
        async with broker() as bus, working(service, bus, queue_sessions=6) as worker:
            await put(bus, shots("abcdef", 5))
            await until_async(lambda: worker.begun == 6)
            gate.open()
            await results(bus, 30)
            await emptied(bus)
            assert order(bus) == {robot: list(range(5)) for robot in "abcdef"}
            assert max(engine.batches) >= 4
            assert bus.queue("jobs").totals["completed"] == 30


async def test_one_message_of_a_session_is_held_and_no_more_than_there_is_room_for() -> None:
    gate = Gate()
    with running(colour_model(MeanColourEngine(gate))) as service:
        async with broker() as bus, working(service, bus, queue_sessions=3, queue_held=3) as worker:
            await put(bus, shots("abcde", 3))
            await until_async(lambda: worker.held == 3)
            await asyncio.sleep(0.5)
            assert (worker.held, worker.promised, bus.queue("jobs").depths.locked) == (3, 0, 3)
            gate.open()
            await results(bus, 15)


async def test_idle_sessions_give_their_places_to_others() -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus, working(service, bus, queue_sessions=2):
            await put(bus, shots([f"robot{number}" for number in range(9)], 1))
            assert len(await results(bus, 9)) == 9


async def test_a_session_that_never_ends_gives_its_place_to_others_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_intake, "TURN_SECONDS", 0.3)

    def slowly(_: Array) -> None:
        time.sleep(0.05)

    with running(colour_model(MeanColourEngine(slowly))) as service:
        async with broker() as bus:
            await put(bus, shots(["endless"], 40))
            await put(bus, shots(["patient"], 1))
            async with working(service, bus, queue_sessions=1):
                await until_async(lambda: "patient" in order(bus))
                assert len(order(bus)["endless"]) < 40
                await results(bus, 41)
                assert order(bus)["endless"] == list(range(40))


async def test_no_session_is_no_error_and_no_hot_loop(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[SessionLink] = []
    opening = SessionLink.open

    async def counted(link: SessionLink) -> None:
        asked.append(link)
        await opening(link)

    monkeypatch.setattr(SessionLink, "open", counted)
    monkeypatch.setattr(connection, "ACCEPT_SECONDS", 1.5)  # longer than what the hasty loop calls a nap
    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus, working(service, bus, queue_sessions=2) as worker:
            await until_async(lambda: len(asked) >= 2)
            began = time.monotonic()
            await until_async(lambda: len(asked) >= 3)
            assert time.monotonic() - began > 1
            assert worker.status.state is LinkState.CONNECTED
            assert bus.connections == 2  # one for all sessions, one for all results
            await put(bus, shots("a", 1))
            await results(bus, 1)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_message_that_fails_is_tried_again_before_those_behind_it() -> None:
    failures = iter([True, True])

    def fail_twice(batch: Array) -> None:
        if shows(GREEN)(batch) and next(failures, False):
            raise RuntimeError("a hiccup")

    with running(colour_model(MeanColourEngine(fail_twice))) as service:
        async with broker() as bus, working(service, bus, queue_sessions=2):
            await put(bus, [picture(GREEN, "a-0", session_id="a"), *shots("a", 4)[1:]])
            await results(bus, 4)
            assert order(bus) == {"a": [0, 1, 2, 3]}


async def test_poison_is_dead_lettered_and_the_session_goes_on() -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus, working(service, bus, queue_sessions=2):
            messages = shots("a", 3)
            messages[1].application_properties = {"model": "nobody"}
            await put(bus, messages)
            await results(bus, 2)
            await emptied(bus)
            assert order(bus) == {"a": [0, 2]}
            assert bus.queue("jobs").depths.dead_lettered == 1


@pytest.mark.parametrize("cut", [Broker.cut, lambda bus: bus.detach("jobs")])
async def test_links_that_are_lost_cost_nothing_and_keep_the_order(cut: Callable[[Broker], object]) -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker("lock=60,max_delivery=50") as bus, working(service, bus, queue_sessions=4) as worker:
            await put(bus, shots("abcdef", 10))
            for share in (1, 2, 3):
                await until_async(lambda share=share: bus.queue("results").depths.total >= 15 * share)
                cut(bus)
            await results(bus, 60)
            await emptied(bus)
            assert order(bus) == {robot: list(range(10)) for robot in "abcdef"}
            await until_async(lambda: worker.status.connected)
            assert bus.queue("jobs").depths.dead_lettered == 0


async def test_a_broker_that_is_away_is_told_within_a_second() -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus, working(service, bus, queue_sessions=3) as worker:
            await until_async(lambda: worker.status.connected)
            began = time.monotonic()
            await bus.refuse()
            await until_async(lambda: worker.status.state is LinkState.DISCONNECTED)
            assert time.monotonic() - began < 1
            await bus.reopen()
            await put(bus, shots("ab", 2))
            await results(bus, 4)
            assert worker.status.connected


async def test_sessions_are_kept_for_as_long_as_it_takes() -> None:
    gate = Gate()
    with running(colour_model(MeanColourEngine(gate))) as service:
        async with broker("lock=1") as bus, working(service, bus, queue_sessions=2):
            await put(bus, shots("a", 2))
            await until_async(lambda: gate.entered)
            entry, _ = bus.queue("jobs").peek()
            first = entry.locked_until
            await until_async(lambda: entry.locked_until >= first + 1)  # more than one renewal
            gate.open()
            await results(bus, 2)
            assert (entry.delivery_count, order(bus)) == (0, {"a": [0, 1]})


async def test_a_lock_that_is_lost_ends_the_session_and_the_next_holder_begins_where_it_ended() -> None:
    gate = Gate()
    engine = MeanColourEngine(gate)
    with running(colour_model(engine)) as service:
        async with broker("lock=1.5") as bus, working(service, bus, queue_sessions=1) as worker:
            await put(bus, shots("a", 3))
            await until_async(lambda: worker.held)
            bus.faults.set(unanswered=1.0)  # a renewal that is never answered
            await until_async(lambda: worker.held == 0)
            bus.faults.set(unanswered=0.0)
            gate.open()
            await results(bus, 3)
            await emptied(bus)
            assert order(bus) == {"a": [0, 1, 2]}
            assert worker.status.connected


async def test_a_lock_that_the_broker_takes_away_is_noticed_while_computing() -> None:
    gate = Gate()
    with running(colour_model(MeanColourEngine(gate))) as service:
        async with broker() as bus, working(service, bus, queue_sessions=1) as worker:
            await put(bus, shots("a", 2))
            await until_async(lambda: worker.held)
            bus.detach("jobs", "com.microsoft:session-lock-lost", "The session's lock has expired.")
            await until_async(lambda: worker.held == 0)
            assert worker.status.connected
            gate.open()
            await results(bus, 2)
            assert order(bus) == {"a": [0, 1]}


@pytest.mark.parametrize("ahead", [-40.0, 40.0])
async def test_sessions_are_held_whatever_the_clock_says(ahead: float) -> None:
    """`ahead` is how far the broker's clock is before this machine's, in seconds; the lock is shorter than that."""
    limits = BrokerLimits(max_message_size=8 << 20)
    queues = ["jobs,sessions,lock=30", "results"]
    with running(colour_model(MeanColourEngine())) as service:
        bus = Broker(queues, limits=limits, clock=lambda: time.time() + ahead)
        async with bus, working(service, bus, queue_sessions=2):
            await put(bus, shots("ab", 3))
            await results(bus, 6)
            await emptied(bus)
            assert order(bus) == {"a": [0, 1, 2], "b": [0, 1, 2]}


async def test_stopping_finishes_what_is_begun_and_uses_up_no_delivery() -> None:
    gate = Gate()
    with running(colour_model(MeanColourEngine(gate), max_batch_size=1)) as service:
        async with broker() as bus:
            async with working(service, bus, queue_sessions=4) as worker:
                await put(bus, shots("abcdef", 3))
                await until_async(lambda: worker.held == 4 and gate.entered)
                stopping = asyncio.create_task(worker.stop(20))
                await until_async(lambda: worker.held < 4)
                gate.open()
                await stopping
                assert (worker.held, bus.queue("jobs").depths.locked) == (0, 0)
            done = bus.queue("jobs").totals["completed"]
            assert 0 < done < 4
            entries = bus.queue("jobs").peek()
            assert len(entries) == 18 - done
            assert all(entry.delivery_count == 0 for entry in entries)
            async with working(service, bus, queue_sessions=4):
                await results(bus, 18)
                assert order(bus) == {robot: [0, 1, 2] for robot in "abcdef"}


async def test_an_operators_fault_uses_up_no_delivery_and_receiving_goes_on_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(breaker, "_LONGEST_PAUSE", 0.5)
    monkeypatch.setattr(outboxes, "REFUSED_SECONDS", 0.2)
    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus:
            bus.forbid("results")
            async with working(service, bus, queue_sessions=4) as worker:
                await put(bus, shots("abcdef", 2))
                await until_async(lambda: worker.status.halted and bus.queue("jobs").depths.locked <= 4)
                bus.forbid("results", False)
                await results(bus, 12)
                assert order(bus) == {robot: [0, 1] for robot in "abcdef"}
                assert not worker.status.halted
                assert bus.queue("jobs").depths.dead_lettered == 0


@pytest.mark.parametrize(
    ("queue", "settings", "words"),
    [
        ("jobs,sessions", {}, "ROO_QUEUE_SESSIONS"),
        ("jobs", {"queue_sessions": 2}, "has no sessions. Unset ROO_QUEUE_SESSIONS"),
    ],
)
async def test_a_queue_of_the_other_kind_is_refused_by_the_name_of_the_setting(
    queue: str, settings: dict[str, Any], words: str
) -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with Broker([queue]) as bus:
            known = {"queue": "jobs", "servicebus_connection_string": bus.connection_string}
            worker = QueueFront(service, Settings(**(known | settings)))
            with pytest.raises(StartupError, match=words):
                await worker.run()
            await worker.close()
