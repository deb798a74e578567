"""Chains: each crop's answer in its place, in batches with everybody's crops, within the request's time and rights."""

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.core.admission import Budget
from app.core.request import Deadline, InferenceRequest, InferenceResult, Priority
from app.engines.base import Array
from app.errors import DeadlineExceeded, Draining, EngineFailure, ModelNotFound
from app.telemetry import metrics
from app.vision import image
from app.vision.tasks import Options
from app.wire.prediction import Prediction
from app.wire.telling import to_wire
from tests.fixtures.chains import (
    ONE_STEP,
    SIDE,
    CellsEngine,
    cell_box,
    cells,
    cells_model,
    chain,
    colours_in,
    expected,
    input_boxes,
    lit,
)
from tests.fixtures.engines import Gate, MeanColourEngine, shows
from tests.fixtures.pictures import Colour
from tests.fixtures.service import ROOMY, Running, ask, colour_model, running_core, seen_colour
from tests.fixtures.waiting import until_async
from tests.vision.pictures import file_of

NONE = Budget(0, 0, 0)
bright = st.tuples(st.integers(80, 255), st.integers(0, 255), st.integers(0, 255))


def request(colours: Mapping[int, Colour], seconds: float = 20.0, **fields: Any) -> InferenceRequest:
    """A request to the chain for a picture of such cells."""
    return InferenceRequest(cells(colours), "chained", model="chain", deadline=Deadline.after(seconds), **fields)


def decoded(content: bytes) -> NDArray[np.uint8]:
    """The pixels of a picture."""
    return image.decode(content, image.read_header(content)).pixels.copy()


def core_of(steps: Mapping[str, Mapping[str, Any]], *models: Any, **options: Any) -> Any:
    """A core with these models and a chain."""
    return running_core(*models, chains=[chain(steps)], **options)


async def answer(core: Running, colours: Mapping[int, Colour], **fields: Any) -> dict[str, Any]:
    """The chain's answer as it is told, which its documented shape must take."""
    told = to_wire(await core.infer(request(colours, **fields)))
    Prediction.model_validate(told)
    return told


@settings(max_examples=25, deadline=None)
@given(
    pictures=st.lists(st.lists(bright, max_size=16), min_size=1, max_size=6),
    lanes=st.integers(1, 3),
    sizes=st.tuples(st.integers(1, 4), st.integers(1, 7)),
    places=st.sampled_from([1000, 12, 9]),
)
def test_every_crop_of_every_request_gets_its_own_answer(
    pictures: list[list[Colour]], lanes: int, sizes: tuple[int, int], places: int
) -> None:
    """Whatever the batches are, however many crops each picture has, and however few places there are."""

    async def answers(core: Running) -> list[InferenceResult]:
        alone = asyncio.create_task(core.infer(ask((0, 255, 0))))
        found = await asyncio.gather(*(core.infer(request(lit(colours))) for colours in pictures))
        assert seen_colour(await alone) == (0, 255, 0)
        return found

    models = [colour_model(MeanColourEngine(), sizes[1]), cells_model(max_batch_size=sizes[0])]
    budget = Budget(places, ROOMY.image_bytes, ROOMY.pixels)
    with core_of(ONE_STEP, *models, lanes=lanes, budget=budget) as core:
        found = asyncio.run(answers(core))
        assert core.admission.used == NONE
    assert [colours_in(to_wire(result)) for result in found] == [expected(lit(colours)) for colours in pictures]


async def test_crops_of_several_requests_share_batches() -> None:
    gate = Gate()
    engine = MeanColourEngine(gate)
    with core_of(ONE_STEP, cells_model(), colour_model(engine, 8), lanes=2) as core:
        first = asyncio.create_task(core.infer(InferenceRequest(cells({}), "alone", model="colour")))
        await until_async(lambda: gate.entered == 1)
        asked = [asyncio.create_task(core.infer(request(lit([(200, level, 0)] * 3)))) for level in (10, 20)]
        await until_async(lambda: core.batcher.waiting() == 6 or gate.entered == 2)
        gate.open()
        for task, level in zip(asked, (10, 20), strict=True):
            assert set(colours_in(to_wire(await task)).values()) == {(200, level, 0)}
        await first
    assert sum(engine.batches) == 7
    assert len(engine.batches) < 7


