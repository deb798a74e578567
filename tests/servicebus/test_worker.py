"""The worker, between a broker that the real SDK talks to and a real core: every message has one end."""

import asyncio
import time

import pytest

from app.core.admission import Budget
from app.devbus.broker import Broker
from app.devbus.limits import BrokerLimits
from app.engines.base import Array
from app.errors import StartupError
from app.servicebus.front import QueueFront
from app.servicebus.queue_status import LinkState
from app.servicebus.receiver import Received, Receiver
from app.settings import Settings
from tests.fixtures.engines import Gate, MeanColourEngine, shows
from tests.fixtures.pictures import Colour
from tests.fixtures.queue import colour_in, picture, put, results, working
from tests.fixtures.service import ask, colour_model, infer, running, running_core
from tests.fixtures.waiting import until_async

RED: Colour = (255, 0, 0)
GREEN: Colour = (0, 255, 0)


def broker(jobs: str = "lock=60", **limits: int) -> Broker:
    return Broker([f"jobs,{jobs}", "results,dedup=600"], limits=BrokerLimits(max_message_size=8 << 20, **limits))


def colours(count: int) -> dict[str, Colour]:
    return {f"message-{number}": (number * 5 % 256, number * 11 % 256, 77) for number in range(count)}


async def settled(bus: Broker) -> None:
    """Wait until the queue holds nothing but dead letters."""
    await until_async(lambda: bus.queue("jobs").depths.total == bus.queue("jobs").depths.dead_lettered)


async def test_every_message_gets_its_own_result_and_is_completed() -> None:
    sent = colours(40)
    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus, working(service, bus):
            await put(bus, (picture(colour, name) for name, colour in sent.items()))
            found = await results(bus, len(sent))
            await settled(bus)
            assert {name: colour_in(body) for name, body in found.items()} == sent
            assert bus.queue("jobs").totals["completed"] == len(sent)


async def test_poison_goes_to_the_dead_letters_with_its_reason_and_its_neighbours_are_answered() -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus, working(service, bus):
            bad = picture(RED, "bad")
            bad.application_properties = {"model": "nobody"}
            await put(bus, [picture(RED, "before"), bad, picture(GREEN, "after")])
            found = await results(bus, 2)
            await settled(bus)
            assert set(found) == {"before", "after"}
            assert bus.queue("jobs").dead_letters is not None
            (dead,) = bus.queue("jobs").dead_letters.peek()
            assert (dead.message_id, dead.reason) == ("bad", "ModelNotFound")
            assert "nobody" in (dead.description or "")


async def test_a_failing_model_gives_the_message_back_and_it_is_answered_when_it_comes_again() -> None:
    failures = iter([True])

    def fail_once(_: Array) -> None:
        if next(failures, False):
            raise RuntimeError("a hiccup")

    with running(colour_model(MeanColourEngine(fail_once))) as service:
        async with broker() as bus, working(service, bus):
            await put(bus, [picture(RED, "unlucky")])
            assert colour_in((await results(bus, 1))["unlucky"]) == RED
            await settled(bus)
            assert bus.queue("jobs").totals["completed"] == 1


async def test_a_message_that_fails_at_every_delivery_ends_among_the_dead_letters() -> None:
    def fail(batch: Array) -> None:
        if shows(RED)(batch):
            raise RuntimeError("this colour is too much")

    with running(colour_model(MeanColourEngine(fail))) as service:
        async with broker("lock=60,max_delivery=2") as bus, working(service, bus):
            await put(bus, [picture(RED, "cursed"), picture(GREEN, "fine")])
            assert set(await results(bus, 1)) == {"fine"}
            await settled(bus)
            assert bus.queue("jobs").depths.dead_lettered == 1


async def test_locks_are_kept_for_as_long_as_it_takes() -> None:
    gate = Gate()
    with running(colour_model(MeanColourEngine(gate))) as service:
        async with broker("lock=2") as bus, working(service, bus):
            await put(bus, [picture(RED, "slow")])
            await until_async(lambda: gate.entered)
            (entry,) = bus.queue("jobs").peek()
            first = entry.locked_until
            await until_async(lambda: entry.locked_until >= first + 2)  # more than one renewal
            gate.open()
            await results(bus, 1)
            await settled(bus)
            assert entry.delivery_count == 0


