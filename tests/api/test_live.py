"""The console's live figures: one sampler for all pages, none without pages, and no page keeps the service alive."""

import asyncio
import itertools
import json
from typing import Any

import httpx
import pytest

from app.api import live
from app.api.live import Live
from app.errors import Overloaded
from tests.fixtures.pictures import solid
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import until_async


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Live:
    """Figures that say how often they were read."""
    monkeypatch.setattr(live, "EVERY_SECONDS", 0.01)
    numbers = itertools.count()
    return Live(lambda: {"number": next(numbers)})


def number(event: bytes) -> int:
    """Of a sample."""
    return int(json.loads(event.removeprefix(b"data: "))["number"])


async def test_a_hundred_pages_are_told_the_same_by_one_sampler(counted: Live) -> None:
    async def look() -> list[bytes]:
        events = counted.events()
        seen = [await anext(events) for _ in range(5)]
        await events.aclose()
        return seen

    pages = await asyncio.gather(*(look() for _ in range(100)))
    assert max(number(page[-1]) for page in pages) < 10
    assert len({page[2] for page in pages}) == 1
    assert counted.pages == 0
    before = [event async for event in _first(counted, 1)]
    await asyncio.sleep(0.05)
    after = [event async for event in _first(counted, 1)]
    assert number(after[0]) - number(before[0]) <= 2  # nobody looked meanwhile, and nobody counted


async def _first(counted: Live, count: int) -> Any:
    events = counted.events()
    for _ in range(count):
        yield await anext(events)
    await events.aclose()


async def test_pages_are_bounded_and_end_with_the_service(counted: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_PAGES", 1)
    events = counted.events()
    await anext(events)
    with pytest.raises(Overloaded):
        await anext(counted.events())
    counted.close()
    assert [event async for event in events] == []
    assert counted.pages == 0


async def test_a_stream_ends_after_a_while_so_that_its_key_is_looked_at_again(
    counted: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PAGE_SECONDS", 0.05)
    assert [event async for event in counted.events()]
    assert counted.pages == 0


async def test_who_asks_a_service_that_stops_is_shown_nothing_old(counted: Live) -> None:
    events = counted.events()
    await anext(events)
    counted.close()
    assert [event async for event in counted.events()] == []
    await events.aclose()


async def test_figures_that_cannot_be_read_end_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(live, "EVERY_SECONDS", 0.01)
    said = iter([ValueError("broken"), {"number": 1}])

    def sample() -> dict[str, Any]:
        answer = next(said, {"number": 2})
        if isinstance(answer, Exception):
            raise answer
        return answer

    events = Live(sample).events()
    assert (await anext(events)).startswith(b":")
    assert number(await anext(events)) == 1
    assert "cannot be read" in caplog.text
    await events.aclose()


async def test_it_tells_what_metrics_tell_and_a_page_that_leaves_is_forgotten(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=60) as client:
        await client.post("/v1/predict", content=solid((255, 0, 0)))
        async with client.stream("GET", "/console/live") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            line = await anext(answer.aiter_lines())
        said = json.loads(line.removeprefix("data: "))
        assert said["ready"] is True
        assert said["checks"]["models"] == "box, colour"
        assert {model["model"] for model in said["models"]} == {"box", "colour"}
        assert said["flow"]["latency"]["total"][0] > 0
        assert said["core"]["lanes"] >= 1
        await until_async(lambda: "GET /console/live 200" in server.log)
        metrics = (await client.get("/metrics")).text
        assert 'http_route="/console/live"' not in metrics


def test_a_page_does_not_keep_the_service_from_ending(repository: Any) -> None:
    with (
        serving(repository, default_model="colour", grace_period=60) as running,
        running.client() as client,
        client.stream("GET", "/console/live") as answer,
    ):
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        running.terminate()
        assert not any(line and not line.startswith("data: ") for line in lines)
        assert running.wait() == 0
