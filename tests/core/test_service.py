"""The one door, with real pictures, real lanes and an engine whose answers prove their input."""

import asyncio
import random
from dataclasses import replace

import numpy as np
import pytest

from app.core.admission import Budget
from app.core.batch_limit import RECOVERY_BATCHES
from app.core.health import Health
from app.core.limits import PictureLimits
from app.core.model import Model
from app.core.registry import Registry
from app.core.request import Priority
from app.core.working_memory import WorkingMemory
from app.engines import devices
from app.engines.base import Array
from app.errors import (
    DeadlineExceeded,
    Draining,
    EngineFailure,
    ImageTooLarge,
    InvalidImage,
    Loading,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
    StartupError,
    UnsupportedImage,
)
from app.telemetry import metrics
from app.vision import image
from tests.fixtures.engines import Gate, MeanColourEngine, mean_colours, shows
from tests.fixtures.pictures import png_header_claiming, solid
from tests.fixtures.service import LIMITS, Running, ask, colour_model, running_core, seen_colour
from tests.fixtures.waiting import until_async

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


async def test_every_caller_gets_the_answer_to_its_own_picture() -> None:
    colours = [(random.randrange(256), random.randrange(256), random.randrange(256)) for _ in range(60)]
    with running_core(colour_model(MeanColourEngine()), lanes=3) as core:
        results = await asyncio.gather(*(core.infer(ask(colour)) for colour in colours))
    assert [seen_colour(result) for result in results] == colours
    assert all(result.image_size == (64, 48) for result in results)
    assert all(result.total >= result.timings.compute for result in results)


async def test_what_arrives_while_a_lane_is_busy_becomes_one_batch() -> None:
    gate = Gate()
    engine = MeanColourEngine(gate)
    with running_core(colour_model(engine)) as core:
        first = asyncio.create_task(core.infer(ask(RED)))
        await until_async(lambda: gate.entered == 1)
        others = [asyncio.create_task(core.infer(ask(BLUE))) for _ in range(4)]
        await until_async(lambda: core.batcher.waiting() == 4)
        gate.open()
        results = await asyncio.gather(first, *others)
    assert engine.batches == [1, 4]
    assert [result.batch_size for result in results] == [1, 4, 4, 4, 4]


async def test_a_picture_that_cannot_be_decoded_fails_alone_before_compute() -> None:
    gate = Gate()
    engine = MeanColourEngine(gate)
    broken = solid(RED, (640, 480), "JPEG")[:2000]
    with running_core(colour_model(engine)) as core:
        first = asyncio.create_task(core.infer(ask(RED)))
        await until_async(lambda: gate.entered == 1)
        tasks = [asyncio.create_task(core.infer(ask(BLUE, image=image))) for image in (None, broken, None)]
        await until_async(lambda: core.batcher.waiting() == 3)
        gate.open()
        good, bad, fine = await asyncio.gather(*tasks, return_exceptions=True)
        await first
    assert isinstance(bad, InvalidImage)
    assert seen_colour(good) == seen_colour(fine) == BLUE  # type: ignore[arg-type]
    assert engine.batches == [1, 2]


async def test_a_failing_batch_is_split_until_only_the_culprit_fails() -> None:
    gate = Gate()
    poison = shows(GREEN)

    def before(batch: Array) -> None:
        gate(batch)
        if poison(batch):
            raise RuntimeError("secret detail of the engine")

    engine = MeanColourEngine(before)
    with running_core(colour_model(engine)) as core:
        first = asyncio.create_task(core.infer(ask(RED)))
        await until_async(lambda: gate.entered == 1)
        tasks = [asyncio.create_task(core.infer(ask(colour))) for colour in (RED, BLUE, GREEN, RED)]
        await until_async(lambda: core.batcher.waiting() == 4)
        gate.open()
        red, blue, green, last = await asyncio.gather(*tasks, return_exceptions=True)
        await first
    assert isinstance(green, EngineFailure)
    assert "secret" not in str(green)
    assert [seen_colour(result) for result in (red, blue, last)] == [RED, BLUE, RED]  # type: ignore[arg-type]
    assert engine.batches == [1, 4, 2, 2, 1, 1]


