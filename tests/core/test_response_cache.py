"""Answers from before: whose they are, how long and how many of them are kept, and what a hit costs nobody."""

import asyncio
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from app.core import response_cache
from app.core.admission import Budget
from app.core.memory_size import held_bytes
from app.core.model import Model
from app.core.request import Caching, InferenceRequest
from app.core.response_cache import ENTRY_BYTES, ResponseCache
from app.engines.base import Array
from app.errors import EngineFailure, InvalidImage, Overloaded
from app.telemetry import metrics
from app.vision.tasks import Options
from tests.fixtures.engines import Gate, MeanColourEngine
from tests.fixtures.pictures import Colour, solid
from tests.fixtures.service import Running, ask, colour_model, running_core, seen_colour
from tests.fixtures.waiting import until_async

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def cached(core: Running, most_bytes: int = 10**6, seconds: float = 60.0, *, per_caller: bool = True) -> ResponseCache:
    core.service.cache = ResponseCache(most_bytes, seconds, per_caller=per_caller)
    return core.service.cache


def asking(colour: Colour, caller: str = "a", **allowed: object) -> InferenceRequest:
    return replace(ask(colour), caching=replace(Caching(caller), **allowed))  # type: ignore[arg-type]


async def is_hit(core: Running, request: InferenceRequest) -> bool:
    result = await core.infer(request)
    assert result.request_id == request.request_id
    return result.age is not None


async def test_the_same_picture_is_computed_once_and_each_gets_its_own_answer() -> None:
    engine = MeanColourEngine()
    with running_core(colour_model(engine)) as core:
        cache = cached(core)
        first = await core.infer(asking(RED))
        second = await core.infer(asking(RED))
        other = await core.infer(asking(GREEN))
        assert [seen_colour(result) for result in (first, second, other)] == [RED, RED, GREEN]
        assert (first.age, other.age) == (None, None)
        assert second.age is not None
        assert second.age >= 0
        assert second.timings.compute == 0
        assert (second.labels, second.image_size) == (first.labels, first.image_size)
        assert second.request_id != first.request_id
        assert len(cache) == 2


async def test_who_says_nothing_of_it_is_answered_anew_and_keeps_nothing() -> None:
    with running_core(colour_model(MeanColourEngine())) as core:
        cache = cached(core)
        assert [(await core.infer(ask(RED))).age for _ in range(2)] == [None, None]
        assert not len(cache)


async def test_what_a_caller_allows_is_kept_to() -> None:
    with running_core(colour_model(MeanColourEngine())) as core:
        cache = cached(core)
        assert not await is_hit(core, asking(RED, max_age=0.0, store=False))
        assert not len(cache)
        assert not await is_hit(core, asking(RED))
        assert not await is_hit(core, asking(RED, max_age=0.0))
        assert not await is_hit(core, asking(RED, max_age=1e-9))
        assert await is_hit(core, asking(RED, max_age=50.0, store=False))
        assert await is_hit(core, asking(RED))


async def test_nobody_gets_what_was_answered_to_another_unless_that_is_wanted() -> None:
    with running_core(colour_model(MeanColourEngine())) as core:
        cached(core)
        assert not await is_hit(core, asking(RED, "key:robots"))
        assert not await is_hit(core, asking(RED, "key:people"))
        assert await is_hit(core, asking(RED, "key:robots"))
        cached(core, per_caller=False)
        assert not await is_hit(core, asking(RED, "key:robots"))
        assert await is_hit(core, asking(RED, "key:people"))


async def test_other_options_and_other_versions_have_answers_of_their_own() -> None:
    with running_core(*(colour_model(MeanColourEngine(), version=version) for version in ("1", "2"))) as core:
        cached(core)
        for version in ("1", "2"):
            assert not await is_hit(core, replace(asking(RED), version=version))
            assert not await is_hit(core, replace(asking(RED), version=version, options=Options(top_k=1)))
            assert await is_hit(core, replace(asking(RED), version=version))
        result = await core.infer(replace(asking(RED), options=Options(top_k=1), version="1"))
        assert len(result.prediction.labels) == 1


async def test_a_model_that_is_loaded_anew_never_answers_from_before() -> None:
    """Of the same name, version and all: what its files, manifest or precision now are, nobody has asked."""
    with running_core(colour_model(MeanColourEngine())) as core:
        cached(core)
        assert not await is_hit(core, asking(RED))
        core.service.registry.replace("colour", [colour_model(MeanColourEngine())])
        assert not await is_hit(core, asking(RED))
        assert await is_hit(core, asking(RED))


async def test_answers_age_and_then_are_computed_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, model = ResponseCache(10**6, 60.0, per_caller=True), colour_model(MeanColourEngine())
    request, caching = ask(RED), Caching("a")
    with running_core(model) as core:
        result = await core.infer(request)
    now = 1000.0
    monkeypatch.setattr(response_cache, "time", SimpleNamespace(monotonic=lambda: now))
    key = await cache.key_of(request, caching, model)
    cache.keep(key, caching, result)
    now += 59.0
    assert cache.find(key, caching, model) is not None
    now += 2.0
    assert cache.find(key, caching, model) is None
    assert (len(cache), cache.held) == (0, 0)


