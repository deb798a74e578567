"""A repository of which something is wrong, served by a real process."""

import subprocess
import sys
from os import environ
from pathlib import Path

import httpx
import pytest

from tests.fixtures.models import add_box_model, add_colour_model, add_embedding_model, save_mean_colour, write_manifest
from tests.fixtures.pictures import solid
from tests.fixtures.server import serving

BROKEN = ["bare", "cut", "misspelt", "unlike", "wide"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model that is as it should be, one whose manifest is wrong, one whose file is, one that does not fit, one
    without a manifest, and one whose numbers its own format cannot hold.
    """
    add_colour_model(tmp_path)
    write_manifest(tmp_path / "misspelt", {"tsak": "detection"})
    add_colour_model(tmp_path, "cut")
    graph = tmp_path / "cut" / "1" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:100])
    add_box_model(tmp_path, "unlike", labels=["one"])
    save_mean_colour(tmp_path / "bare" / "1" / "model.onnx")
    large = {"size": [16, 16], "resize": "stretch", "std": [1e-7] * 3}
    add_embedding_model(tmp_path, "wide", input=large, embedding={"normalize": False, "format": "float16"})
    return tmp_path


@pytest.mark.parametrize("calibrate", ["false", "true"])
def test_broken_models_do_not_stop_the_others(repository: Path, calibrate: str) -> None:
    with serving(repository, calibrate=calibrate) as server, httpx.Client(base_url=server.url) as client:
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["checks"]["models"] == "colour"
        assert (
            ready.json()["checks"]["models not served"] == "bare, cut, misspelt, unlike, wide (GET /v1/models says why)"
        )
        listed = client.get("/v1/models").json()
        assert [model["name"] for model in listed["models"]] == ["colour"]
        reasons = {model["name"]: model["reason"] for model in listed["failed"]}
        assert "only the beginning of one" in reasons["cut"]
        assert "tsak: is not a field" in reasons["misspelt"]
        assert "3 classes, but the manifest lists 1" in reasons["unlike"]
        assert "float16 cannot hold numbers as large as 5.02e+06" in reasons["wide"]
        assert "holds 1/model.onnx but no model.yaml, so it is not served. `roo-vision models add " in reasons["bare"]
        asked = client.post("/v1/models/cut/predict", content=solid((255, 0, 0)))
        assert (asked.status_code, asked.json()["code"]) == (404, "model_not_found")
        assert "GET /v1/models says why" in asked.json()["detail"]
        assert client.post("/v1/models/colour/predict", content=solid((255, 0, 0))).status_code == 200
        # One of five models is left: that does not make it the one that is meant where none is named.
        assert client.post("/v1/predict", content=solid((255, 0, 0))).status_code == 404
        assert 'roo_model_failed{model="cut"} 1.0' in client.get("/metrics").text
        index = {model["name"]: model["state"] for model in client.post("/v2/repository/index").json()}
        assert index == {"colour": "READY", **dict.fromkeys(BROKEN, "UNAVAILABLE")}


@pytest.mark.parametrize(
    ("settings", "names", "head"),
    [
        ({"ROO_STRICT_REPOSITORY": "true"}, BROKEN, "ROO_STRICT_REPOSITORY wants all models"),
        ({"ROO_DEFAULT_MODEL": "cut"}, [], "ROO_DEFAULT_MODEL=cut: "),
    ],
)
def test_the_start_fails_where_that_was_asked_for(
    repository: Path, settings: dict[str, str], names: list[str], head: str
) -> None:
    known = {**environ, "ROO_MODELS_DIR": str(repository), "ROO_PORT": "0", "ROO_CALIBRATE": "false", **settings}
    command = [sys.executable, "-m", "app", "serve"]
    done = subprocess.run(command, env=known, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    told = done.stderr.split("roo-vision: ")[-1]
    assert told.startswith(head)
    assert [name for name in names if f"\n{name}: " in told] == names


def test_where_no_model_is_left_each_is_told(repository: Path) -> None:
    (repository / "colour" / "model.yaml").write_text("task: nonsense")
    known = {**environ, "ROO_MODELS_DIR": str(repository), "ROO_PORT": "0", "ROO_CALIBRATE": "false"}
    command = [sys.executable, "-m", "app", "serve"]
    done = subprocess.run(command, env=known, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    told = done.stderr.split("roo-vision: ")[-1]
    assert told.startswith("None of the models can be served.")
    assert [name for name in ("colour", *BROKEN) if f"\n{name}: " in told] == ["colour", *BROKEN]