@pytest.mark.parametrize("rows", [0, 1, 3, 9])
async def test_an_output_of_the_wrong_length_is_an_error_never_a_shifted_row(rows: int) -> None:
    """The engine loses or invents rows for every batch larger than one."""
    gate = Gate()

    def before(batch: Array) -> Array | None:
        gate(batch)
        return None if len(batch) == 1 else np.zeros((rows, 3), np.float32)

    with running_core(colour_model(MeanColourEngine(before))) as core:
        first = asyncio.create_task(core.infer(ask(RED)))
        await until_async(lambda: gate.entered == 1)
        tasks = [asyncio.create_task(core.infer(ask(colour))) for colour in (RED, BLUE, GREEN, RED)]
        await until_async(lambda: core.batcher.waiting() == 4)
        gate.open()
        results = await asyncio.gather(first, *tasks)
    assert [seen_colour(result) for result in results] == [RED, RED, BLUE, GREEN, RED]


async def test_a_single_picture_with_the_wrong_number_of_rows_is_refused() -> None:
    engine = MeanColourEngine(lambda batch: np.concatenate([mean_colours(batch)] * 2))
    with running_core(colour_model(engine)) as core, pytest.raises(EngineFailure):
        await core.infer(ask(RED))


async def test_a_batch_that_does_not_fit_into_memory_is_halved_and_later_ones_are_smaller() -> None:
    gate, gates = Gate(), iter([True])

    def before(batch: Array) -> None:
        if next(gates, False):
            gate(batch)
        if len(batch) > 3:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB.")

    model = colour_model(MeanColourEngine(before), max_batch_size=8)
    with running_core(model) as core:
        first = asyncio.create_task(core.infer(ask(RED)))
        await until_async(lambda: gate.entered == 1)
        colours = (RED, BLUE, GREEN, RED, BLUE, GREEN, RED)
        tasks = [asyncio.create_task(core.infer(ask(colour))) for colour in colours]
        await until_async(lambda: core.batcher.waiting() == 7)
        gate.open()
        results = await asyncio.gather(first, *tasks)
        assert [seen_colour(result) for result in results] == [RED, *colours]
        assert model.max_batch_size in (2, 3)
        assert core.capacity.device_failure is None


async def test_a_lost_device_is_seen_in_liveness_and_readiness() -> None:
    def before(_: Array) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be reported")

    with running_core(colour_model(MeanColourEngine(before))) as core:
        health = Health(core.service.registry, core.executor, core.capacity, devices.choose("cuda", None))
        health.finish_start()
        assert health.live().ok
        assert health.ready().ok
        with pytest.raises(EngineFailure):
            await core.infer(ask(RED))
        assert health.live().checks == {"device": "lost: CUDA error: an illegal memory access was encountered"}
        assert not health.live().ok
        assert not health.ready().ok
        assert "lost" in health.ready().checks["device"]


def test_without_a_model_to_serve_it_is_not_ready() -> None:
    with running_core(colour_model(MeanColourEngine())) as core:
        registry = core.service.registry
        health = Health(registry, core.executor, core.capacity, devices.choose("cpu", None))
        health.finish_start()
        assert (health.ready().ok, health.ready().checks["models"]) == (True, "colour")
        (model,) = registry.put_away("colour")
        assert (health.ready().ok, health.ready().checks["models"]) == (True, "none loaded now; 1 when asked for")
        registry.replace("colour", [])
        assert not health.ready().ok
        assert "none is left" in health.ready().checks["models"]
        registry.add(model)
        assert health.ready().ok