async def test_the_answer_says_what_each_step_did() -> None:
    steps = {
        "find": {"model": "cells"},
        "colour": {"on": "find", "model": "colour", "max_crops": 2, "where": {"classes": ["red"], "min_score": 0.5}},
    }
    with core_of(steps, cells_model(), colour_model(MeanColourEngine())) as core:
        colours = {0: (200, 0, 0), 3: (100, 0, 0), 5: (0, 250, 0), 9: (255, 0, 0), 12: (180, 0, 0)}
        told = await answer(core, colours)
    assert (told["model"], told["version"]) == ("chain", "1")
    find, colour = told["chain"]
    assert (find["name"], find["model"], find["crops"]) == ("find", "cells", None)
    assert (colour["name"], colour["model"], colour["version"]) == ("colour", "colour", "1")
    assert colour["crops"] == {"found": 3, "asked": 2, "failed": 0, "limit": 2}
    assert told["timings_ms"]["total"] >= colour["timings_ms"]["total"] > 0
    asked = {tuple(found["box"]) for found in told["detections"] if found["steps"]}
    assert asked == {tuple(cell_box(9)), tuple(cell_box(0))}  # the best two of those that fit
    assert told["detections"][0]["steps"]["colour"]["crop"] == cell_box(9)


async def test_a_chain_that_finds_nothing_asks_nothing() -> None:
    engine = MeanColourEngine()
    with core_of(ONE_STEP, cells_model(), colour_model(engine)) as core:
        told = await answer(core, {})
    assert told["detections"] == []
    assert told["chain"][1]["crops"] == {"found": 0, "asked": 0, "failed": 0, "limit": 32}
    assert engine.batches == []


async def test_a_margin_is_added_and_cut_off_at_the_pictures_edges() -> None:
    steps = {"find": {"model": "cells"}, "colour": {"on": "find", "model": "colour", "margin": 0.5}}
    with core_of(steps, cells_model(), colour_model(MeanColourEngine())) as core:
        told = await answer(core, {0: (255, 0, 0), 5: (0, 255, 0)})
    crops = {tuple(found["box"]): found["steps"]["colour"]["crop"] for found in told["detections"]}
    half = SIDE / 2
    assert crops == {
        tuple(cell_box(0)): [0.0, 0.0, SIDE + half, SIDE + half],
        tuple(cell_box(5)): [SIDE - half, SIDE - half, 2 * SIDE + half, 2 * SIDE + half],
    }


async def test_boxes_without_a_pixel_of_the_picture_are_not_asked_about() -> None:
    boxes = input_boxes()
    boxes[0] = (4, 4, 4, 8)  # no width
    boxes[1] = (100, 100, 120, 120)  # outside
    boxes[2] = (-50, -50, 4, 4)  # half outside: cut off
    with core_of(ONE_STEP, cells_model(CellsEngine(boxes)), colour_model(MeanColourEngine())) as core:
        told = await answer(core, {place: (200, place, 0) for place in range(4)})
    assert told["chain"][1]["crops"]["asked"] == told["chain"][1]["crops"]["found"] == 2
    crops = [found["steps"]["colour"]["crop"] for found in told["detections"] if found["steps"]]
    assert sorted(crops) == [[0.0, 0.0, SIDE, SIDE], cell_box(3)]


async def test_small_things_are_left_out_by_their_shorter_side() -> None:
    steps = {"find": {"model": "cells"}, "colour": {"on": "find", "model": "colour", "where": {"min_size": SIDE}}}
    boxes = input_boxes()
    boxes[1] = (4, 0, 8, 3)
    with core_of(steps, cells_model(CellsEngine(boxes)), colour_model(MeanColourEngine())) as core:
        told = await answer(core, lit([(200, 0, 0)] * 3))
    assert told["chain"][1]["crops"]["found"] == 2


