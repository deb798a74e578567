"""A shadow computes what was answered, is compared and never sent; where anything else wants the room, it goes."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from app.core.admission import Budget
from app.core.model import Model
from app.core.request import InferenceRequest, Priority
from app.core.shadow import Difference
from app.core.traffic import chance
from app.engines.base import Array
from app.repository.route import Route
from app.telemetry import metrics
from tests.fixtures.engines import Gate, MeanColourEngine, mean_colours
from tests.fixtures.pictures import solid
from tests.fixtures.service import Running, ask, colour_model, running_core, seen_colour
from tests.fixtures.waiting import until_async

RED, PALE = (255, 0, 0), (200, 0, 0)


def dim(batch: Array) -> Array:
    """Other scores, and another best class."""
    return np.asarray(mean_colours(batch)[:, ::-1] * 0.5)


def pair(name: str, live: MeanColourEngine, candidate: MeanColourEngine) -> list[Model]:
    """Two versions of a model of its own, so that each test counts its own."""
    return [colour_model(live, 1, name, "1"), colour_model(candidate, 1, name, "2")]


def shadowing(core: Running, name: str, percent: float = 100.0) -> None:
    core.service.registry.traffic.change(name, Route({"1": 100.0}, shadow={"2": percent}))


def outcomes(name: str) -> Counter[str]:
    return Counter({str(each.labels[3]): int(each.value) for each in metrics.shadows.read() if each.labels[0] == name})


def things(name: str) -> dict[str, int]:
    read = metrics.shadow_things.read()
    return {str(each.labels[3]): int(each.value) for each in read if each.labels[0] == name and each.value}


def request(number: int) -> InferenceRequest:
    return InferenceRequest(solid(RED), f"shadow-{number}")


async def test_what_is_sent_is_the_live_versions_and_the_candidates_is_compared() -> None:
    kept: list[Difference] = []
    with running_core(*pair("sent", MeanColourEngine(), MeanColourEngine(dim))) as core:
        core.service.shadows._keep = kept.append
        shadowing(core, "sent")
        for number in range(5):
            result = await core.infer(request(number))
            assert (result.version, seen_colour(result)) == ("1", RED)
            await until_async(lambda number=number: outcomes("sent")["compared"] == number + 1)
        assert core.service.shadows.held == 0
        assert core.admission.used.image_bytes == 0
    assert things("sent") == {"changed": 5}
    assert [difference.share for difference in kept] == [0.0] * 5
    assert {(difference.sent.version, difference.candidate.version) for difference in kept} == {("1", "2")}
    (agreement,) = [each for each in metrics.shadow_agreement.read() if each.labels == ("sent", "2", "1")]
    assert (sum(agreement.counts), agreement.total) == (5, 0.0)


async def test_a_share_of_the_requests_is_computed_and_always_the_same() -> None:
    with running_core(*pair("share", MeanColourEngine(), MeanColourEngine())) as core:
        shadowing(core, "share", 30.0)
        numbers = range(100)
        wanted = sum(chance("share\0shadow\0002", f"shadow-{number}") < 0.3 for number in numbers)
        for number in numbers:
            before = outcomes("share").total()
            await core.infer(request(number))
            await until_async(lambda: core.service.shadows.held == 0)
            assert outcomes("share").total() - before <= 1
        await until_async(lambda: outcomes("share").total() == wanted)
    assert abs(wanted - 30) < 4 * (100 * 0.3 * 0.7) ** 0.5
    assert outcomes("share") == {"compared": wanted}
    assert things("share") == {"same": wanted}


@pytest.mark.parametrize("priority", list(Priority))
async def test_under_load_nobody_waits_for_it_and_most_of_it_is_dropped(priority: Priority) -> None:
    name, order = f"load-{priority}", list[str]()
    gate = Gate()

    def live(batch: Array) -> None:
        gate(batch)
        order.append("1")

    def candidate(_: Array) -> None:
        order.append("2")

    with running_core(*pair(name, MeanColourEngine(live), MeanColourEngine(candidate)), bulk_share=0.0) as core:
        shadowing(core, name)
        asked = [asyncio.create_task(core.infer(request(number), priority)) for number in range(40)]
        await until_async(lambda: core.batcher.waiting() == 39)
        gate.open()
        assert {(await each).version for each in asked} == {"1"}
        await until_async(lambda: outcomes(name).total() == 40)
    # Of the lane's first 40 batches the robots may lose one to the candidate, and people none.
    assert order[:40].count("2") <= (0 if priority is Priority.INTERACTIVE else 1)
    assert outcomes(name)["dropped"] >= 20
    assert order.count("2") == outcomes(name)["compared"] >= 1


async def test_a_candidate_that_fails_fails_nobody() -> None:
    def fail(_: Array) -> None:
        raise RuntimeError("a broken candidate")

    with running_core(*pair("fails", MeanColourEngine(), MeanColourEngine(fail))) as core:
        shadowing(core, "fails")
        for number in range(3):
            assert (await core.infer(request(number))).version == "1"
            await until_async(lambda number=number: outcomes("fails")["failed"] == number + 1)


async def test_one_that_is_not_there_any_more_or_answers_itself_computes_nothing() -> None:
    live, candidate = MeanColourEngine(), MeanColourEngine()
    with running_core(*pair("gone", live, candidate)) as core:
        core.service.registry.traffic.change("gone", Route({"2": 100.0}, shadow={"2": 100.0}))
        assert (await core.infer(request(1))).version == "2"
        assert outcomes("gone").total() == 0
        shadowing(core, "gone")
        core.service.registry.replace("gone", [core.service.registry.get("gone", "1")])
        assert (await core.infer(request(2))).version == "1"
        await until_async(lambda: outcomes("gone") == {"dropped": 1})
    assert len(candidate.batches) == 1


def stuck(name: str, budget: Budget, then: Callable[[Running, Gate], Any]) -> Any:
    """A candidate that holds a picture and does not end before the gate opens."""
    gate = Gate()

    async def run() -> None:
        models = pair(name, MeanColourEngine(), MeanColourEngine(gate))
        with running_core(*models, lanes=2, budget=budget) as core:
            shadowing(core, name)
            await core.infer(request(1))
            await until_async(lambda: gate.entered == 1)
            assert core.service.shadows.held == 1
            try:
                await then(core, gate)
            finally:
                gate.open()
            await until_async(lambda: core.service.shadows.held == 0)
            await until_async(lambda: core.admission.used.image_bytes == 0)

    return run()


async def test_a_request_that_needs_its_room_gets_it() -> None:
    size = len(solid(RED))

    async def then(core: Running, _: Gate) -> None:
        assert core.admission.used.image_bytes == size
        with core.admission.permit(Priority.INTERACTIVE) as permit:
            permit.take_bytes(16 * size - 1)  # all but one byte less than the shadow holds
            assert core.service.shadows.held == 0
            assert core.admission.used.image_bytes == 16 * size - 1
            assert (await core.service.infer(ask(PALE), permit)).version == "1"
        await until_async(lambda: outcomes("room")["dropped"] >= 1)

    await stuck("room", Budget(100, 16 * size, 10**9), then)


async def test_no_more_is_held_than_its_part_of_the_room() -> None:
    size = len(solid(RED))

    async def then(core: Running, _: Gate) -> None:
        for number in range(2, 6):
            await core.infer(request(number))
        assert core.service.shadows.held == 1
        assert outcomes("part")["dropped"] == 4
        core.service.shadows.close()
        await core.infer(request(6))
        assert core.service.shadows.held == 0

    await stuck("part", Budget(100, 8 * size, 10**9), then)