async def test_each_lane_computes_on_its_own_gpu() -> None:
    gates = [Gate(), Gate()]
    engines = [MeanColourEngine(gate) for gate in gates]
    single = colour_model(engines[0])
    model = Model("colour", "1", single.task, single.input_spec, engines, 1, devices.choose("cuda", None, gpus=2))
    with running_core(model, lanes=2) as core:
        tasks = [asyncio.create_task(core.infer(ask(colour))) for colour in (RED, BLUE)]
        await until_async(lambda: [gate.entered for gate in gates] == [1, 1])
        for gate in gates:
            gate.open()
        assert [seen_colour(result) for result in await asyncio.gather(*tasks)] == [RED, BLUE]
    assert [engine.batches for engine in engines] == [[1], [1]]


async def test_a_dead_lane_answers_its_waiters_and_is_replaced() -> None:
    deaths = iter([True])

    def before(_: Array) -> None:
        if next(deaths, False):
            raise SystemExit("the lane dies")

    with running_core(colour_model(MeanColourEngine(before))) as core:
        with pytest.raises(EngineFailure):
            await core.infer(ask(RED))
        assert seen_colour(await core.infer(ask(BLUE))) == BLUE
        health = core.executor.health()
        assert (health.alive, health.restarts) == (1, 1)


async def test_a_computed_answer_does_not_wait_for_a_stuck_lane() -> None:
    first, second = Gate(), Gate()
    gates = iter([first])

    with running_core(colour_model(MeanColourEngine(lambda batch: next(gates, second)(batch)))) as core:
        answered = asyncio.create_task(core.infer(ask(RED)))
        await until_async(lambda: first.entered == 1)
        others = [asyncio.create_task(core.infer(ask(BLUE))) for _ in range(30)]
        await until_async(lambda: core.batcher.waiting() == 30)
        first.open()
        assert seen_colour(await answered) == RED
        assert not any(other.done() for other in others)
        second.open()
        assert all(seen_colour(result) == BLUE for result in await asyncio.gather(*others))


async def test_a_cancelled_caller_frees_its_place_and_harms_nobody() -> None:
    gate = Gate()
    engine = MeanColourEngine(gate)
    with running_core(colour_model(engine), budget=Budget(4, 2**30, 10**10)) as core:
        first = asyncio.create_task(core.infer(ask(RED)))
        await until_async(lambda: gate.entered == 1)
        leaver, stayer = (asyncio.create_task(core.infer(ask(colour))) for colour in (GREEN, BLUE))
        await until_async(lambda: core.batcher.waiting() == 2)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        assert core.admission.used.pictures == 2
        gate.open()
        assert seen_colour(await stayer) == BLUE
        await first
        assert engine.batches == [1, 1]
        assert core.admission.used == Budget(0, 0, 0)


async def test_the_deadline_is_kept_even_while_a_lane_is_stuck() -> None:
    gate = Gate()
    with running_core(colour_model(MeanColourEngine(gate))) as core:
        first = asyncio.create_task(core.infer(ask(RED)))
        await until_async(lambda: gate.entered == 1)
        with pytest.raises(DeadlineExceeded):
            await core.infer(ask(BLUE, seconds=0.05))
        assert core.batcher.waiting() == 0
        gate.open()
        await first


async def test_a_deadline_that_has_passed_is_refused_at_the_door() -> None:
    engine = MeanColourEngine()
    with running_core(colour_model(engine)) as core, pytest.raises(DeadlineExceeded):
        await core.infer(ask(RED, seconds=-1))
    assert engine.batches == []


async def test_overload_is_said_at_the_door_with_when_to_come_back() -> None:
    gate = Gate()
    with running_core(colour_model(MeanColourEngine(gate)), budget=Budget(2, 2**30, 10**10)) as core:
        tasks = [asyncio.create_task(core.infer(ask(RED))) for _ in range(2)]
        await until_async(lambda: core.admission.used.pictures == 2)
        with pytest.raises(Overloaded) as refusal:
            await core.infer(ask(BLUE))
        assert refusal.value.retry_after is not None
        assert refusal.value.retry_after >= 1
        gate.open()
        await asyncio.gather(*tasks)
        assert seen_colour(await core.infer(ask(BLUE))) == BLUE


