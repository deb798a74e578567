"""Crops: cut once in a lane, each answered in the batches of everything else, by itself and in its place."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.admission import Budget
from app.core.limits import PictureLimits
from app.core.request import AdmittedRequest, Answer, Deadline, InferenceRequest, Priority
from app.core.working_memory import WorkingMemory
from app.engines.base import Array
from app.errors import DeadlineExceeded, EngineFailure, ImageTooLarge, InvalidImage, Overloaded, RequestError
from app.telemetry import metrics
from app.vision import image
from app.vision.image import Picture
from app.vision.region import Region
from tests.fixtures.engines import Gate, MeanColourEngine, shows
from tests.fixtures.models import COLOURS
from tests.fixtures.pictures import Colour, solid
from tests.fixtures.service import ROOMY, Running, ask, colour_model, running_core, seen_colour
from tests.fixtures.waiting import until_async

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
SIDE = 12


def stripes(colours: Sequence[Colour]) -> bytes:
    """A PNG of one square of each colour beside the other."""
    row = np.repeat(np.array(colours, np.uint8).reshape(-1, 3), SIDE, axis=0)
    _, file = cv2.imencode(".png", cv2.cvtColor(np.repeat(row[None], SIDE, axis=0), cv2.COLOR_RGB2BGR))
    return file.tobytes()


def squares(count: int) -> list[Region]:
    """Where they are."""
    return [Region(SIDE * place, 0, SIDE * (place + 1), SIDE) for place in range(count)]


def admitted(content: bytes, seconds: float = 20.0, source: str = "http") -> AdmittedRequest:
    """A picture as it is after the door."""
    request = InferenceRequest(content, "crops", deadline=Deadline.after(seconds), source=source)
    return AdmittedRequest(request, image.read_header(content))


async def ask_all(
    core: Running, content: bytes, regions: Sequence[Region], seconds: float = 20.0
) -> list[Answer | RequestError]:
    """Cut and ask, with a permit of its own, as a front's request would."""
    picture = admitted(content, seconds)
    with core.service.registry.lease() as model, core.admission.permit(Priority.INTERACTIVE) as permit:
        permit.take_picture(model, picture.header.pixels)
        async with core.service.crops.cut(picture, regions, permit, model) as crops:
            return await core.service.crops.ask(picture.request, crops, permit, model)


def colour_of(answer: Answer | RequestError) -> Colour:
    """What the engine saw of a crop."""
    assert isinstance(answer, Answer), answer
    shares = dict(zip(answer.prediction.labels, answer.prediction.scores.tolist(), strict=True))
    red, green, blue = (round(shares[name] * 255) for name in COLOURS)
    return red, green, blue


colours = st.tuples(*[st.integers(0, 255)] * 3)


@settings(max_examples=25, deadline=None)
@given(
    requests=st.lists(st.lists(colours, min_size=1, max_size=30), min_size=1, max_size=6),
    lanes=st.integers(1, 3),
    size=st.integers(1, 5),
    places=st.sampled_from([1000, 9, 6]),
)
def test_every_crop_of_every_request_gets_its_own_answer(
    requests: list[list[Colour]], lanes: int, size: int, places: int
) -> None:
    """Beside whole pictures, whatever the batches are, and however few places there are."""

    async def answers(core: Running) -> list[list[Answer | RequestError]]:
        alone = asyncio.create_task(core.infer(ask(GREEN)))
        found = await asyncio.gather(*(ask_all(core, stripes(wanted), squares(len(wanted))) for wanted in requests))
        assert seen_colour(await alone) == GREEN
        return found

    budget = Budget(places + 1, ROOMY.image_bytes, ROOMY.pixels)
    with running_core(colour_model(MeanColourEngine(), size), lanes=lanes, budget=budget) as core:
        found = asyncio.run(answers(core))
        assert core.admission.used == Budget(0, 0, 0)
    assert [[colour_of(answer) for answer in each] for each in found] == requests


