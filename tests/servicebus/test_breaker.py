"""An operator's fault empties no queue: receiving stops, deliveries are not used up, and it goes on by itself."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage

from app.core.admission import Budget
from app.devbus.broker import Broker
from app.errors import StorageUnavailable
from app.servicebus import breaker as breaker_module
from app.servicebus import outboxes
from app.servicebus.answering import Answering
from app.servicebus.breaker import LIMIT, Breaker
from app.servicebus.delivery import Deliveries
from app.servicebus.receiver import Received
from app.servicebus.settlement import Settlement, Verb
from app.servicebus.worker import QueueWorker
from tests.fixtures.engines import Gate, MeanColourEngine
from tests.fixtures.pictures import Colour, solid
from tests.fixtures.queue import colour_in, picture, put, results, working
from tests.fixtures.service import ask, colour_model, infer, running
from tests.fixtures.waiting import until_async
from tests.servicebus.blobs import Blobs, Trouble

COUNT = 24


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes come soon after each other."""
    monkeypatch.setattr(breaker_module, "_LONGEST_PAUSE", 0.5)
    monkeypatch.setattr(outboxes, "REFUSED_SECONDS", 0.2)


def colours(count: int = COUNT) -> dict[str, Colour]:
    return {f"message-{number}": (number * 9 % 256, number * 11 % 256, 77) for number in range(count)}


def linked(message_id: str, url: str) -> ServiceBusMessage:
    """A message whose picture is a blob."""
    return ServiceBusMessage(json.dumps({"image_url": url}), content_type="application/json", message_id=message_id)


@asynccontextmanager
async def halted(bus: Broker, **settings: object) -> AsyncIterator[QueueWorker]:
    """A worker that has stopped receiving, with a backlog before it."""
    with running(colour_model(MeanColourEngine(), max_batch_size=1)) as service:
        async with working(service, bus, **settings) as worker:
            await put(bus, (picture(colour, name) for name, colour in colours().items()))
            await until_async(lambda: worker.status.halted)
            # What the broker had sent by then still comes, for nothing can take it back (AMQP 1.0, 2.6.7); the broker
            # alone knows when all of it has come and gone.
            await until_async(lambda: bus.queue("jobs").depths.locked <= worker._breaker.places)
            yield worker


def tries(worker: QueueWorker) -> int:
    """How often the probes that are held have failed."""
    return sum(worker._breaker._probes.values())


async def no_delivery_was_used(bus: Broker, worker: QueueWorker) -> int:
    """However often the probes have failed meanwhile; returns the most messages that were taken at once."""
    enough, most = tries(worker) + 8, 0

    def has_failed_enough() -> bool:
        nonlocal most
        most = max(most, bus.queue("jobs").depths.locked)
        return tries(worker) >= enough

    await until_async(has_failed_enough)
    entries = bus.queue("jobs").peek()
    assert len(entries) == COUNT
    assert all(entry.delivery_count == 0 for entry in entries)
    return most


async def goes_on(bus: Broker, worker: QueueWorker) -> None:
    found = await results(bus, COUNT)
    await until_async(lambda: bus.queue("jobs").depths.total == 0)
    assert {name: colour_in(body) for name, body in found.items()} == colours()
    assert not worker.status.halted


async def test_a_results_queue_that_is_forbidden_uses_up_no_delivery_and_it_goes_on_by_itself() -> None:
    async with Broker(["jobs,lock=30,max_delivery=2", "results,dedup=600"]) as bus:
        bus.forbid("results")
        async with halted(bus) as worker:
            assert "Unauthorized" in str(worker.status)
            assert await no_delivery_was_used(bus, worker) <= 4
            bus.forbid("results", False)
            await goes_on(bus, worker)


async def test_a_results_queue_that_is_full_uses_up_no_delivery() -> None:
    async with Broker(["jobs,lock=30,max_delivery=2", "results,dedup=600,full=1"]) as bus:
        await put(bus, [picture((1, 2, 3), "plug")], "results")
        async with halted(bus) as worker:
            assert "maximum entity size" in str(worker.status)
            await no_delivery_was_used(bus, worker)
            object.__setattr__(bus.queue("results").options, "most_messages", 1000)
            (plug,) = bus.queue("results").peek()
            bus.queue("results").take()
            assert plug.message_id == "plug"
            await goes_on(bus, worker)