async def test_robots_cannot_take_the_last_places_from_people() -> None:
    gate = Gate()
    with running_core(colour_model(MeanColourEngine(gate)), budget=Budget(4, 2**30, 10**10)) as core:
        robots = [asyncio.create_task(core.infer(ask(RED), Priority.BULK)) for _ in range(3)]
        await until_async(lambda: core.admission.used.pictures == 3)
        with pytest.raises(Overloaded):
            await core.infer(ask(RED), Priority.BULK)
        person = asyncio.create_task(core.infer(ask(BLUE)))
        await until_async(lambda: core.admission.used.pictures == 4)
        gate.open()
        assert seen_colour(await person) == BLUE
        await asyncio.gather(*robots)


async def test_people_overtake_robots_that_came_before_them() -> None:
    gate = Gate()
    order: list[str] = []

    async def tracked(core: Running, name: str, priority: Priority) -> None:
        await core.infer(ask(RED), priority)
        order.append(name)

    with running_core(colour_model(MeanColourEngine(gate), max_batch_size=1), bulk_share=0.0) as core:
        tasks = [asyncio.create_task(tracked(core, "first", Priority.BULK))]
        await until_async(lambda: gate.entered == 1)
        tasks.append(asyncio.create_task(tracked(core, "robot", Priority.BULK)))
        await until_async(lambda: core.batcher.waiting() == 1)
        tasks.append(asyncio.create_task(tracked(core, "person", Priority.INTERACTIVE)))
        await until_async(lambda: core.batcher.waiting() == 2)
        gate.open()
        await asyncio.gather(*tasks)
    assert order == ["first", "person", "robot"]


async def test_limits_come_before_work() -> None:
    engine = MeanColourEngine()
    limits = PictureLimits(image_bytes=5000, pixels=10_000, timeout=20)
    with running_core(colour_model(engine), limits=limits) as core:
        with pytest.raises(PayloadTooLarge):
            await core.infer(ask(RED, image=b"\xff\xd8" + bytes(5000)))
        with pytest.raises(ImageTooLarge, match="100000 x 100000"):
            await core.infer(ask(RED, image=png_header_claiming(100_000, 100_000)))
        with pytest.raises(UnsupportedImage):
            await core.infer(ask(RED, image=b"GIF89a" + bytes(20)))
    assert engine.batches == []


async def test_unknown_models_and_versions_are_named_with_what_is_there() -> None:
    models = [colour_model(MeanColourEngine(), version=version) for version in ("2", "10")]
    with running_core(*models) as core:
        assert (await core.infer(ask(RED))).version == "10"
        with pytest.raises(ModelNotFound, match="colour"):
            core.service.registry.get("nothing")
        with pytest.raises(ModelNotFound, match="2, 10"):
            core.service.registry.get("colour", "3")
        with pytest.raises(ModelNotFound, match="Model 'colour' has no version '3'"):
            core.service.registry.get(None, "3")


async def test_two_models_share_the_lanes_and_never_a_batch() -> None:
    gate = Gate()
    engines = [MeanColourEngine(gate), MeanColourEngine()]
    models = [colour_model(engine, name=name) for engine, name in zip(engines, ("one", "two"), strict=True)]
    with running_core(*models) as core:
        first = asyncio.create_task(core.infer(ask(RED)))
        await until_async(lambda: gate.entered == 1)
        others = [asyncio.create_task(core.infer(replace(ask(BLUE), model=name))) for name in ("one", "two") * 2]
        await until_async(lambda: core.batcher.waiting() == 4)
        gate.open()
        results = await asyncio.gather(first, *others)
    assert [result.model for result in results] == ["one", "one", "two", "one", "two"]
    assert engines[0].batches == [1, 2]
    assert engines[1].batches == [2]


