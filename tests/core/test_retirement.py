"""A model that stops answering finishes what it has, is closed then and not before, and leaves nothing behind."""

import asyncio
import contextlib
import gc
import threading
import weakref
from collections import Counter

import pytest

from app.core.model import Model
from app.core.registry import Registry
from app.core.request import Priority
from app.core.retirement import Retirement
from app.errors import Loading, ModelNotFound
from app.telemetry import metrics
from tests.fixtures.engines import Gate, MeanColourEngine
from tests.fixtures.service import Running, ask, colour_model, running_core
from tests.fixtures.waiting import PATIENCE, until_async

RED = (255, 0, 0)


def retirement_of(core: Running) -> Retirement:
    return Retirement(core.service.registry, core.batcher, core.executor, core.capacity)


async def test_every_request_is_answered_by_the_version_that_it_met() -> None:
    engines = [MeanColourEngine() for _ in range(31)]
    answered: Counter[str] = Counter()
    with running_core(colour_model(engines[0]), lanes=2) as core:
        retirement, ended = retirement_of(core), False

        async def caller() -> None:
            while not ended:
                result = await core.infer(ask(RED))
                answered[result.version] += 1

        callers = [asyncio.create_task(caller()) for _ in range(8)]
        threads = threading.active_count()
        for number, engine in enumerate(engines[1:], 2):
            before = answered.total()
            await until_async(lambda before=before: answered.total() > before)  # type: ignore[misc]
            retirement.retire(core.service.registry.replace("colour", [colour_model(engine, version=str(number))]))
        ended = True
        await asyncio.gather(*callers)
        assert await asyncio.to_thread(retirement.wait, PATIENCE)
        assert [engine.closed for engine in engines] == [True] * 30 + [False]
        assert threading.active_count() <= threads + 1  # the loop's own, for `to_thread`
        assert len(core.capacity.speeds()) <= 1
    assert sum(sum(engine.batches) for engine in engines) == answered.total()
    assert set(answered) <= {str(number) for number in range(1, 32)}


async def test_a_lane_keeps_a_model_whose_caller_has_gone() -> None:
    gate = Gate()
    old, new = MeanColourEngine(gate), MeanColourEngine()
    with running_core(colour_model(old)) as core:
        retirement = retirement_of(core)
        asked = asyncio.create_task(core.infer(ask(RED)))
        await until_async(lambda: gate.entered == 1)
        asked.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asked
        retirement.retire(core.service.registry.replace("colour", [colour_model(new, version="2")]))
        assert not await asyncio.to_thread(retirement.wait, 0.05)
        assert not old.closed
        gate.open()
        assert await asyncio.to_thread(retirement.wait, PATIENCE)
        assert old.closed
        assert (await core.infer(ask(RED))).version == "2"


async def test_a_lease_keeps_a_model_that_computes_nothing() -> None:
    engine = MeanColourEngine()
    with running_core(colour_model(engine)) as core:
        registry, retirement = core.service.registry, retirement_of(core)
        with registry.lease() as model:
            retirement.retire(registry.replace("colour", [colour_model(MeanColourEngine(), version="2")]))
            assert not await asyncio.to_thread(retirement.wait, 0.05)
            with core.admission.permit(Priority.INTERACTIVE) as permit:
                assert (await core.service.infer(ask(RED), permit, model)).version == "1"
            with pytest.raises(ModelNotFound, match="has no version '1'"):
                registry.get("colour", "1")
        assert await asyncio.to_thread(retirement.wait, PATIENCE)
    assert engine.closed


async def test_nothing_is_left_of_a_closed_model() -> None:
    with running_core(colour_model(MeanColourEngine())) as core:
        retirement = retirement_of(core)
        retirement.retire(core.service.registry.replace("colour", [colour_model(MeanColourEngine(), version="7")]))
        await asyncio.gather(*(core.infer(ask(RED)) for _ in range(20)))
        metrics.model_load_seconds.set(1.0, ("colour", "7"))
        (model,) = core.service.registry
        left = weakref.ref(model)
        gone = core.service.registry.replace("colour", [colour_model(MeanColourEngine(), version="8")])
        gc.collect()
        gc.disable()  # start-up's models are frozen: what is in a cycle would never go
        try:
            retirement.retire(gone)
            del model, gone
            assert await asyncio.to_thread(retirement.wait, PATIENCE)
            await core.infer(ask(RED))
            await until_async(lambda: left() is None)
        finally:
            gc.enable()
        assert ("colour", "7") not in [series.labels for series in metrics.model_load_seconds.read()]


async def test_the_figures_of_a_version_stay_where_another_state_of_it_answers() -> None:
    with running_core(colour_model(MeanColourEngine(), version="9")) as core:
        retirement = retirement_of(core)
        metrics.model_load_seconds.set(1.0, ("colour", "9"))
        retirement.retire(core.service.registry.replace("colour", [colour_model(MeanColourEngine(), version="9")]))
        assert await asyncio.to_thread(retirement.wait, PATIENCE)
        assert ("colour", "9") in [series.labels for series in metrics.model_load_seconds.read()]
        metrics.model_load_seconds.remove(("colour", "9"))


async def test_an_engine_that_cannot_be_closed_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(MeanColourEngine):
        def close(self) -> None:
            raise RuntimeError("no")

    with running_core(colour_model(Stubborn())) as core:
        retirement = retirement_of(core)
        retirement.retire(core.service.registry.replace("colour", []))
        assert await asyncio.to_thread(retirement.wait, PATIENCE)
        with pytest.raises(Loading):
            await core.infer(ask(RED))
    assert "failed to close Model(colour:1" in caplog.text


def test_replacing_shows_all_of_a_change_or_nothing() -> None:
    def states(registry: Registry) -> list[str]:
        return [model.version for model in registry]

    registry = Registry()
    old = [colour_model(MeanColourEngine(), version=version) for version in ("1", "2")]
    for model in old:
        registry.add(model)
    with pytest.raises(Loading):
        registry.get()
    registry.complete()
    reading = iter(registry)
    first: Model = next(reading)
    assert registry.replace("colour", [old[1], colour_model(MeanColourEngine(), version="3")]) == [old[0]]
    assert [first.version, *(model.version for model in reading)] == ["1", "2"]
    assert states(registry) == ["2", "3"]
    registry.fail("colour", "its newest state is broken")
    assert registry.get().version == "3"
    assert registry.is_default("colour")
    registry.mend("colour")
    assert not registry.failures
