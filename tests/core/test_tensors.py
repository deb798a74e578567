"""Callers' own rows: through the same door, lanes and batches as pictures."""

import asyncio

import numpy as np
import pytest

from app.core.admission import Budget
from app.core.model import Model
from app.core.request import Deadline, Priority, TensorRequest, TensorResult
from app.engines.base import Array
from app.errors import DeadlineExceeded, EngineFailure, InvalidRequest, Overloaded, PayloadTooLarge
from app.vision.raw_outputs import RawOutputs
from tests.fixtures.engines import SIZE, Gate, MeanColourEngine, shows
from tests.fixtures.service import CPU, ROOMY, Running, ask, colour_model, running_core, seen_colour
from tests.fixtures.waiting import until_async

RED = (255, 0, 0)


def rows(*levels: float) -> Array:
    """One row for each level, which is also what the engine answers for it."""
    return np.stack([np.full((3, SIZE, SIZE), level, np.float32) for level in levels])


async def infer(core: Running, batch: Array, seconds: float | None = None) -> TensorResult:
    deadline = None if seconds is None else Deadline.after(seconds)
    with core.admission.permit(Priority.INTERACTIVE) as permit:
        return await core.service.infer_tensors(TensorRequest(batch, "tensors", deadline=deadline), permit)


async def test_every_row_is_answered_in_its_place() -> None:
    levels = np.linspace(0, 1, 64, dtype=np.float32)
    with running_core(colour_model(MeanColourEngine()), lanes=3) as core:
        result = await infer(core, rows(*levels))
    assert (result.model, result.version) == ("colour", "1")
    np.testing.assert_allclose(np.stack(result.outputs["scores"])[:, 1], levels, atol=1e-6)


async def test_rows_and_pictures_share_a_batch() -> None:
    gate = Gate()
    engine = MeanColourEngine(gate)
    with running_core(colour_model(engine)) as core:
        first = asyncio.create_task(core.infer(ask(RED)))
        await until_async(lambda: gate.entered == 1)
        picture = asyncio.create_task(core.infer(ask(RED)))
        tensors = asyncio.create_task(infer(core, rows(0.25, 0.5)))
        await until_async(lambda: core.batcher.waiting() == 3)
        gate.open()
        await first
        assert seen_colour(await picture) == RED
        assert [row[0] for row in (await tensors).outputs["scores"]] == [0.25, 0.5]
    assert engine.batches == [1, 3]


async def test_no_rows_are_answered_without_asking_the_engine() -> None:
    engine = MeanColourEngine()
    with running_core(colour_model(engine)) as core:
        result = await infer(core, rows(0.5)[:0])
    assert result.outputs == {"scores": []}
    assert engine.batches == []


@pytest.mark.parametrize(
    "batch", [rows(1).astype(np.float64), rows(1)[0], rows(1)[:, :, :4], np.zeros(3, np.float32)], ids=str
)
async def test_rows_of_another_shape_or_type_are_refused(batch: Array) -> None:
    with running_core(colour_model(MeanColourEngine())) as core:
        with pytest.raises(InvalidRequest, match=r"is float32 of shape \['rows', 3, 8, 8\], not"):
            await infer(core, batch)
        assert core.admission.used.pictures == 0


async def test_a_failing_row_fails_its_request_and_not_its_neighbours() -> None:
    gate = Gate()

    def before(batch: Array) -> None:
        gate(batch)
        if shows(RED)(batch):
            raise RuntimeError("the engine dislikes red")

    red = rows(0.5, 0.5)
    red[1] = np.array([1, 0, 0], np.float32)[:, None, None]
    with running_core(colour_model(MeanColourEngine(before))) as core:
        first = asyncio.create_task(infer(core, rows(0.1)))
        await until_async(lambda: gate.entered == 1)
        bad, good = asyncio.create_task(infer(core, red)), asyncio.create_task(infer(core, rows(0.75)))
        await until_async(lambda: core.batcher.waiting() == 3)
        gate.open()
        with pytest.raises(EngineFailure, match="failed on this row"):
            await bad
        assert (await good).outputs["scores"][0][0] == 0.75
        await first


async def test_the_deadline_ends_the_wait_and_leaves_nothing_queued() -> None:
    gate = Gate()
    with running_core(colour_model(MeanColourEngine(gate))) as core:
        first = asyncio.create_task(infer(core, rows(0.1)))
        await until_async(lambda: gate.entered == 1)
        with pytest.raises(DeadlineExceeded):
            await infer(core, rows(0.2, 0.3, 0.4), seconds=0.05)
        await until_async(lambda: core.batcher.waiting() == 0)
        assert core.admission.used.pictures == 1
        gate.open()
        await first


async def test_each_row_takes_a_place_and_its_outputs_room() -> None:
    with running_core(colour_model(MeanColourEngine()), budget=Budget(4, ROOMY.image_bytes, ROOMY.pixels)) as core:
        with pytest.raises(InvalidRequest, match="has 5 rows; at most 4"):
            await infer(core, rows(*[0.5] * 5))
        with core.admission.permit(Priority.INTERACTIVE) as other:
            other.take_picture(core.service.registry.get(), 0)
            with pytest.raises(Overloaded):
                await infer(core, rows(*[0.5] * 4))
        assert len((await infer(core, rows(*[0.5] * 4))).outputs["scores"]) == 4


async def test_outputs_larger_than_all_room_are_refused_for_good() -> None:
    model = colour_model(MeanColourEngine())
    model.warm_up()
    assert model.row_output_bytes == 12
    small = Budget(100, 40, ROOMY.pixels)
    with running_core(model, budget=small) as core, pytest.raises(PayloadTooLarge, match="Send fewer rows"):
        await infer(core, rows(*[0.5] * 4))


async def test_a_model_of_tensors_alone_refuses_pictures() -> None:
    model = Model("raw", "1", RawOutputs(()), None, [MeanColourEngine()], 4, CPU)
    model.warm_up()
    with running_core(model) as core:
        with pytest.raises(InvalidRequest, match="takes no pictures"):
            await core.infer(ask(RED))
        assert (await infer(core, rows(0.5))).outputs["scores"][0].tolist() == [0.5, 0.5, 0.5]