async def test_stopping_finishes_what_was_taken() -> None:
    gate = Gate()
    with running_core(colour_model(MeanColourEngine(gate))) as core:
        tasks = [asyncio.create_task(core.infer(ask(RED))) for _ in range(6)]
        await until_async(lambda: gate.entered == 1 and core.admission.used.pictures == 6)
        stopping = asyncio.create_task(asyncio.to_thread(core.executor.stop, 20.0))
        await until_async(lambda: core.batcher.closed)
        with pytest.raises(Draining):
            await core.infer(ask(BLUE))
        gate.open()
        assert await stopping
        assert [seen_colour(result) for result in await asyncio.gather(*tasks)] == [RED] * 6


async def test_stopping_without_time_answers_everybody_all_the_same() -> None:
    gate = Gate()
    with running_core(colour_model(MeanColourEngine(gate), max_batch_size=1)) as core:
        tasks = [asyncio.create_task(core.infer(ask(RED))) for _ in range(5)]
        await until_async(lambda: gate.entered == 1 and core.batcher.waiting() == 4)
        assert not await asyncio.to_thread(core.executor.stop, 0.0)
        gate.open()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(result, Draining) for result in results) == 4
    assert sum(not isinstance(result, BaseException) for result in results) == 1


async def test_a_stuck_lane_is_seen() -> None:
    gate = Gate()
    with running_core(colour_model(MeanColourEngine(gate))) as core:
        task = asyncio.create_task(core.infer(ask(RED)))
        await until_async(lambda: core.capacity.stuck() > 0)
        gate.open()
        await task
        await until_async(lambda: core.capacity.stuck() == 0)


async def test_a_queue_too_long_for_the_deadline_is_refused_at_once() -> None:
    gate = Gate()
    model = colour_model(MeanColourEngine(gate), max_batch_size=1)
    with running_core(model) as core:
        core.capacity.learn(model, 5.0)
        tasks = [asyncio.create_task(core.infer(ask(RED))) for _ in range(2)]
        await until_async(lambda: gate.entered == 1 and core.batcher.waiting() == 1)
        with pytest.raises(Overloaded, match="deadline"):
            await core.infer(ask(BLUE, seconds=6))
        gate.open()
        await asyncio.gather(*tasks)


def test_while_models_are_loading_it_says_so_instead_of_not_knowing_them() -> None:
    registry = Registry()
    registry.add(colour_model(MeanColourEngine()))
    with pytest.raises(Loading):
        registry.get("colour")
    registry.complete()
    assert registry.get("colour").name == "colour"


def test_a_default_model_that_is_not_there_is_refused() -> None:
    registry = Registry("nobody")
    registry.add(colour_model(MeanColourEngine()))
    with pytest.raises(StartupError, match="nobody"):
        registry.complete()


async def test_a_person_is_not_refused_for_the_robots_that_wait() -> None:
    gate = Gate()
    model = colour_model(MeanColourEngine(gate), max_batch_size=1)
    with running_core(model) as core:
        core.capacity.learn(model, 0.05)
        robots = [asyncio.create_task(core.infer(ask(RED), Priority.BULK)) for _ in range(100)]
        await until_async(lambda: gate.entered == 1 and core.batcher.waiting() == 99)
        person = asyncio.create_task(core.infer(ask(BLUE, seconds=4)))
        await until_async(lambda: core.batcher.waiting() == 100)
        with pytest.raises(Overloaded, match="deadline"):
            await core.infer(ask(BLUE, seconds=4), Priority.BULK)
        gate.open()
        assert seen_colour(await person) == BLUE
        await asyncio.gather(*robots)


