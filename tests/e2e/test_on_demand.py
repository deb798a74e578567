"""Models that are loaded when they are asked for, and go where another needs the memory."""

import asyncio
import threading
from collections import Counter
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from app.devbus.broker import Broker
from app.settings import Settings
from tests.fixtures.models import add_colour_model, add_numbered_version
from tests.fixtures.pictures import solid
from tests.fixtures.queue import picture, put, results
from tests.fixtures.server import serving
from tests.fixtures.waiting import until

MIB = 2**20
RED = (255, 0, 0)


def predict(client: httpx.Client, name: str, **query: object) -> httpx.Response:
    return client.post(f"/v1/models/{name}/predict", params=query, content=solid(RED))  # type: ignore[arg-type]


def state(client: httpx.Client) -> tuple[list[str], list[str]]:
    told = client.get("/v1/models").json()
    return [model["name"] for model in told["models"]], told["not_loaded"]


def test_a_hundred_models_take_the_memory_of_those_that_are_asked(tmp_path: Path) -> None:
    for number in range(100):
        add_colour_model(tmp_path, f"model-{number}")
    add_colour_model(tmp_path, "held", pinned=True)
    with serving(tmp_path, load="on-demand", default_model="model-7") as server, server.client() as client:
        loaded, away = state(client)
        assert loaded == ["held", "model-7"]
        assert len(away) == 99
        assert client.get("/readyz").status_code == 200
        assert client.post("/v1/predict", content=solid(RED)).json()["model"] == "model-7"
        # All at once, each several times: one load each.
        statuses: list[int] = []

        def ask(number: int) -> None:
            with server.client() as own:
                statuses.append(predict(own, f"model-{number % 10}").status_code)

        asking = [threading.Thread(target=ask, args=(number,)) for number in range(30)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert statuses == [200] * 30
        until(lambda: server.log.count("answers from now on") == 9)
        assert len(state(client)[0]) == 11
        index = client.post("/v2/repository/index").json()
        assert sum(entry["state"] == "READY" for entry in index) == 11
        assert "a request for an answer loads it" in next(e for e in index if e["name"] == "model-50")["reason"]
        assert predict(client, "nowhere").status_code == 404


def test_what_was_not_asked_for_longest_goes_and_comes_back(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        add_numbered_version(tmp_path, 5, name, pinned=name == "d")
    size = sum(file.stat().st_size for file in (tmp_path / "a" / "5").iterdir())
    with serving(tmp_path, load="on-demand", models_memory=5 * size) as server, server.client() as client:
        assert state(client) == (["d"], ["a", "b", "c"])
        for name in ("a", "b", "c", "a"):
            assert predict(client, name).status_code == 200
        assert state(client)[0] == ["a", "b", "c", "d"]
    with serving(tmp_path, load="on-demand", models_memory=int(3.5 * size)) as server, server.client() as client:
        for name, kept in (("a", ["a"]), ("b", ["a", "b"]), ("a", ["a", "b"]), ("c", ["a", "c"]), ("b", ["b", "c"])):
            assert predict(client, name).status_code == 200
            loaded, away = state(client)
            assert loaded == [*kept, "d"]
            assert sorted([*loaded, *away]) == ["a", "b", "c", "d"]
        until(lambda: server.log.count("put away until it is asked for") == 2)
        until(lambda: server.log.count("after it stopped answering") == 2)


def test_models_that_put_each_other_away_answer_all_who_ask(tmp_path: Path) -> None:
    """There is room for one, and both are asked at once: each is loaded for those who wait, and put away after them."""
    add_colour_model(tmp_path)
    for name in ("a", "b"):
        add_numbered_version(tmp_path, 5, name)
    size = sum(file.stat().st_size for file in (tmp_path / "a" / "5").iterdir())
    settings = {"load": "on-demand", "default_model": "colour", "models_memory": int(1.5 * size)}
    with serving(tmp_path, **settings) as server:
        statuses: Counter[tuple[int, str]] = Counter()

        def ask(name: str) -> None:
            with server.client() as own:
                for _ in range(15):
                    answer = predict(own, name)
                    statuses[answer.status_code, answer.json().get("detail", "")] += 1

        asking = [threading.Thread(target=ask, args=(name,)) for name in "abab"]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        assert statuses == {(200, ""): 60}
        assert server.log.count("put away until it is asked for") > 1


def test_what_does_not_fit_is_refused_with_the_figures(tmp_path: Path) -> None:
    add_colour_model(tmp_path)
    add_numbered_version(tmp_path, 1)
    settings = {"load": "on-demand", "models_memory": 2 * MIB, "default_model": "colour", "model_control": "open"}
    with serving(tmp_path, **settings) as server, server.client() as client:
        refused = client.post("/v1/models/numbered/load")
        assert (refused.status_code, refused.json()["code"]) == (422, "cannot_load")
        assert "ROO_MODELS_MEMORY is 2 MiB" in refused.json()["detail"]
        assert "numbered takes 5 MiB" in refused.json()["detail"]
        assert predict(client, "numbered").status_code == 404
        assert predict(client, "colour").status_code == 200


def test_a_model_that_is_broken_is_tried_once_and_told_of(tmp_path: Path) -> None:
    add_colour_model(tmp_path)
    folder = add_colour_model(tmp_path, "cut")
    graph = folder / "1" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:100])
    with serving(tmp_path, load="on-demand", default_model="colour") as server, server.client() as client:
        for _ in range(3):
            asked = predict(client, "cut")
            assert (asked.status_code, asked.json()["code"]) == (404, "model_not_found")
            assert "GET /v1/models says why" in asked.json()["detail"]
        until(lambda: "cannot be served" in server.log)
        assert server.log.count("cannot be served") == 1
        (failed,) = client.get("/v1/models").json()["failed"]
        assert "only the beginning of one" in failed["reason"]