async def test_a_message_whose_lock_is_lost_is_dropped_before_it_is_computed() -> None:
    gate = Gate()
    engine = MeanColourEngine(gate)
    with running_core(colour_model(engine, max_batch_size=1)) as core:
        async with broker("lock=1.5") as bus, working(core.service, bus) as worker:
            await put(bus, [picture(RED, "computing"), picture(GREEN, "waiting")])
            await until_async(lambda: gate.entered == 1 and core.batcher.waiting() == 1)
            await bus.refuse()
            await until_async(lambda: worker.held == 0)  # neither lock could be kept
            assert core.batcher.waiting() == 0
            gate.open()
            await bus.reopen()
            assert set(await results(bus, 2)) == {"computing", "waiting"}
            await settled(bus)
            assert sum(engine.batches) == 3  # the one that was being computed, and each once more


async def test_the_worker_outlives_a_broker_that_is_down_when_it_starts() -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus:
            await bus.refuse()
            async with working(service, bus) as worker:
                await until_async(lambda: worker.status.state is LinkState.DISCONNECTED)
                assert "disconnected" in str(worker.status)
                await bus.reopen()
                await put(bus, [picture(RED, "patient")])
                await results(bus, 1)
                assert worker.status.state is LinkState.CONNECTED


async def test_cut_connections_lose_and_double_nothing() -> None:
    sent = colours(60)
    with running(colour_model(MeanColourEngine())) as service:
        async with broker("lock=3,max_delivery=50") as bus, working(service, bus):
            await put(bus, (picture(colour, name) for name, colour in sent.items()))
            for share in (1, 2, 3):
                await until_async(lambda share=share: bus.queue("results").depths.total >= share * 15)
                bus.cut()
            found = await results(bus, len(sent))
            await settled(bus)
            assert {name: colour_in(body) for name, body in found.items()} == sent
            assert bus.queue("results").depths.total == len(sent)
            assert bus.queue("jobs").depths.dead_lettered == 0


async def test_detached_links_are_opened_again() -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus, working(service, bus):
            await put(bus, [picture(RED, "one")])
            await results(bus, 1)
            bus.detach("jobs")
            bus.detach("results")
            await put(bus, [picture(GREEN, "two")])
            assert set(await results(bus, 2)) == {"one", "two"}


async def test_a_settlement_whose_confirmation_is_lost_doubles_no_result() -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker("lock=5") as bus, working(service, bus):
            bus.faults.set(swallowed=1.0, cut_unconfirmed=True)
            await put(bus, [picture(RED, "unsure")])
            await results(bus, 1)
            await settled(bus)
            bus.faults.set(swallowed=0.0)
            await put(bus, [picture(GREEN, "sure")])
            assert set(await results(bus, 2)) == {"unsure", "sure"}


async def test_throttling_is_waited_out() -> None:
    sent = colours(10)
    with running(colour_model(MeanColourEngine())) as service:
        async with broker("lock=60,max_delivery=50") as bus:
            await put(bus, (picture(colour, name) for name, colour in sent.items()))
            bus.faults.set(throttled=0.5, seed=3)
            async with working(service, bus):
                assert set(await results(bus, len(sent))) == set(sent)
                await settled(bus)


async def test_stopping_finishes_what_is_computed_and_gives_the_rest_back_at_once() -> None:
    gate = Gate()
    with running_core(colour_model(MeanColourEngine(gate), max_batch_size=1)) as core:
        async with broker() as bus:
            async with working(core.service, bus) as worker:
                await put(bus, (picture(colour, name) for name, colour in colours(6).items()))
                await until_async(lambda: gate.entered == 1 and core.batcher.waiting() == 5)
                stopping = asyncio.create_task(worker.stop(20))
                await until_async(lambda: bus.queue("jobs").depths.active == 5)
                gate.open()
                await stopping
            assert bus.queue("jobs").totals["completed"] == 1
            assert bus.queue("jobs").depths.active == 5
            assert bus.queue("results").depths.total == 1


async def test_what_cannot_be_finished_in_the_time_to_stop_is_given_back() -> None:
    gate = Gate()
    with running(colour_model(MeanColourEngine(gate))) as service:
        async with broker() as bus:
            async with working(service, bus) as worker:
                await put(bus, [picture(RED, "endless")])
                await until_async(lambda: gate.entered)
                await worker.stop(1.1)
                await until_async(lambda: bus.queue("jobs").depths.active == 1)
            gate.open()


