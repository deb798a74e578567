"""Pictures in tiles: what is held, what fails, what waits."""

import asyncio
from dataclasses import replace

import cv2
import numpy as np
import pytest

from app.core.admission import Budget
from app.core.limits import PictureLimits
from app.core.model import Model
from app.core.request import InferenceRequest, InferenceResult, Priority
from app.engines.base import Array, Precision, TensorSpec
from app.errors import DeadlineExceeded, EngineFailure, InvalidRequest, Overloaded
from app.telemetry import metrics
from app.telemetry.instruments import Counter
from app.vision.detection import DetectionSpec, DetectionTask
from app.vision.preprocessing import InputSpec
from app.vision.tasks import Options
from app.vision.tiling import Tiles
from tests.fixtures.engines import Gate
from tests.fixtures.service import CPU, ROOMY, ask, colour_model, running_core
from tests.fixtures.waiting import until_async

SIDE = 64
TILES = Tiles(size=SIDE, overlap=0.25)
ALONE = Tiles(size=SIDE, overlap=0.25, whole_too=False)
LIMITS = PictureLimits(2**20, 10**7, 20.0, 40)
ROUND = [(20, 30, 40, 50), (100, 10, 130, 40), (150, 170, 170, 190)]


class BoxEngine:
    """A detector that finds the box around everything bright in a row, at its true place; `before` sees each batch."""

    name = "fake"
    device = "cpu"
    precision: Precision = "fp32"
    input = TensorSpec("image", np.dtype(np.float32), (None, 3, SIDE, SIDE))
    outputs = (TensorSpec("rows", np.dtype(np.float32), (None, 1, 6)),)

    def __init__(self, before: object = None) -> None:
        self._before = before
        self.rows = 0

    def run(self, batch: Array) -> dict[str, Array]:
        """A row x0, y0, x1, y1, score, class for each picture."""
        if callable(self._before):
            self._before(batch)
        self.rows += len(batch)
        found = np.zeros((len(batch), 1, 6), np.float32)
        for row, picture in zip(found, batch, strict=True):
            x, y, width, height = cv2.boundingRect((np.asarray(picture[0]) > 0.5).astype(np.uint8))
            row[0] = (x, y, x + width, y + height, 0.9 * (width > 0), 0)
        return {"rows": found}

    warm_up = run

    def host_buffer(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> Array:
        """See `Engine.host_buffer`."""
        return np.zeros(shape, dtype)

    def close(self) -> None:
        """Nothing is held."""


def box_model(engine: BoxEngine, max_batch_size: int = 4) -> Model:
    task = DetectionTask(DetectionSpec(decoder="end_to_end"), ("bright",))
    return Model(
        "box", "1", task, InputSpec(size=(SIDE, SIDE), resize="letterbox", pad=0), [engine], max_batch_size, CPU
    )


def picture(*boxes: tuple[int, int, int, int], side: int = 200) -> bytes:
    pixels = np.zeros((side, side, 3), np.uint8)
    for x0, y0, x1, y1 in boxes:
        pixels[y0:y1, x0:x1] = 255
    return cv2.imencode(".png", pixels)[1].tobytes()


def tiled(content: bytes, tiles: Tiles = TILES, seconds: float | None = None) -> InferenceRequest:
    return replace(ask((0, 0, 0), image=content, seconds=seconds), options=Options(tiles=tiles))


def found(result: InferenceResult) -> list[tuple[float, ...]]:
    return sorted(map(tuple, result.prediction.boxes.round().tolist()))


async def test_tiles_of_several_pictures_share_batches_and_each_gets_its_own_things() -> None:
    engine = BoxEngine()
    with running_core(box_model(engine), lanes=2, limits=LIMITS) as core:
        asked = [core.infer(tiled(picture(box), ALONE)) for box in ROUND * 3]
        results = await asyncio.gather(*asked)
        assert core.admission.used == Budget(0, 0, 0)
    assert [found(result) for result in results] == [[tuple(map(float, box))] for box in ROUND * 3]
    assert {result.tiles for result in results} == {16}
    assert engine.rows == 9 * 16


async def test_one_tile_that_fails_fails_the_answer_and_nobody_else() -> None:
    def before(batch: Array) -> None:
        if (batch[:, :, 6, 6] > 0.99).any():
            raise RuntimeError("the engine dislikes that corner")

    with running_core(box_model(BoxEngine(before)), limits=LIMITS) as core:
        bad, good = await asyncio.gather(
            core.infer(tiled(picture((5, 5, 20, 20)))), core.infer(tiled(picture(ROUND[1]))), return_exceptions=True
        )
        assert core.admission.used == Budget(0, 0, 0)
    assert isinstance(bad, EngineFailure)
    assert isinstance(good, InferenceResult)
    assert found(good) == [tuple(map(float, ROUND[1]))]


async def test_pixels_are_held_until_the_tiles_are_answered() -> None:
    gate = Gate()
    with running_core(box_model(BoxEngine(gate)), limits=LIMITS) as core:
        task = asyncio.create_task(core.infer(tiled(picture(ROUND[0]))))
        await until_async(lambda: gate.entered == 1)
        assert core.admission.used.image_bytes == 3 * 200 * 200
        assert core.admission.used.pictures == 8, "two batches of four, of 17 tiles"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert core.admission.used == Budget(0, 0, 0)
        assert core.batcher.waiting() == 0
        gate.open()


async def test_a_full_service_answers_tile_by_tile() -> None:
    budget = Budget(2, ROOMY.image_bytes, ROOMY.pixels)
    with (
        running_core(box_model(BoxEngine()), limits=LIMITS, budget=budget) as core,
        core.admission.permit(Priority.INTERACTIVE) as other,
    ):
        other.take_picture("another", 0)
        assert found(await core.infer(tiled(picture(ROUND[0])))) == [tuple(map(float, ROUND[0]))]


async def test_no_room_for_the_pixels_is_overloaded() -> None:
    budget = Budget(9, 300_000, ROOMY.pixels)
    with (
        running_core(box_model(BoxEngine()), limits=LIMITS, budget=budget) as core,
        core.admission.permit(Priority.INTERACTIVE) as other,
    ):
        other.take_bytes(250_000)
        with pytest.raises(Overloaded):
            await core.infer(tiled(picture(ROUND[0])))


async def test_the_deadline_holds_for_all_tiles_together() -> None:
    gate = Gate()
    with running_core(box_model(BoxEngine(gate)), limits=LIMITS) as core:
        with pytest.raises(DeadlineExceeded):
            await core.infer(tiled(picture(ROUND[0]), seconds=0.2))
        assert core.batcher.waiting() == 0
        gate.open()
        await core.infer(ask((0, 0, 0)))
        await until_async(lambda: core.capacity.seconds(core.service.registry.get()) > 0)
        core.capacity.learn(core.service.registry.get(), 100.0)  # from now on it is known to be slow
        with pytest.raises(Overloaded):
            await core.infer(tiled(picture(ROUND[0]), seconds=5))


async def test_too_many_tiles_are_refused_before_any_work() -> None:
    engine = BoxEngine()
    with running_core(box_model(engine), limits=LIMITS) as core:
        with pytest.raises(InvalidRequest, match="are 49 tiles; at most 40"):
            await core.infer(tiled(picture(side=350)))
        assert engine.rows == 0


async def test_what_cannot_be_put_together_is_refused() -> None:
    with running_core(colour_model(BoxEngine())) as core, pytest.raises(InvalidRequest, match="is classification"):  # type: ignore[arg-type]
        await core.infer(tiled(picture()))


async def test_a_tiled_picture_is_one_request_of_many_crops() -> None:
    def count(counter: Counter) -> float:
        return sum(number.value for number in counter.read() if "box" in number.labels)

    before = count(metrics.requests), count(metrics.crops)
    with running_core(box_model(BoxEngine()), limits=LIMITS) as core:
        result = await core.infer(tiled(picture(ROUND[0]), seconds=20))
    assert (count(metrics.requests) - before[0], count(metrics.crops) - before[1]) == (1, 17)
    assert result.image_size == (200, 200)
    assert result.timings.decode > 0
    assert result.timings.compute > 0
