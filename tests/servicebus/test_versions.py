"""A robot's messages meet one version, a repetition too; where it meets another, its result has another id."""

import json
from collections.abc import Mapping
from typing import Any

from app.core.service import InferenceService
from app.core.traffic import pick
from app.devbus.broker import Broker
from app.repository.route import Route
from app.servicebus.results import result_id
from tests.fixtures.engines import MeanColourEngine
from tests.fixtures.pictures import Colour
from tests.fixtures.queue import picture, put, results, working
from tests.fixtures.service import colour_model, running
from tests.fixtures.waiting import until_async

RED: Colour = (255, 0, 0)
SHARES = {"1": 50.0, "2": 50.0}


def share(service: InferenceService, shares: Mapping[str, float]) -> None:
    service.registry.traffic.change("colour", Route(shares, stages={"candidate": "2"}))


def two_versions() -> list[Any]:
    return [colour_model(MeanColourEngine(), version=version) for version in ("1", "2")]


async def test_a_session_a_robot_and_a_message_each_have_their_version() -> None:
    with running(*two_versions()) as service:
        share(service, SHARES)
        async with (
            Broker(["jobs,lock=60,sessions", "results,dedup=600"]) as bus,
            working(service, bus, queue_sessions="2"),
        ):
            sent = [picture(RED, f"m{n}-of-{session}", session_id=session) for session in "abcd" for n in range(3)]
            sent.append(picture(RED, "named", session_id="a", application_properties={"robot_id": "r7"}))
            sent.append(picture(RED, "staged", session_id="a", application_properties={"version": "candidate"}))
            await put(bus, sent)
            found = {name: body["version"] for name, body in (await results(bus, len(sent))).items()}
            assert found.pop("named") == pick("colour", "r7", SHARES)
            assert found.pop("staged") == "2"
            assert found == {name: pick("colour", name[-1], SHARES) for name in found}
            assert set(found.values()) == {"1", "2"}


async def test_a_repetition_is_dropped_until_the_shares_move_it_to_another_version() -> None:
    with running(*two_versions()) as service:
        share(service, SHARES)
        async with Broker(["jobs,lock=60", "results,dedup=600"]) as bus, working(service, bus):
            for completed in (1, 2):
                await put(bus, [picture(RED, "again")])
                await until_async(lambda completed=completed: bus.queue("jobs").totals["completed"] == completed)
            (first,) = bus.queue("results").peek()
            before = json.loads(bytes(first.body))["version"]
            assert before == pick("colour", "again", SHARES)

            after = "2" if before == "1" else "1"
            share(service, {after: 100.0})
            await put(bus, [picture(RED, "again")])
            await until_async(lambda: bus.queue("results").depths.total == 2)
            entries = {json.loads(bytes(entry.body))["version"]: entry for entry in bus.queue("results").peek()}
            assert {version: entry.message_id for version, entry in entries.items()} == {
                version: result_id("again", "colour", version) for version in ("1", "2")
            }


async def test_a_replica_without_a_model_leaves_messages_on_the_queue_until_it_has_one() -> None:
    (model,) = models = [colour_model(MeanColourEngine())]
    with running(*models) as service:
        async with Broker(["jobs,lock=60", "results,dedup=600"]) as bus, working(service, bus) as worker:
            await put(bus, [picture(RED, "before")])
            await results(bus, 1)
            service.registry.replace("colour", [])
            await put(bus, [picture(RED, f"m{n}") for n in range(20)])
            await until_async(lambda: worker.status.credit == 0 and not worker.held and not worker.promised)
            assert bus.queue("jobs").depths.dead_lettered == 0
            assert {letter.delivery_count for letter in bus.queue("jobs").peek()} == {0}

            service.registry.add(model)
            assert len(await results(bus, 21)) == 21