async def test_a_failing_crop_has_its_error_in_its_place_and_the_rest_stands() -> None:
    def before(batch: Array) -> None:
        if shows((200, 0, 7))(batch):
            raise RuntimeError("the engine cannot see this colour")

    colours = lit([(200, 0, 6), (200, 0, 7), (200, 0, 8)])
    with core_of(ONE_STEP, cells_model(), colour_model(MeanColourEngine(before), 8)) as core:
        told = await answer(core, colours)
        assert core.admission.used == NONE
    said = {tuple(found["box"]): found["steps"]["colour"] for found in told["detections"]}
    failed = said.pop(tuple(cell_box(1)))
    assert failed["error"]["code"] == EngineFailure.code
    assert "classes" not in failed
    assert all("error" not in each for each in said.values())
    assert told["chain"][1]["crops"]["failed"] == 1


TWO_DEEP = {
    "find": {"model": "cells"},
    "inner": {"on": "find", "model": "cells", "where": {"classes": ["red"]}},
    "colour": {"on": "inner", "model": "colour", "max_crops": 40},
}


async def test_a_step_looks_at_what_another_found_in_crops() -> None:
    """A red cell is found in the picture, its sixteen parts in it, and each part's colour is told."""
    with core_of(TWO_DEEP, cells_model(), colour_model(MeanColourEngine())) as core:
        told = await answer(core, {5: (220, 0, 0), 6: (0, 200, 0)})
    by_label = {found["label"]: found for found in told["detections"]}
    assert by_label["green"]["steps"] == {}
    parts = by_label["red"]["steps"]["inner"]["detections"]
    left, top = SIDE, SIDE
    edge = SIDE / 4
    places = sorted(part["box"] for part in parts)
    assert places == sorted(
        [left + edge * x, top + edge * y, left + edge * (x + 1), top + edge * (y + 1)]
        for x in range(4)
        for y in range(4)
    )
    assert all(part["steps"]["colour"]["crop"] == part["box"] for part in parts)
    assert {part["steps"]["colour"]["classes"][0]["label"] for part in parts} == {"red"}
    assert told["chain"][2]["crops"] == {"found": 16, "asked": 16, "failed": 0, "limit": 40}