async def test_crops_of_several_requests_and_pictures_share_a_batch() -> None:
    gate = Gate()
    engine = MeanColourEngine(gate)
    with running_core(colour_model(engine, max_batch_size=8)) as core:
        first = asyncio.create_task(core.infer(ask(RED)))
        await until_async(lambda: gate.entered == 1)
        pair = [Picture(np.full((4, 4, 3), level, np.uint8), image.Size(4, 4)) for level in (51, 102)]
        request = admitted(solid(RED)).request
        with core.service.registry.lease() as model, core.admission.permit(Priority.INTERACTIVE) as permit:
            tasks = [asyncio.create_task(core.service.crops.ask(request, pair, permit, model)) for _ in range(2)]
            other = asyncio.create_task(core.infer(ask(BLUE)))
            await until_async(lambda: core.batcher.waiting() == 5)
            gate.open()
            answers = await asyncio.gather(*tasks)
        assert [[colour_of(answer) for answer in each] for each in answers] == [[(51,) * 3, (102,) * 3]] * 2
        assert seen_colour(await other) == BLUE
        await first
    assert engine.batches == [1, 5]


async def test_a_failing_crop_fails_alone_and_is_counted() -> None:
    def before(batch: Array) -> None:
        if shows(GREEN)(batch):
            raise RuntimeError("secret detail")

    with running_core(colour_model(MeanColourEngine(before)), lanes=2) as core:
        was = {outcome: _counted(outcome) for outcome in ("ok", "engine_failure")}
        found = await ask_all(core, stripes([RED, GREEN, BLUE]), squares(3))
    assert isinstance(found[1], EngineFailure)
    assert "secret" not in str(found[1])
    assert [colour_of(found[0]), colour_of(found[2])] == [RED, BLUE]
    assert _counted("ok") - was["ok"] == 2
    assert _counted("engine_failure") - was["engine_failure"] == 1


def _counted(outcome: str) -> float:
    wanted = ("http", "colour", "1", outcome)
    return sum(number.value for number in metrics.crops.read() if number.labels == wanted)


async def test_a_thousand_crops_do_not_keep_others_waiting() -> None:
    """Of what is asked at once no more waits than fills the lanes' next batches; a newcomer is behind that alone."""
    gate, seen = Gate(), itertools.count()
    place: list[int] = []

    def before(batch: Array) -> None:
        gate(batch)
        number = next(seen)
        if shows(BLUE)(batch):
            place.append(number)

    with running_core(colour_model(MeanColourEngine(before), max_batch_size=4)) as core:
        many = asyncio.create_task(ask_all(core, stripes([RED] * 1000), squares(1000)))
        await until_async(lambda: gate.entered == 1)
        one = asyncio.create_task(core.infer(ask(BLUE)))
        await until_async(lambda: core.batcher.waiting() > 4)
        assert core.admission.used.pictures <= 10
        gate.open()
        assert seen_colour(await one) == BLUE
        assert len(await many) == 1000
    assert place[0] <= 3