async def test_a_fast_models_picture_waits_for_one_batch_of_a_slow_one_however_many_wait() -> None:
    gate, computed = Gate(), list[str]()

    def engine(name: str) -> MeanColourEngine:
        def before(batch: Array) -> None:
            if not computed:
                gate(batch)
            computed.extend([name] * len(batch))

        return MeanColourEngine(before)

    models = [colour_model(engine(name), max_batch_size=1, name=name) for name in ("slow", "fast")]
    with running_core(*models) as core:
        for model, seconds in zip(models, (2.0, 0.01), strict=True):
            core.capacity.learn(model, seconds)
        slow = [asyncio.create_task(core.infer(replace(ask(RED), model="slow"))) for _ in range(20)]
        await until_async(lambda: gate.entered == 1 and core.batcher.waiting() == 19)
        fast = [asyncio.create_task(core.infer(replace(ask(BLUE, seconds=15), model="fast"))) for _ in range(20)]
        await until_async(lambda: core.batcher.waiting() == 39)
        gate.open()
        await asyncio.gather(*slow, *fast)
    assert computed[:21] == ["slow"] + ["fast"] * 20


async def test_a_defect_is_an_outcome_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(image, "read_header", broken)
    with running_core(colour_model(MeanColourEngine(), name="defective")) as core, pytest.raises(ZeroDivisionError):
        await core.infer(ask(RED))
    outcomes = [point.labels for point in metrics.requests.read() if "defective" in point.labels]
    assert outcomes == [("http", "defective", "1", "defect")]


async def test_a_lowered_limit_recovers_where_memory_suffices_for_long() -> None:
    model = colour_model(MeanColourEngine(), max_batch_size=8)
    model.limit.lower(4)
    assert model.max_batch_size == 2
    for _ in range(RECOVERY_BATCHES):
        model.limit.note_fitted(1)
    assert model.max_batch_size == 2  # they were not full
    for _ in range(2 * RECOVERY_BATCHES):
        model.limit.note_fitted(model.max_batch_size)
    assert (model.max_batch_size, model.limit.reason) == (8, "the manifest's")
    for _ in range(2):
        model.limit.lower(4)
    for _ in range(2 * RECOVERY_BATCHES - 1):
        model.limit.note_fitted(2)
    assert model.max_batch_size == 2  # twice as long as before, memory having been short again
    model.limit.note_fitted(2)
    assert model.max_batch_size == 4


async def test_what_takes_more_memory_to_decode_than_there_is_is_refused_at_the_door() -> None:
    model = colour_model(MeanColourEngine())
    model.memory = WorkingMemory(8 << 20)
    with running_core(model, limits=replace(LIMITS, pixels=10**9)) as core:
        with pytest.raises(ImageTooLarge, match="MiB of memory"):
            await core.infer(ask(RED, image=png_header_claiming(9000, 9000)))
        assert core.admission.used == Budget(0, 0, 0)


async def test_pictures_wait_for_memory_to_decode_them() -> None:
    model = colour_model(MeanColourEngine(), max_batch_size=1)
    model.memory = WorkingMemory(64 << 20)
    with running_core(model) as core:
        with model.memory.hold(64 << 20):
            asked = asyncio.create_task(core.infer(ask(RED)))
            await until_async(model.memory._turn.locked)
            assert not asked.done()
        assert seen_colour(await asked) == RED


async def test_a_large_jpeg_that_is_decoded_reduced_is_taken() -> None:
    with running_core(colour_model(MeanColourEngine()), limits=replace(LIMITS, pixels=300_000)) as core:
        picture = solid(RED, (1200, 900), "JPEG")
        assert seen_colour(await core.infer(ask(RED, image=picture)))[0] > 250
        with pytest.raises(ImageTooLarge, match="pixels"):
            await core.infer(ask(RED, image=solid(RED, (1200, 900))))
        with pytest.raises(ImageTooLarge, match="pixels"):  # its coded data would take a lane too long
            await core.infer(ask(RED, image=solid(RED, (1300, 1000), "JPEG")))


async def test_a_side_longer_than_the_decoder_takes_is_told_so() -> None:
    limits = replace(LIMITS, pixels=10**7)
    with (
        running_core(colour_model(MeanColourEngine()), limits=limits) as core,
        pytest.raises(ImageTooLarge, match="side"),
    ):
        await core.infer(ask(RED, image=png_header_claiming(1_000_001, 1)))