async def test_memory_is_bounded_and_what_was_asked_for_last_stays() -> None:
    with running_core(colour_model(MeanColourEngine())) as core:
        probe = cached(core)
        await core.infer(asking((0, 0, 0)))
        each = probe.held
        cache = cached(core, 10 * each + each // 2)
        colours = [(number, 0, 0) for number in range(30)]
        for colour in colours:
            await core.infer(asking(colour))
            await core.infer(asking(colours[0]))
            assert cache.held <= 10 * each + each // 2
        assert len(cache) == 10
        assert await is_hit(core, asking(colours[0]))
        assert await is_hit(core, asking(colours[-1]))
        assert not await is_hit(core, asking(colours[1]))


async def test_what_alone_is_too_large_is_not_kept() -> None:
    with running_core(colour_model(MeanColourEngine())) as core:
        cache = cached(core, ENTRY_BYTES)
        assert not await is_hit(core, asking(RED))
        assert not await is_hit(core, asking(RED))
        assert (len(cache), cache.held) == (0, 0)


async def test_failures_are_not_kept() -> None:
    class Failing(MeanColourEngine):
        fails = True

        def run(self, *arguments: object) -> object:
            if self.fails:
                raise RuntimeError("no")
            return super().run(*arguments)  # type: ignore[arg-type]

    engine = Failing()
    with running_core(colour_model(engine)) as core:
        cache = cached(core)
        with pytest.raises(EngineFailure):
            await core.infer(asking(RED))
        broken = replace(asking(RED), image=solid(RED)[:-40])
        with pytest.raises((InvalidImage, EngineFailure)):
            await core.infer(broken)
        assert not len(cache)
        engine.fails = False
        assert not await is_hit(core, asking(RED))


async def test_a_hit_takes_no_place_and_no_lane() -> None:
    """Where all places are taken and every lane is stuck, who asks again what was answered is answered."""
    gate, holding = Gate(), []

    def held(rows: Array) -> None:
        if holding:
            gate(rows)

    with running_core(colour_model(MeanColourEngine(held)), budget=Budget(1, 2**30, 10**10)) as core:
        cached(core)
        assert not await is_hit(core, asking(RED))
        holding.append(True)
        stuck = asyncio.create_task(core.infer(asking(GREEN)))
        await until_async(lambda: core.admission.used.pictures == 1)
        assert await is_hit(core, asking(RED))
        with pytest.raises(Overloaded):
            await core.infer(asking(BLUE))
        gate.open()
        assert seen_colour(await stuck) == GREEN


def answered(*outcomes: str) -> float:
    return sum(series.value for series in metrics.requests.read() if not outcomes or series.labels[3] in outcomes)


async def test_hits_are_counted_apart_from_what_a_version_computed() -> None:
    def looked_up() -> dict[str, float]:
        read = metrics.response_cache.read()
        return {series.labels[2]: series.value for series in read if series.labels[0] == "counted"}

    with running_core(colour_model(MeanColourEngine(), name="counted")) as core:
        cached(core)
        before, ok, all_before = looked_up(), answered("ok"), answered()
        for allowed in ({}, {}, {"max_age": 0.0}):
            await core.infer(asking(RED, **allowed))
        after = looked_up()
        assert {name: after[name] - before.get(name, 0) for name in after} == {"miss": 1, "hit": 1, "bypass": 1}
        assert (answered("ok") - ok, answered() - all_before) == (2, 2)


def test_an_answers_memory_is_all_that_it_keeps_alive() -> None:
    whole = np.zeros(10_000, np.float32)
    assert held_bytes(whole) >= 40_000
    assert held_bytes(whole[:2]) >= 40_000  # a view keeps all of it
    assert held_bytes([whole, whole[1:], whole[2:]]) < 42_000
    assert held_bytes({"a": ("x" * 1000, [b"y" * 1000])}) > 2000
    assert held_bytes(np.frombuffer(bytes(5000), np.uint8)) >= 5000
    lengths = [300 + number for number in range(1000)]
    assert sys.getsizeof(lengths) + sum(map(sys.getsizeof, lengths)) <= held_bytes([lengths]) < 45_000
    assert held_bytes([1, "x" * 1000]) > 1000  # not all of it are numbers


async def test_a_large_pictures_digest_is_the_same() -> None:
    cache, model = ResponseCache(10**6, 60.0, per_caller=True), colour_model(MeanColourEngine())
    large = replace(ask(RED), image=bytes(response_cache.LARGE_BYTES + 1))
    key = await cache.key_of(large, Caching("a"), model)
    assert key == await cache.key_of(large, Caching("a"), model)
    assert key != await cache.key_of(replace(large, image=large.image[1:]), Caching("a"), model)
    assert isinstance(model, Model)
