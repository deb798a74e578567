"""Answers elsewhere, whole: a worker between devbus, a stand-in for Cosmos DB asked by the real client, and a receiver
of webhooks; what is away stops the receiving and costs nothing.
"""

import asyncio
import json
from collections.abc import Iterator

import pytest
from aiohttp import web

from app.core.service import InferenceService
from app.devbus.broker import Broker
from app.devbus.entry import Entry
from app.servicebus import breaker as breaker_module
from app.servicebus import outboxes
from app.servicebus.breaker import LIMIT
from app.servicebus.results import result_id
from app.servicebus.worker import QueueWorker
from app.sinks import persistence
from app.telemetry import metrics
from tests.fixtures.cosmos import KEY, Cosmos, Refusal
from tests.fixtures.engines import MeanColourEngine
from tests.fixtures.hook import Hook
from tests.fixtures.pictures import Colour
from tests.fixtures.queue import colour_in, picture, put, results, working
from tests.fixtures.service import colour_model, running
from tests.fixtures.waiting import until_async
from tests.servicebus.blobs import Blobs

COUNT = 24
QUEUES = ["jobs,lock=30,max_delivery=2", "results"]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes and tries come soon after each other."""
    monkeypatch.setattr(breaker_module, "_LONGEST_PAUSE", 0.2)
    monkeypatch.setattr(persistence, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(outboxes, "REFUSED_SECONDS", 0.2)


@pytest.fixture
def service() -> Iterator[InferenceService]:
    with running(colour_model(MeanColourEngine())) as service:
        yield service


def colours(count: int = COUNT) -> dict[str, Colour]:
    return {f"message-{number}": (number * 9 % 256, number * 11 % 256, 77) for number in range(count)}


async def put_all(bus: Broker) -> None:
    await put(bus, (picture(colour, name) for name, colour in colours().items()))


async def all_settled(bus: Broker) -> None:
    await until_async(lambda: bus.queue("jobs").depths.total == 0)
    assert bus.queue("jobs").depths.dead_lettered == 0


def dead(bus: Broker) -> list[Entry]:
    letters = bus.queue("jobs").dead_letters
    assert letters is not None
    return letters.peek()


def kept(sink: str) -> float:
    """How many results a sink has kept in all."""
    return sum(series.value for series in metrics.sink_results.read() if series.labels == (sink, "kept"))


def as_sent(found: dict[str, dict[str, object]]) -> bool:
    return {name: colour_in(body) for name, body in found.items()} == colours()


async def no_delivery_is_used(bus: Broker, worker: QueueWorker) -> None:
    """However often the probe fails meanwhile."""
    enough = sum(worker._breaker._probes.values()) + 4
    await until_async(lambda: sum(worker._breaker._probes.values()) >= enough)
    entries = bus.queue("jobs").peek()
    assert len(entries) == COUNT
    assert all(entry.delivery_count == 0 for entry in entries)


async def test_an_answer_is_kept_everywhere_before_its_message_is_settled(service: InferenceService) -> None:
    async with Broker(QUEUES) as bus, Cosmos() as cosmos, Hook() as hook:
        async with working(service, bus, **cosmos.settings, **hook.settings) as worker:
            await put_all(bus)
            await all_settled(bus)
            assert str(worker.status) == "jobs: connected"
        assert as_sent(await results(bus, COUNT))
        assert as_sent(cosmos.by_request)
        assert as_sent(hook.by_request)
        entry = bus.queue("results").peek()[0]
        sent = json.loads(entry.body)
        item = cosmos.by_request[sent["request_id"]]
        assert item == {**sent, "id": entry.message_id}
        assert hook.by_request[sent["request_id"]] == sent
        posted = hook.taken[result_id(sent["request_id"], "colour", "1")]
        assert posted.headers["Content-Type"] == "application/json"
        assert cosmos.seen.count("GET dbs/robots/colls/results") <= 2


async def test_sinks_alone_will_do_without_a_results_queue(service: InferenceService) -> None:
    async with Broker(QUEUES) as bus, Cosmos("/robot_id") as cosmos:
        async with working(service, bus, results_queue=None, **cosmos.settings):
            properties: dict[str | bytes, object] = {"robot_id": "r7"}
            await put(bus, [picture((1, 2, 3), "named", application_properties=properties)])
            await put(bus, [picture((4, 5, 6), "nameless"), picture((7, 8, 9), "elsewhere", reply_to="results")])
            await all_settled(bus)
        assert {key for key, _ in cosmos.items} == {'["r7"]', "[null]"}
        assert set(cosmos.by_request) == {"named", "nameless", "elsewhere"}
        assert set(await results(bus, 1)) == {"elsewhere"}


@pytest.mark.parametrize("absent", ["cosmos", "webhook", "both"])
async def test_while_a_sink_is_away_the_backlog_waits_and_then_everything_is_there_once(
    absent: str, service: InferenceService
) -> None:
    async with Broker(QUEUES) as bus, Cosmos() as cosmos, Hook() as hook:
        gone = [place for place, name in ((cosmos, "cosmos"), (hook, "webhook")) if absent in (name, "both")]
        async with working(service, bus, **cosmos.settings, **hook.settings) as worker:
            await put(bus, [picture((9, 9, 9), "before")])
            await all_settled(bus)
            for place in gone:
                await place.go()
            await put_all(bus)
            await until_async(lambda: worker.status.halted)
            assert "does not answer" in worker.status.halted
            await until_async(lambda: bus.queue("jobs").depths.locked <= worker._breaker.places)
            await no_delivery_is_used(bus, worker)
            assert len(bus.queue("results").peek()) == 1
            for place in gone:
                await place.come()
            await all_settled(bus)
            await until_async(lambda: not worker.status.halted)
        sent = [json.loads(entry.body)["request_id"] for entry in bus.queue("results").peek()]
        assert sorted(sent) == sorted([*colours(), "before"])
        assert set(cosmos.by_request) == set(hook.by_request) == set(sent)


async def test_a_sink_that_has_a_result_is_not_asked_again_while_another_is_away(service: InferenceService) -> None:
    async with (
        Broker(QUEUES) as bus,
        Cosmos() as cosmos,
        Hook() as hook,
        working(service, bus, **cosmos.settings, **hook.settings) as worker,
    ):
        hook.always = 503
        await put_all(bus)
        await until_async(lambda: worker.status.halted)
        await no_delivery_is_used(bus, worker)
        assert cosmos.upserts == len(cosmos.items) < COUNT
        hook.always = None
        await all_settled(bus)
        assert cosmos.upserts == len(cosmos.items) == COUNT
        assert set(hook.times.values()) == {1}
        await put(bus, [picture((1, 2, 3), "message-0")])  # once it is everywhere, a repetition is kept anew
        await until_async(lambda: cosmos.upserts == COUNT + 1)
        assert len(cosmos.items) == COUNT


async def test_what_goes_elsewhere_still_proves_that_a_sink_is_back(service: InferenceService) -> None:
    """All messages name a reply_to, so that nothing proves the results queue, which never failed."""
    async with (
        Broker([*QUEUES, "private"]) as bus,
        Hook() as hook,
        working(service, bus, **hook.settings) as worker,
    ):
        hook.always = 503
        await put(bus, (picture(colour, name, reply_to="private") for name, colour in colours().items()))
        await until_async(lambda: worker.status.halted)
        hook.always = None
        await all_settled(bus)
        await until_async(lambda: not worker.status.halted)


async def test_a_wrong_key_is_said_clearly_and_asked_about_ever_more_seldom(service: InferenceService) -> None:
    async with Broker(QUEUES) as bus, Cosmos() as cosmos:
        cosmos.keys.clear()
        async with working(service, bus, **cosmos.settings) as worker:
            await until_async(lambda: worker.status.halted)  # at the start, before any message
            assert "the Cosmos DB container robots/results answers 401" in worker.status.halted
            assert "ROO_COSMOS_KEY" in worker.status.halted
            assert KEY not in worker.status.halted
            await put_all(bus)
            await until_async(lambda: sum(worker._breaker._probes.values()) >= LIMIT)
            await no_delivery_is_used(bus, worker)
            asked, tried = len(cosmos.seen), sum(worker._breaker._probes.values())
            assert asked <= 2 * (tried + COUNT)  # no try in a hurry after a 401
            cosmos.keys.append(KEY)
            await all_settled(bus)
        assert as_sent(cosmos.by_request)


@pytest.mark.parametrize("status", [301, 401, 403, 404])
async def test_a_receiver_that_does_not_know_us_stops_the_receiving(status: int, service: InferenceService) -> None:
    async with Broker(QUEUES) as bus, Hook() as hook:
        hook.always = status
        async with working(service, bus, **hook.settings) as worker:
            await put_all(bus)
            await until_async(lambda: worker.status.halted)
            assert f"the webhook at 127.0.0.1 answers {status}" in worker.status.halted
            assert "hidden" not in worker.status.halted
            await until_async(lambda: bus.queue("jobs").depths.locked <= worker._breaker.places)
            await no_delivery_is_used(bus, worker)
            hook.always = None
            await all_settled(bus)
        assert as_sent(hook.by_request)


async def test_a_result_that_alone_is_refused_is_a_dead_letter_that_says_why(service: InferenceService) -> None:
    async with Broker(QUEUES) as bus, Hook() as hook, Cosmos() as cosmos:
        hook.poison = {"message-3", "message-7"}
        async with working(service, bus, **hook.settings, **cosmos.settings):
            await put_all(bus)
            await until_async(lambda: bus.queue("jobs").depths.dead_lettered == 2)
            await until_async(lambda: bus.queue("jobs").depths.active + bus.queue("jobs").depths.locked == 0)
        letters = dead(bus)
        assert {letter.reason for letter in letters} == {"ResultRefused"}
        assert "answers 422" in str(letters[0].description)
        assert set(hook.by_request) == set(colours()) - hook.poison
        assert set(await results(bus, COUNT - 2)) == set(colours()) - hook.poison


async def test_a_message_sent_again_is_kept_anew_where_its_first_answer_is_kept(service: InferenceService) -> None:
    async with Broker(QUEUES) as bus, Cosmos() as cosmos, Hook() as hook:
        hook.poison.add("again")
        async with working(service, bus, **cosmos.settings, **hook.settings):
            await put(bus, [picture((1, 2, 3), "other"), picture((4, 5, 6), "again")])
            await until_async(lambda: len(dead(bus)) == 1)
            assert colour_in(cosmos.by_request["again"]) == (4, 5, 6)
            hook.poison.clear()
            await put(bus, [picture((7, 8, 9), "again")])
            await until_async(lambda: "again" in hook.by_request)
        assert colour_in(cosmos.by_request["again"]) == (7, 8, 9)


async def test_a_receiver_that_refuses_everything_empties_no_queue(service: InferenceService) -> None:
    """Another program than was meant answers 422 to all."""
    async with Broker(QUEUES) as bus, Hook() as hook:
        hook.always = 422
        async with working(service, bus, **hook.settings) as worker:
            await put_all(bus)
            await until_async(lambda: worker.status.halted)
            await until_async(lambda: bus.queue("jobs").depths.locked <= worker._breaker.places)
            await no_delivery_is_used(bus, worker)
            hook.always = None
            await all_settled(bus)
        assert as_sent(hook.by_request)


async def test_throttling_is_waited_for_and_costs_nothing(service: InferenceService) -> None:
    async with Broker(QUEUES) as bus, Cosmos() as cosmos, Hook() as hook:
        cosmos.refusals.append(Refusal(429, times=6, headers={"x-ms-retry-after-ms": "20"}))
        hook.answers += [web.Response(status=429, headers={"Retry-After": "0"}) for _ in range(2)]
        async with working(service, bus, **cosmos.settings, **hook.settings):
            await put_all(bus)
            await all_settled(bus)
        assert as_sent(cosmos.by_request)
        assert as_sent(hook.by_request)


async def test_a_result_too_large_for_a_sink_is_stored_as_a_blob_or_is_a_dead_letter(service: InferenceService) -> None:
    async with Broker(QUEUES) as bus, Cosmos() as cosmos, Blobs() as storage:
        monkey = pytest.MonkeyPatch()
        monkey.setattr("app.sinks.cosmos.CosmosSink.most_bytes", 100)
        try:
            async with working(service, bus, **cosmos.settings):
                await put(bus, [picture((1, 2, 3), "large")])
                await until_async(lambda: bus.queue("jobs").depths.dead_lettered == 1)
            (letter,) = dead(bus)
            assert letter.reason == "ResultTooLarge"
            assert "the Cosmos DB container robots/results takes 100" in str(letter.description)
            container = f"{storage.url('results')}?sv=2026&sig=signed"
            async with working(service, bus, **cosmos.settings, results_container=container):
                await put(bus, [picture((1, 2, 3), "larger")])
                await until_async(lambda: "larger" in cosmos.by_request)
                assert "classes" in (await results(bus, 1))["larger"]
        finally:
            monkey.undo()
        link = cosmos.by_request["larger"]["result_url"]
        assert json.loads(storage.blobs[link.partition("devstoreaccount1/")[2]].content)["request_id"] == "larger"


async def test_outcomes_are_counted_by_sink(service: InferenceService) -> None:
    before = kept("webhook")
    async with Broker(QUEUES) as bus, Hook() as hook, working(service, bus, **hook.settings):
        await put(bus, [picture((1, 2, 3), "one")])
        await all_settled(bus)
    assert kept("webhook") == before + 1


async def test_what_hangs_is_given_back_within_the_time_to_stop(service: InferenceService) -> None:
    """The end comes while a receiver says nothing: no delivery is used up, and the next worker has it kept once."""
    holds = asyncio.Event()

    class Silent(Hook):
        async def _take(self, request: web.Request) -> web.Response:
            if not holds.is_set():
                self.asked += 1
                await holds.wait()
            return await super()._take(request)

    async with Broker(QUEUES) as bus, Silent() as hook:
        async with asyncio.timeout(20):
            async with working(service, bus, **hook.settings) as worker:
                await put_all(bus)
                await until_async(lambda: hook.asked)
                await worker.stop(1.5)
        entries = bus.queue("jobs").peek()
        assert len(entries) == COUNT
        assert all(entry.delivery_count == 0 for entry in entries)
        holds.set()
        async with working(service, bus, **hook.settings):
            await all_settled(bus)
        assert as_sent(hook.by_request)