async def test_where_people_have_all_places_nothing_is_taken_and_no_delivery_used_up() -> None:
    gate = Gate()
    with running(colour_model(MeanColourEngine(gate)), budget=Budget(1, 2**30, 10**10)) as service:
        async with broker() as bus, working(service, bus) as worker:
            await until_async(lambda: worker.status.credit == 1)
            person = asyncio.create_task(infer(service, ask(GREEN)))
            await until_async(lambda: gate.entered == 1 and worker.status.credit == 0)
            await put(bus, [picture(RED, "modest")])
            (entry,) = bus.queue("jobs").peek()
            gate.open()
            await person
            assert set(await results(bus, 1)) == {"modest"}
            await settled(bus)
            assert entry.delivery_count == 0


async def test_with_a_lost_device_nothing_is_taken() -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus, working(service, bus) as worker:
            await put(bus, [picture(RED, "before")])
            await results(bus, 1)
            await until_async(lambda: worker.status.credit > 1)
            service.capacity.lose_device("the GPU has fallen off the bus")
            await until_async(lambda: worker.status.credit == 0)
            await put(bus, (picture(colour, name) for name, colour in colours(5).items()))
            await until_async(lambda: worker.held == 0)
            assert bus.queue("jobs").depths.active == 5
            assert all(entry.delivery_count == 0 for entry in bus.queue("jobs").peek())


async def test_no_more_is_held_than_was_asked_for_and_people_come_first() -> None:
    gate = Gate()
    with running_core(colour_model(MeanColourEngine(gate), max_batch_size=1)) as core:
        async with broker() as bus, working(core.service, bus, queue_held=8) as worker:
            await put(bus, (picture(colour, name) for name, colour in colours(30).items()))
            await until_async(lambda: core.batcher.waiting() == 7)
            assert (worker.held, bus.queue("jobs").depths.locked, bus.queue("jobs").depths.active) == (8, 8, 22)
            person = asyncio.create_task(core.infer(ask(GREEN)))
            await until_async(lambda: core.batcher.waiting() == 8)
            gate.open()
            await person
            assert bus.queue("results").depths.total < 30
            await results(bus, 30)


async def test_a_slow_model_is_given_only_what_it_can_finish_inside_the_locks() -> None:
    gate = Gate()
    model = colour_model(MeanColourEngine(gate), max_batch_size=1)
    with running_core(model) as core:
        core.capacity.learn(model, 3.0)
        async with broker("lock=12") as bus, working(core.service, bus, queue_held=4) as worker:
            await put(bus, (picture(colour, name) for name, colour in colours(10).items()))
            await until_async(lambda: core.batcher.waiting() == 1)
            assert worker.held == 2  # half of twelve seconds, at three each
            gate.open()
            await results(bus, 10)


async def test_too_late_is_dead_lettered_and_never_computed() -> None:
    engine = MeanColourEngine()
    with running(colour_model(engine)) as service:
        async with broker() as bus:
            await put(bus, [picture(RED, "late", application_properties={"deadline_ms": 1})])
            async with working(service, bus):
                await settled(bus)
                assert bus.queue("jobs").dead_letters is not None
                (dead,) = bus.queue("jobs").dead_letters.peek()
                assert (dead.message_id, dead.reason) == ("late", "DeadlineExceeded")
                assert not engine.batches


async def test_a_defect_gives_the_message_back(monkeypatch: pytest.MonkeyPatch) -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker("lock=60,max_delivery=2") as bus, working(service, bus) as worker:

            async def broken(_: object) -> None:
                raise ZeroDivisionError("a defect")

            monkeypatch.setattr(worker._answering, "answer", broken)
            await put(bus, [picture(RED, "innocent")])
            await settled(bus)
            assert bus.queue("jobs").depths.dead_lettered == 1


async def test_a_queue_that_requires_sessions_is_refused_with_a_clear_message() -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker("sessions") as bus:
            settings = {"queue": "jobs", "servicebus_connection_string": bus.connection_string}
            worker = QueueFront(service, Settings(**settings))
            with pytest.raises(StartupError, match="requires sessions"):
                await worker.run()
            await worker.close()