def test_a_pinned_model_that_is_broken_does_not_stop_the_others(tmp_path: Path) -> None:
    add_colour_model(tmp_path)
    (add_colour_model(tmp_path, "held", pinned=True) / "1" / "model.onnx").write_bytes(b"nothing")
    with serving(tmp_path, load="on-demand") as server, server.client() as client:
        assert predict(client, "held").status_code == 404
        assert predict(client, "colour").status_code == 200
        assert [failed["name"] for failed in client.get("/v1/models").json()["failed"]] == ["held"]


def test_who_cannot_wait_for_a_load_is_told_to_come_again(tmp_path: Path) -> None:
    add_colour_model(tmp_path)
    add_numbered_version(tmp_path, 1)
    with serving(tmp_path, load="on-demand", default_model="colour") as server, server.client() as client:
        hurried = predict(client, "numbered", deadline_ms=1)
        assert (hurried.status_code, hurried.json()["code"]) == (503, "overloaded")
        assert hurried.headers["retry-after"] == "1"
        until(lambda: state(client)[0] == ["colour", "numbered"])
        assert predict(client, "numbered").status_code == 200


async def test_messages_and_tensors_load_what_they_name(tmp_path: Path) -> None:
    add_colour_model(tmp_path)
    add_numbered_version(tmp_path, 1)
    add_colour_model(tmp_path, "third")
    async with Broker(["jobs", "results,dedup=600"]) as broker:
        bus = {"servicebus_connection_string": broker.connection_string, "queue": "jobs", "results_queue": "results"}
        with serving(tmp_path, load="on-demand", default_model="colour", queue_model="numbered", **bus) as server:
            await put(broker, [picture(RED, "robot")])
            assert (await results(broker, 1))["robot"]["model"] == "numbered"

            tensor = {"name": "image", "datatype": "FP32", "shape": [1, 3, 16, 16], "data": [0.5] * 768}
            url = f"{server.url}/v2/models/third/infer"
            answer = await asyncio.to_thread(httpx.post, url, json={"inputs": [tensor]}, timeout=20)
            assert answer.json()["model_name"] == "third"


def test_a_bound_needs_a_way_back() -> None:
    with pytest.raises(ValidationError, match="ROO_MODELS_MEMORY goes with ROO_LOAD=on-demand"):
        Settings(models_memory=10)