async def test_cancelling_leaves_nothing_queued_and_nothing_held() -> None:
    gate = Gate()
    with running_core(colour_model(MeanColourEngine(gate))) as core:
        task = asyncio.create_task(ask_all(core, stripes([RED] * 50), squares(50)))
        await until_async(lambda: gate.entered == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert core.batcher.waiting() == 0
        assert core.admission.used == Budget(0, 0, 0)
        gate.open()


async def test_the_deadline_is_the_request_s_for_all_of_them() -> None:
    gate = Gate()
    with running_core(colour_model(MeanColourEngine(gate))) as core:
        with pytest.raises(DeadlineExceeded):
            await ask_all(core, stripes([RED] * 50), squares(50), seconds=0.3)
        assert core.batcher.waiting() == 0
        gate.open()


async def test_a_damaged_picture_is_told_and_its_neighbours_are_answered() -> None:
    broken = solid(RED, (640, 480), "JPEG")[:2000]
    with running_core(colour_model(MeanColourEngine())) as core:
        bad, good = await asyncio.gather(
            ask_all(core, broken, squares(2)), ask_all(core, stripes([RED, BLUE]), squares(2)), return_exceptions=True
        )
    assert isinstance(bad, InvalidImage)
    assert [colour_of(answer) for answer in good] == [RED, BLUE]  # type: ignore[union-attr]


async def test_what_is_cut_counts_as_bytes_in_flight_while_it_is_kept() -> None:
    picture = admitted(stripes([RED] * 10))
    with (
        running_core(colour_model(MeanColourEngine())) as core,
        core.service.registry.lease() as model,
        core.admission.permit(Priority.INTERACTIVE) as permit,
    ):
        async with core.service.crops.cut(picture, squares(10), permit, model) as crops:
            assert crops[0].pixels.base is not None
            assert core.admission.used.image_bytes == 3 * SIDE * SIDE * 10
        async with core.service.crops.cut(picture, squares(2), permit, model) as crops:
            assert crops[0].pixels.base is None, "a small part is copied, and the picture let go"
            assert core.admission.used.image_bytes == 3 * SIDE * SIDE * 2
        assert core.admission.used.image_bytes == 0
        assert model.memory.held == 0


async def test_no_room_for_the_pixels_is_said_before_anything_is_decoded() -> None:
    budget = Budget(10, 10_000, ROOMY.pixels)
    with running_core(colour_model(MeanColourEngine()), budget=budget) as core:
        with core.admission.permit(Priority.INTERACTIVE) as other:
            other.take_bytes(9_000)
            with pytest.raises(Overloaded):
                await ask_all(core, stripes([RED] * 10), squares(10))
        assert core.admission.used == Budget(0, 0, 0)


async def test_pixels_for_which_there_is_never_room_are_not_refused_as_if_there_would_be() -> None:
    """Who is told that the service is busy sends again, and for ever."""
    with running_core(colour_model(MeanColourEngine()), budget=Budget(10, 1000, ROOMY.pixels)) as core:
        with pytest.raises(ImageTooLarge, match="more than all requests together may hold"):
            await ask_all(core, stripes([RED] * 10), squares(10))
        assert core.admission.used == Budget(0, 0, 0)


@pytest.mark.parametrize("what", ["pixels", "memory"])
async def test_a_picture_that_is_too_large_to_be_cut_is_refused(what: str) -> None:
    model = colour_model(MeanColourEngine())
    limits = PictureLimits(2**20, 100 if what == "pixels" else 10**6, 20.0)
    if what == "memory":
        model.memory = WorkingMemory(1000)
    with running_core(model, limits=limits) as core, pytest.raises(ImageTooLarge, match="decoded at its full size"):
        await ask_all(core, stripes([RED] * 10), squares(10))


async def test_what_a_lane_learns_of_a_model_s_pictures_has_no_cutting_in_it() -> None:
    with running_core(colour_model(MeanColourEngine())) as core, core.service.registry.lease() as model:
        with core.admission.permit(Priority.INTERACTIVE) as permit:
            async with core.service.crops.cut(admitted(stripes([RED])), squares(1), permit, model):
                pass
        assert core.capacity.seconds(model) == 0
        assert await ask_all(core, stripes([RED]), squares(1))
        await until_async(lambda: core.capacity.seconds(model) > 0)


async def test_a_stopping_front_takes_back_its_crops() -> None:
    gate = Gate()
    with running_core(colour_model(MeanColourEngine(gate))) as core:
        first = asyncio.create_task(core.infer(ask(RED)))
        await until_async(lambda: gate.entered == 1)
        picture = admitted(solid(RED), source="queue")
        crop = Picture(np.zeros((4, 4, 3), np.uint8), image.Size(4, 4))
        with core.service.registry.lease() as model, core.admission.permit(Priority.BULK) as permit:
            task = asyncio.create_task(core.service.crops.ask(picture.request, [crop] * 3, permit, model))
            await until_async(lambda: core.batcher.waiting() == 3)
            assert core.service.refuse_waiting("queue") == 3
            gate.open()
            assert [answer.code for answer in await task if isinstance(answer, RequestError)] == ["draining"] * 3
        await first


async def test_options_of_crops_are_their_own() -> None:
    with (
        running_core(colour_model(MeanColourEngine())) as core,
        core.service.registry.lease() as model,
        core.admission.permit(Priority.INTERACTIVE) as permit,
    ):
        request = admitted(solid(RED)).request
        request = replace(request, options=replace(request.options, top_k=1))
        crop = Picture(np.zeros((4, 4, 3), np.uint8), image.Size(4, 4))
        (answer,) = await core.service.crops.ask(request, [crop], permit, model)
    assert isinstance(answer, Answer)
    assert len(answer.prediction.labels) == 1
    assert answer.image_size == (4, 4)