async def test_however_often_it_is_cut_it_is_back_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause that grew with every loss would soon be longer than the locks."""
    monkeypatch.setattr("app.servicebus.intake.LONGEST_PAUSE", 10_000.0)
    with running(colour_model(MeanColourEngine())) as service:
        async with broker("lock=60,max_delivery=50") as bus, working(service, bus):
            for number in range(12):  # doubling from half a second, the twelfth would be after a quarter of an hour
                await put(bus, [picture(RED, f"message-{number}")])
                await results(bus, number + 1)
                bus.cut()


@pytest.mark.parametrize("ahead", [40.0, -40.0])
async def test_with_a_clock_that_is_wrong_by_more_than_a_lock_messages_are_answered_once(ahead: float) -> None:
    sent = colours(12)
    engine = MeanColourEngine()
    with running(colour_model(engine)) as service:
        bus = Broker(["jobs,lock=30", "results,dedup=600"], clock=lambda: time.time() - ahead)
        async with bus, working(service, bus):
            soon = {"application_properties": {"deadline_ms": 20_000}}  # less than the clock is wrong by
            await put(bus, (picture(colour, name, **soon) for name, colour in sent.items()))
            found = await results(bus, len(sent))
            await settled(bus)
            assert {name: colour_in(body) for name, body in found.items()} == sent
            assert bus.queue("jobs").totals["completed"] == sum(engine.batches) == len(sent)


async def test_any_number_of_restarts_uses_up_no_delivery() -> None:
    gate = Gate()
    with running(colour_model(MeanColourEngine(gate), max_batch_size=1)) as service:
        async with broker("lock=60,max_delivery=2") as bus:
            await put(bus, (picture(colour, name) for name, colour in colours(12).items()))
            for _ in range(4):
                async with working(service, bus, queue_held=8) as worker:
                    await until_async(lambda worker=worker: worker.held == 8)
                    await worker.stop(1.1)
                assert bus.queue("jobs").depths.active == 12
            assert all(entry.delivery_count == 0 for entry in bus.queue("jobs").peek())
            gate.open()
            async with working(service, bus):
                await results(bus, 12)
                await settled(bus)
            assert bus.queue("jobs").depths.dead_lettered == 0


async def test_a_defect_in_the_receiver_is_told_and_it_begins_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real, broken = Receiver.read, iter([True])

    async def read(self: Receiver) -> list[Received]:
        if next(broken, False):
            raise ZeroDivisionError("a defect")
        return await real(self)

    monkeypatch.setattr(Receiver, "read", read)
    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus, working(service, bus):
            await put(bus, [picture(RED, "unlucky")])
            assert set(await results(bus, 1)) == {"unlucky"}
    assert "a defect" in caplog.text


async def test_a_missing_queue_is_not_taken_for_one_that_requires_sessions() -> None:
    with running(colour_model(MeanColourEngine())) as service:
        async with broker() as bus, working(service, bus, queue="robot-sessions") as worker:
            await until_async(lambda: worker.status.state is LinkState.DISCONNECTED)
            assert "robot-sessions" in worker.status.reason


async def test_locks_are_kept_while_stopping() -> None:
    gate = Gate()
    with running(colour_model(MeanColourEngine(gate))) as service:
        async with broker("lock=2") as bus, working(service, bus) as worker:
            await put(bus, [picture(RED, "slow")])
            await until_async(lambda: gate.entered)
            (entry,) = bus.queue("jobs").peek()
            stopping = asyncio.create_task(worker.stop(20))
            first = entry.locked_until
            await until_async(lambda: entry.locked_until >= first + 3)
            gate.open()
            await stopping
            assert (entry.delivery_count, bus.queue("jobs").totals["completed"]) == (0, 1)


async def test_a_renewal_that_is_never_answered_costs_no_lock() -> None:
    """Of the shortest locks that Service Bus grants: what is left of one when it is renewed is less than a timeout."""
    gate = Gate()
    engine = MeanColourEngine(gate)
    with running(colour_model(engine, max_batch_size=1)) as service:
        async with broker("lock=5") as bus, working(service, bus, queue_held=4):
            await put(bus, (picture(colour, name) for name, colour in colours(4).items()))
            await until_async(lambda: gate.entered and bus.queue("jobs").depths.locked == 4)
            bus.faults.set(unanswered=1.0)
            await until_async(lambda: bus.faults.happened["unanswered"])
            bus.faults.set(unanswered=0.0)
            begun = {entry.sequence_number: entry.locked_until for entry in bus.queue("jobs").peek()}
            await until_async(
                lambda: all(entry.locked_until > begun[entry.sequence_number] for entry in bus.queue("jobs").peek())
            )
            gate.open()
            await results(bus, 4)
            await settled(bus)
            assert sum(engine.batches) == bus.queue("jobs").totals["completed"] == 4
