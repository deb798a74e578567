"""The real client of Cosmos DB against a stand-in: what is kept, and what each refusal means."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app.errors import RequestError, ResultRefused, ResultsUnavailable, ResultTooLarge
from app.sinks import persistence
from app.sinks.base import Finding
from app.sinks.cosmos import CosmosPlace, CosmosSink
from tests.fixtures.cosmos import KEY, Cosmos, Refusal

BODY = {"request_id": "r1", "robot_id": None, "model": "shelf", "version": "1", "detections": [{"label": "Größe"}]}


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "FIRST_PAUSE", 0.001)


def finding(**fields: object) -> Finding:
    return Finding("abc", json.dumps({**BODY, **fields}).encode(), {})


@asynccontextmanager
async def keeping(cosmos: Cosmos, key: str = KEY) -> AsyncIterator[CosmosSink]:
    sink = CosmosSink(CosmosPlace(f"http://127.0.0.1:{cosmos.port}", "robots", "results"), key)
    try:
        yield sink
    finally:
        await sink.close()


@pytest.mark.parametrize("paths", [("/id",), ("/robot_id",), ("/model",), ("/robot_id", "/id")])
async def test_a_result_is_an_item_and_kept_twice_it_is_still_one(paths: tuple[str, ...]) -> None:
    async with Cosmos(*paths) as cosmos, keeping(cosmos) as sink:
        await sink.check()
        await sink.keep(finding())
        await sink.keep(finding())
        assert list(cosmos.items.values()) == [{**BODY, "id": "abc"}]
        assert cosmos.upserts == 2


async def test_a_container_that_is_partitioned_by_what_results_have_not_is_refused() -> None:
    async with Cosmos("/tenant") as cosmos, keeping(cosmos) as sink:
        with pytest.raises(
            ResultsUnavailable, match=r"partitioned by /tenant, which results have not.*/id, /request_id"
        ):
            await sink.check()
        cosmos.paths = ["/id"]
        await sink.keep(finding())
        assert cosmos.upserts == 1


async def test_throttling_is_waited_for_as_long_as_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Cosmos() as cosmos, keeping(cosmos) as sink:
        await sink.check()
        cosmos.refusals.append(Refusal(429, times=4, headers={"x-ms-retry-after-ms": "10"}))
        await sink.keep(finding())
        assert cosmos.upserts == 1
        cosmos.refusals.append(Refusal(429, headers={"x-ms-retry-after-ms": "60000"}))
        asked = len(cosmos.seen)
        for _ in range(2):
            with pytest.raises(ResultsUnavailable) as caught:
                await sink.keep(finding())
            assert 50 < (caught.value.retry_after or 0) <= 60
        assert len(cosmos.seen) - asked <= 2


@pytest.mark.parametrize("status", [408, 449, 500, 503])
async def test_what_may_pass_is_tried_again(status: int) -> None:
    async with Cosmos() as cosmos, keeping(cosmos) as sink:
        await sink.check()
        cosmos.refusals.append(Refusal(status, times=2))
        await sink.keep(finding())
        assert cosmos.upserts == 1


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (400, ResultRefused, r"answers 400: it will not take this result.*wrong"),
        (413, ResultTooLarge, r"answers 413: the result is too large for an item"),
        (401, ResultsUnavailable, r"answers 401: .*ROO_COSMOS_KEY"),
        (403, ResultsUnavailable, r"answers 403.*wrong"),
        (404, ResultsUnavailable, r"answers 404.*no such database or container"),
    ],
)
async def test_what_will_not_pass_is_said_at_once(status: int, error: type[RequestError], said: str) -> None:
    async with Cosmos() as cosmos, keeping(cosmos) as sink:
        await sink.check()
        asked = len(cosmos.seen)
        cosmos.refusals.append(Refusal(status, message="wrong"))
        with pytest.raises(error, match=said) as caught:
            await sink.keep(finding())
        assert type(caught.value) is error
        assert len(cosmos.seen) - asked <= 3
        cosmos.refusals.clear()
        await sink.keep(finding())
        assert cosmos.upserts == 1


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
async def test_an_item_is_refused_that_is_too_large_for_cosmos_db_itself() -> None:
    async with Cosmos() as cosmos, keeping(cosmos) as sink:
        with pytest.raises(ResultTooLarge):
            await sink.keep(finding(text="x" * 2**21))
        assert not cosmos.items


async def test_what_is_no_number_is_not_stored() -> None:
    async with Cosmos() as cosmos, keeping(cosmos) as sink:
        with pytest.raises(ResultRefused, match="NaN"):
            await sink.keep(finding(score=float("nan")))
        assert not cosmos.seen


async def test_who_is_not_there_is_asked_again_when_it_is(caplog: pytest.LogCaptureFixture) -> None:
    cosmos = Cosmos()
    async with cosmos:
        pass
    async with keeping(cosmos) as sink:
        for call in (sink.check, lambda: sink.keep(finding())):
            with pytest.raises(ResultsUnavailable, match="robots/results does not answer"):
                await call()
        await cosmos.come()
        await sink.keep(finding())
        assert cosmos.upserts == 1
        await cosmos.go()


async def test_no_key_is_logged_or_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with Cosmos() as cosmos, keeping(cosmos) as sink:
            await sink.keep(finding())
            cosmos.keys.clear()
            with pytest.raises(ResultsUnavailable) as caught:
                await sink.keep(finding())
    assert KEY not in caplog.text + str(caught.value)