async def test_a_classifier_decides_who_looks_at_the_same_crop_again_and_how_it_is_turned() -> None:
    """The second look sees the crop turned: its upper half, which is brighter, lies at the right then."""
    seen: list[Array] = []
    steps = {
        "find": {"model": "cells"},
        "kind": {"on": "find", "model": "colour"},
        "again": {"on": "kind", "model": "other", "where": {"classes": ["red"]}, "turn": {"red": 90}},
    }
    other = colour_model(MeanColourEngine(lambda batch: seen.extend(np.array(batch))), name="other")
    with core_of(steps, cells_model(), colour_model(MeanColourEngine()), other) as core:
        picture = decoded(cells({4: (140, 0, 0), 8: (0, 240, 0)}))
        picture[SIDE : SIDE + SIDE // 2, :SIDE, 0] = 250
        asked = InferenceRequest(file_of(picture, "PNG"), "turned", model="chain", deadline=Deadline.after(20))
        told = to_wire(await core.infer(asked))
        assert {tuple(found["steps"]) for found in told["detections"]} == {("kind", "again"), ("kind",)}
        assert told["chain"][2]["crops"]["asked"] == 1
    (red,) = (pixels[0] * 255 for pixels in seen)
    assert red[:, -1].min() > 240
    assert red[:, 0].max() < 150


async def test_options_of_the_request_are_the_first_steps_and_coordinates_hold_for_all() -> None:
    with core_of(ONE_STEP, cells_model(), colour_model(MeanColourEngine())) as core:
        wanted = Options(classes=("green",), coordinates="normalized")
        told = await answer(core, {0: (200, 0, 0), 5: (0, 200, 0)}, options=wanted)
    (found,) = told["detections"]
    assert found["label"] == "green"
    assert found["box"] == found["steps"]["colour"]["crop"] == [0.25, 0.25, 0.5, 0.5]


async def test_a_deadline_passes_in_the_middle_and_frees_all() -> None:
    gate = Gate()
    with core_of(ONE_STEP, cells_model(), colour_model(MeanColourEngine(gate))) as core:
        with pytest.raises(DeadlineExceeded):
            await core.infer(request(lit([(200, 0, 0)] * 9), seconds=0.3))
        assert gate.entered == 1
        assert core.admission.used == NONE
        assert core.batcher.waiting() == 0
        gate.open()


async def test_a_caller_who_leaves_frees_what_waits() -> None:
    gate = Gate()
    engine = MeanColourEngine(gate)
    with core_of(ONE_STEP, cells_model(), colour_model(engine, 2)) as core:
        asked = asyncio.create_task(core.infer(request(lit([(200, 0, 0)] * 9))))
        await until_async(lambda: gate.entered == 1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert core.batcher.waiting() == 0
        assert core.admission.used == NONE
        gate.open()
    assert engine.batches == [2]


async def test_what_the_service_takes_back_is_the_whole_requests_error() -> None:
    """A message whose crops were refused at the end is given back whole, not answered in part."""
    gate = Gate()
    with core_of(ONE_STEP, cells_model(), colour_model(MeanColourEngine(gate), 2)) as core:
        asked = asyncio.create_task(core.infer(request(lit([(200, 0, 0)] * 9), source="queue")))
        await until_async(lambda: gate.entered == 1 and core.batcher.waiting() > 0)
        core.service.refuse_waiting("queue")
        gate.open()
        with pytest.raises(Draining):
            await asked
        assert core.admission.used == NONE


async def test_crops_have_their_requests_priority() -> None:
    """Robots' crops wait for a person's picture that came after them."""
    gate = Gate()
    order: list[int] = []

    def note(batch: Array) -> None:
        gate(batch)
        order.extend(np.rint(np.asarray(batch)[:, 0].mean(axis=(1, 2)) * 255).astype(int).tolist())

    with core_of(ONE_STEP, cells_model(), colour_model(MeanColourEngine(note), 1)) as core:
        bulk = asyncio.create_task(core.infer(request(lit([(200, 0, 0)] * 3)), Priority.BULK))
        await until_async(lambda: gate.entered == 1 and core.batcher.waiting(Priority.BULK) == 1)
        person = asyncio.create_task(core.infer(InferenceRequest(cells(lit([(90, 0, 0)] * 16)), "p", model="colour")))
        await until_async(lambda: core.batcher.waiting(Priority.INTERACTIVE) == 1)
        gate.open()
        await asyncio.gather(bulk, person)
    assert order == [200, 90, 200, 200]


async def test_a_model_that_is_taken_away_meanwhile_still_answers() -> None:
    gate = Gate()
    model = colour_model(MeanColourEngine(gate))
    with core_of(ONE_STEP, cells_model(), model) as core:
        asked = asyncio.create_task(core.infer(request(lit([(200, 1, 0)] * 2))))
        await until_async(lambda: gate.entered == 1)
        core.service.registry.replace("colour", [])
        gate.open()
        assert set(colours_in(to_wire(await asked)).values()) == {(200, 1, 0)}
        with pytest.raises(ModelNotFound, match="chain 'chain' asks colour"):
            await core.infer(request({}))


async def test_requests_are_counted_by_chain_and_crops_as_the_models_own_work() -> None:
    def counted() -> list[float]:
        pairs = ((metrics.chains, ("http", "chain", "ok")), (metrics.crops, ("http", "colour", "1", "ok")))
        return [sum(each.value for each in metric.read() if each.labels == labels) for metric, labels in pairs]

    before = counted()
    with core_of(ONE_STEP, cells_model(), colour_model(MeanColourEngine())) as core:
        await core.infer(request(lit([(200, 0, 0)] * 5)))
    after = counted()
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 5]


async def test_a_chain_of_another_version_is_not_there() -> None:
    with (
        core_of(ONE_STEP, cells_model(), colour_model(MeanColourEngine())) as core,
        pytest.raises(ModelNotFound, match="of version 1, not '2'"),
    ):
        await core.infer(request({}, version="2"))
