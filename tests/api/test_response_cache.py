"""The response cache from outside: a real service, its header fields, its callers, a model that is loaded anew."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.api import caching
from app.core.request import Caching
from tests.fixtures.models import add_box_model, add_versions, save_dimmed_colour
from tests.fixtures.pictures import Colour, solid
from tests.fixtures.server import Server, serving

RED, GREEN = (255, 0, 0), (0, 255, 0)
ROBOTS, PEOPLE = "robots-key-0123456789abcdef", "people-key-0123456789abcdef"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    add_versions(root)
    add_box_model(root)
    return root


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    keys = models.parent / "cache-keys"
    keys.write_text(f"robots:{ROBOTS}\npeople:{PEOPLE}\n")
    with serving(
        models,
        default_model="colour",
        auth="keys",
        api_keys_file=keys,
        metrics_open=True,
        response_cache_bytes=2**20,
    ) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        client.headers["X-API-Key"] = ROBOTS
        yield client


def asked(client: httpx.Client, colour: Colour, path: str = "/v1/predict", **headers: str) -> httpx.Response:
    response = client.post(path, content=solid(colour), headers={"Content-Type": "image/png", **headers})
    assert response.status_code == 200, response.text
    return response


def is_hit(response: httpx.Response) -> bool:
    hit = response.headers["Cache-Status"] == "roo-vision; hit"
    assert ("Age" in response.headers) == hit
    return hit


def test_a_hit_says_its_age_and_answers_the_same(client: httpx.Client) -> None:
    first, second = asked(client, (1, 2, 3)), asked(client, (1, 2, 3))
    assert first.headers["Cache-Status"] == "roo-vision; fwd=miss"
    assert second.headers["Cache-Status"] == "roo-vision; hit"
    assert int(second.headers["Age"]) in range(60)
    assert second.json()["classes"] == first.json()["classes"]
    assert second.json()["request_id"] != first.json()["request_id"]
    assert second.json()["timings_ms"]["compute"] == 0


def test_cache_control_is_honoured(client: httpx.Client) -> None:
    assert not is_hit(asked(client, (2, 2, 2), **{"Cache-Control": "no-store"}))
    assert not is_hit(asked(client, (2, 2, 2)))
    assert not is_hit(asked(client, (2, 2, 2), **{"Cache-Control": "no-cache"}))
    assert is_hit(asked(client, (2, 2, 2), **{"Cache-Control": "max-age=60"}))
    assert not is_hit(asked(client, (2, 2, 2), **{"Cache-Control": "max-age=0"}))


def test_other_callers_options_and_versions_miss(client: httpx.Client) -> None:
    assert not is_hit(asked(client, (3, 3, 3)))
    assert not is_hit(asked(client, (3, 3, 3), **{"X-API-Key": PEOPLE}))
    assert not is_hit(asked(client, (3, 3, 3), "/v1/predict?top_k=1"))
    assert not is_hit(asked(client, (3, 3, 3), "/v1/models/colour/versions/1/predict"))
    assert is_hit(asked(client, (3, 3, 3)))


def test_a_form_is_a_hit_where_all_its_pictures_are(client: httpx.Client) -> None:
    def ask(*colours: Colour) -> httpx.Response:
        files = [("image", (f"{number}.png", solid(colour))) for number, colour in enumerate(colours)]
        return client.post("/v1/predict", files=files)

    assert ask((4, 4, 4)).headers["Cache-Status"] == "roo-vision; fwd=miss"
    assert ask((4, 4, 4), (5, 5, 5)).headers["Cache-Status"] == 'roo-vision; fwd=miss; detail="1 of 2 kept"'
    assert is_hit(ask((4, 4, 4), (5, 5, 5)))


def test_a_drawn_picture_is_drawn_anew_of_an_answer_from_before(client: httpx.Client) -> None:
    path = "/v1/models/box/predict"
    drawn = [asked(client, (200, 100, 50), path, Accept="image/png") for _ in range(2)]
    assert [is_hit(response) for response in drawn] == [False, True]
    assert drawn[0].content == drawn[1].content
    assert is_hit(asked(client, (200, 100, 50), path))


def test_the_other_protocols_compute(client: httpx.Client, server: Server) -> None:
    before = asked(client, (6, 6, 6))
    assert not is_hit(before)
    body = {"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": ["no picture"]}]}
    answer = client.post("/v2/models/colour/infer", json=body)
    assert "Cache-Status" not in answer.headers


def test_hits_misses_and_bytes_are_counted(client: httpx.Client) -> None:
    asked(client, (7, 7, 7))
    asked(client, (7, 7, 7))
    text = client.get("/metrics").text
    assert 'roo_response_cache_total{model="colour",outcome="hit",version="2"}' in text
    assert 'roo_response_cache_total{model="colour",outcome="miss",version="2"}' in text
    held = next(line for line in text.splitlines() if line.startswith("roo_response_cache_held_bytes "))
    assert 0 < float(held.split()[1]) <= 2**20


def test_a_model_whose_file_changed_answers_for_itself(tmp_path: Path) -> None:
    """Under the same name and version; and without keys everybody shares the answers."""
    add_versions(tmp_path, versions=("1",))
    with (
        serving(tmp_path, response_cache_bytes=2**20, model_control="open") as server,
        server.client() as client,
    ):
        scores = [asked(client, RED).json()["classes"][0]["score"] for _ in range(2)]
        assert is_hit(asked(client, RED))
        folder = tmp_path / "colour" / "1"
        shutil.rmtree(folder)
        save_dimmed_colour(folder / "model.onnx", 0.25)
        assert client.post("/v2/repository/models/colour/load").status_code == 200
        anew = asked(client, RED)
        assert not is_hit(anew)
        assert anew.json()["classes"][0]["score"] == pytest.approx(scores[0] / 4, abs=1e-3)


def test_without_a_size_nothing_is_kept_and_nothing_said(tmp_path: Path) -> None:
    add_versions(tmp_path, versions=("1",))
    with serving(tmp_path) as server, server.client() as client:
        assert "Cache-Status" not in asked(client, RED).headers
        assert "Cache-Status" not in asked(client, RED).headers


@pytest.mark.parametrize(
    ("said", "max_age", "store"),
    [
        ("", float("inf"), True),
        ("no-cache", 0, True),
        ("No-Store", 0, False),
        ("max-age=30", 30, True),
        ('private, max-age="30"', 30, True),
        ("max-age=soon", 0, True),
        ("max-age", 0, True),
        ("max-age=-1", 0, True),
        ("max-age=30, no-store", 0, False),
        ("only-if-cached", float("inf"), True),
    ],
)
def test_directives_are_read_as_rfc_9111_has_them(said: str, max_age: float, store: bool) -> None:
    headers = [(b"cache-control", said.encode())] if said else []
    assert caching.read(headers, "a") == Caching("a", max_age, store)


def test_several_fields_are_one() -> None:
    headers = [(b"cache-control", b"max-age=30"), (b"accept", b"*/*"), (b"cache-control", b"no-store")]
    assert caching.read(headers, "a") == Caching("a", 0, False)