async def test_a_results_queue_that_is_missing_is_said_at_the_start_and_empties_nothing() -> None:
    async with Broker(["jobs,lock=30,max_delivery=2"]) as bus:
        with running(colour_model(MeanColourEngine())) as service:
            async with working(service, bus) as worker:
                await until_async(lambda: "results" in worker.status.halted)
                assert "connected, not receiving" in str(worker.status)
                await put(bus, (picture(colour, name) for name, colour in colours().items()))
                await no_delivery_was_used(bus, worker)


async def test_a_results_queue_that_was_never_set_empties_nothing() -> None:
    async with Broker(["jobs,lock=30,max_delivery=2"]) as bus, halted(bus, results_queue=None) as worker:
        assert "ROO_RESULTS_QUEUE" in str(worker.status)
        await no_delivery_was_used(bus, worker)


async def test_a_robot_that_names_its_own_destination_proves_nothing_of_one_that_was_never_set() -> None:
    async with Broker(["jobs,lock=30,max_delivery=10", "private"]) as bus:
        with running(colour_model(MeanColourEngine(), max_batch_size=1)) as service:
            async with working(service, bus, results_queue=None) as worker:
                for number, (name, colour) in enumerate(colours().items()):
                    where = {"reply_to": "private"} if number % 6 == 5 else {}
                    await put(bus, [picture(colour, name, **where)])
                await results(bus, COUNT // 6, "private")
                assert not worker.status.halted
                jobs = bus.queue("jobs")
                await until_async(lambda: any(entry.delivery_count for entry in jobs.peek()))
                assert (jobs.depths.total, jobs.depths.dead_lettered) == (COUNT - COUNT // 6, 0)


async def test_one_robots_own_destination_stops_nobody_else() -> None:
    async with Broker(["jobs,lock=30,max_delivery=50", "results,dedup=600", "private"]) as bus:
        bus.forbid("private")
        with running(colour_model(MeanColourEngine())) as service:
            async with working(service, bus) as worker:
                await put(bus, (picture((9, 9, 9), f"private-{n}", reply_to="private") for n in range(6)))
                await put(bus, (picture(colour, name) for name, colour in colours().items()))
                await results(bus, COUNT)
                assert not worker.status.halted


def test_a_fault_that_may_be_one_messages_own_is_believed_of_several_messages_only() -> None:
    breaker = Breaker("jobs")
    for _ in range(10 * LIMIT):
        breaker.fail("403", "the same")
    assert not breaker.is_open
    for number in range(LIMIT):
        breaker.fail("403", f"m{number}")
    assert breaker.is_open


def test_only_failures_in_a_row_count() -> None:
    breaker = Breaker("jobs")
    for _ in range(10):
        for _ in range(LIMIT - 1):
            breaker.fail("full")
        breaker.succeed("m0")
    assert not breaker.is_open


def test_a_probe_that_keeps_failing_gets_company_and_no_crowd() -> None:
    breaker = Breaker("jobs")
    breaker.trip("403")
    kept = [[breaker.keeps(f"m{number}", tries) for number in range(10)].count(True) for tries in range(1, 12)]
    assert kept[0] == 1
    assert max(kept) == 4
    breaker.succeed("m0")
    assert (breaker.is_open, breaker.places) == (False, 0)


async def test_robots_with_destinations_of_their_own_do_not_start_the_receiving_of_others_again() -> None:
    """The results queue is full for long, and half of the messages go elsewhere: what they prove is not in question."""
    async with Broker(["jobs,lock=30,max_delivery=2", "results,dedup=600", "private"]) as bus:
        bus.fill("results")
        with running(colour_model(MeanColourEngine(), max_batch_size=1)) as service:
            async with working(service, bus) as worker:
                for name, colour in colours().items():
                    await put(bus, [picture(colour, name), picture(colour, f"own-{name}", reply_to="private")])
                await until_async(lambda: worker.status.halted)
                await until_async(lambda: tries(worker) >= 12 * LIMIT)
                assert worker.status.halted
                entries = bus.queue("jobs").peek()
                assert all(entry.delivery_count == 0 for entry in entries)
                assert bus.queue("jobs").depths.dead_lettered == 0
                bus.fill("results", False)
                await results(bus, COUNT, "private")
                await goes_on(bus, worker)


async def test_what_is_given_back_for_an_operators_fault_counts_nowhere_though_another_goes_through_just_then() -> None:
    breaker = Breaker("jobs")
    for number in range(LIMIT):
        breaker.fail("403", f"m{number}")
    breaker.keeps("m0", 1)  # the probe

    class Answer:
        async def answer(self, message: object) -> None:
            asyncio.get_running_loop().call_soon(breaker.succeed, "inside")
            raise StorageUnavailable("403")

    settled: list[Verb] = []

    class Settler:
        connected = True

        def can_release(self, received: Received) -> bool:
            return True

        async def settle(self, received: Received, decided: Settlement, lock: object) -> bool:
            settled.append(decided.verb)
            return True

    class Locks:
        period, clock_ahead = 30.0, 0.0

        @contextmanager
        def hold(self, received: Received, on_loss: object) -> Iterator[SimpleNamespace]:
            yield SimpleNamespace(lost=False, remaining=lambda: 30.0)

    deliveries = Deliveries("jobs", cast(Answering, Answer()), Settler(), cast(Any, Locks()), breaker, lambda: None)
    message = SimpleNamespace(message_id="m9", application_properties={}, delivery_count=0, enqueued_time_utc=None)
    await deliveries.start(Received(cast(ServiceBusReceivedMessage, message), object()))
    assert not breaker.is_open
    assert settled == [Verb.RELEASE]


async def test_pictures_inside_messages_say_nothing_of_a_storage_that_lets_nobody_in() -> None:
    async with Blobs() as storage, Broker(["jobs,lock=30,max_delivery=2", "results,dedup=600"]) as bus:
        for name, colour in colours().items():
            storage.put(f"shots/{name}.png", solid(colour))
            storage.troubles[f"shots/{name}.png"].append(Trouble(403, "AuthorizationPermissionMismatch"))
        with running(colour_model(MeanColourEngine(), max_batch_size=1)) as service:
            async with working(service, bus, blob_accounts=(storage.account,)):
                for name in colours():
                    link = linked(name, storage.url(f"shots/{name}.png"))
                    await put(bus, [link, picture((1, 2, 3), f"inside-{name}")])
                await results(bus, COUNT)  # of those inside
                await until_async(lambda: storage.methods.count("HEAD") >= 5 * COUNT)
                assert all(entry.delivery_count == 0 for entry in bus.queue("jobs").peek())
                assert bus.queue("jobs").depths.dead_lettered == 0
                storage.troubles.clear()
                found = await results(bus, 2 * COUNT)
                await until_async(lambda: bus.queue("jobs").depths.total == 0)
                assert {name: colour_in(found[name]) for name in colours()} == colours()


async def test_a_storage_that_lets_nobody_in_uses_up_no_delivery_and_it_goes_on_once_it_does() -> None:
    """A role that was granted a minute ago: 403 for up to ten."""
    async with Blobs() as storage, Broker(["jobs,lock=30,max_delivery=2", "results,dedup=600"]) as bus:
        for name, colour in colours().items():
            storage.put(f"shots/{name}.png", solid(colour))
            storage.troubles[f"shots/{name}.png"].append(Trouble(403, "AuthorizationPermissionMismatch"))
        with running(colour_model(MeanColourEngine())) as service:
            async with working(service, bus, blob_accounts=(storage.account,)) as worker:
                await put(bus, (linked(name, storage.url(f"shots/{name}.png")) for name in colours()))
                await until_async(lambda: worker.status.halted)
                assert "403 AuthorizationPermissionMismatch" in worker.status.halted
                await no_delivery_was_used(bus, worker)
                storage.troubles.clear()
                await goes_on(bus, worker)


async def test_what_is_kept_and_tried_again_is_told_once_and_again_when_it_went_through(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with Blobs() as storage, Broker(["jobs,lock=30", "results,dedup=600"]) as bus:
        url = storage.put("shots/1.png", solid((1, 2, 3)))
        storage.troubles["shots/1.png"].append(Trouble(403, "AuthorizationPermissionMismatch"))
        with running(colour_model(MeanColourEngine())) as service, caplog.at_level("INFO"):
            async with working(service, bus, blob_accounts=(storage.account,)):
                await put(bus, [linked("refused", url)])
                await until_async(lambda: storage.methods.count("HEAD") >= 3)
                told = [record.getMessage() for record in caplog.records if "tried again" in record.getMessage()]
                assert len(told) == 1
                assert re.search(
                    r"messages of jobs: kept and.*shots/1\.png: 403 AuthorizationPermissionMismatch", told[0]
                )
                storage.troubles.clear()
                await until_async(lambda: "answering messages of jobs: works again after 1 failure" in caplog.text)


async def test_a_blob_is_fetched_once_however_long_people_have_all_places() -> None:
    gate = Gate()
    async with Blobs() as storage, Broker(["jobs,lock=30", "results,dedup=600"]) as bus:
        url = storage.put("shots/1.png", solid((1, 2, 3)))
        with running(colour_model(MeanColourEngine(gate)), budget=Budget(4, 2**30, 10**10)) as service:
            async with working(service, bus, blob_accounts=(storage.account,)) as worker:
                people = [asyncio.create_task(infer(service, ask((0, 255, 0)))) for _ in range(4)]
                await until_async(lambda: gate.entered and service.admission.used.pictures == 4)
                await until_async(lambda: worker.status.credit == 0)
                await put(bus, (linked(f"m{number}", url) for number in range(6)))
                gate.open()
                await asyncio.gather(*people)
                await results(bus, 6)
                assert storage.methods.count("GET") == 6


@pytest.mark.parametrize("bad", [LIMIT, 8, 20])
async def test_messages_whose_own_blobs_are_refused_do_not_hold_up_the_others_for_ever(bad: int) -> None:
    """One container's role is missing, and its messages are at the head of the queue."""
    async with Blobs() as storage, Broker(["jobs,lock=30,max_delivery=2", "results,dedup=600"]) as bus:
        refused = [f"refused/{number}.png" for number in range(bad)]
        for name in refused:
            storage.put(name, solid((1, 2, 3)))
            storage.troubles[name].append(Trouble(403, "AuthorizationPermissionMismatch"))
        for name, colour in colours().items():
            storage.put(f"shots/{name}.png", solid(colour))
        with running(colour_model(MeanColourEngine(), max_batch_size=1)) as service:
            async with working(service, bus, blob_accounts=(storage.account,)) as worker:
                await put(bus, (linked(name, storage.url(name)) for name in refused))
                await until_async(lambda: worker.status.halted)
                await put(bus, (linked(name, storage.url(f"shots/{name}.png")) for name in colours()))
                await goes_on_without(bus, worker, bad)


async def goes_on_without(bus: Broker, worker: QueueWorker, bad: int) -> None:
    """All others are answered; those to blame are dead letters once their deliveries are used up."""
    found = await results(bus, COUNT)
    assert {name: colour_in(body) for name, body in found.items()} == colours()
    await until_async(lambda: bus.queue("jobs").depths.dead_lettered == bad, patience=60)
    await until_async(lambda: not worker.status.halted)


def test_what_failed_while_another_went_through_opens_nothing_any_more() -> None:
    breaker = Breaker("jobs")
    ids = [f"m{number}" for number in range(LIMIT)]
    for name in ids:
        breaker.fail("403", name)
        breaker.keeps(name, 1)
    assert breaker.is_open
    breaker.succeed("another")
    for _ in range(5):
        for name in ids:
            breaker.fail("403", name)
    assert not breaker.is_open
    breaker.succeed(ids[0])  # its blob is let go after all: what it says counts again
    for name in (ids[0], "n1", "n2"):
        breaker.fail("403", name)
    assert breaker.is_open


def test_those_to_blame_are_remembered_in_bounded_number() -> None:
    breaker = Breaker("jobs")
    for number in range(5000):
        breaker.fail("403", f"m{number}")
        breaker.keeps(f"m{number}", 1)
        breaker.succeed("another")
        breaker.trip("403")
    assert len(breaker._suspects) <= breaker_module._MOST_SUSPECTS


def test_probes_are_many_only_where_each_may_fail_for_a_reason_of_its_own() -> None:
    breaker = Breaker("jobs")
    breaker.most_probes = 10
    for number in range(20):
        breaker.fail("403", f"m{number}")
    kept = [[breaker.keeps(f"m{number}", tries) for number in range(20)].count(True) for tries in range(1, 30)]
    assert max(kept) == 10
