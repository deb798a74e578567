"""Embeddings, maps and several labels served: over HTTP in every form, drawn, refused, and from the command line."""

import base64
import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from app.client import Client
from app.wire.prediction import Prediction
from tests.commands.test_cli import roo
from tests.fixtures.models import add_box_model, add_colour_model, add_embedding_model, add_maps_model
from tests.fixtures.server import Server, serving
from tests.vision.pictures import file_of

DOCUMENT = Path(__file__).parents[2] / "docs" / "models.md"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    add_embedding_model(root)
    add_maps_model(root, maps={"unit": "score"})
    add_colour_model(root, "tags", classification={"multi_label": True})
    add_box_model(root)
    (root / "crops").mkdir()
    steps = {"find": {"model": "box"}, **{name: {"model": name, "on": "find"} for name in ("vector", "maps")}}
    (root / "crops" / "pipeline.yaml").write_text(yaml.safe_dump({"steps": steps}))
    return root


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    with serving(models, default_model="vector") as running:
        yield running


@pytest.fixture(scope="module")
def picture() -> bytes:
    """320 x 160: red with blue on the left, violet on the right; letterboxed into a square by the maps' model."""
    pixels = np.full((160, 320, 3), (255, 0, 51), np.uint8)
    pixels[:, 160:] = (255, 0, 255)
    return file_of(pixels, "PNG")


def answered(server: Server, model: str, picture: bytes, **options: str) -> dict[str, Any]:
    with server.client() as client:
        response = client.post(f"/v1/models/{model}/predict", content=picture, params=options)
    assert response.status_code == 200, response.text
    Prediction.model_validate_json(response.text)
    found: dict[str, Any] = response.json()
    return found


def refused(server: Server, model: str, picture: bytes, **options: str) -> str:
    with server.client() as client:
        response = client.post(f"/v1/models/{model}/predict", content=picture, params=options)
    assert response.status_code == 400, response.text
    detail: str = response.json()["detail"]
    return detail


def test_an_embedding_is_numbers_or_bytes_as_a_request_says(server: Server, picture: bytes) -> None:
    answer = answered(server, "vector", picture)
    assert (answer["detections"], answer["classes"], answer["segmentation"], answer["maps"]) == (None,) * 4
    found = answer["embedding"]
    assert (found["dimensions"], found["normalized"], found["format"], found["base64"]) == (3, True, "json", None)
    direction = np.array([1, 0, 0.6]) / np.linalg.norm([1, 0, 0.6])
    assert np.allclose(found["values"], direction, atol=1e-6)
    raw = answered(server, "vector", picture, normalize="false", embedding_format="float32")["embedding"]
    assert (raw["normalized"], raw["values"]) == (False, None)
    assert np.allclose(np.frombuffer(base64.b64decode(raw["base64"]), "<f4"), [1, 0, 0.6], atol=1e-6)
    half = answered(server, "vector", picture, embedding_format="float16")["embedding"]
    assert np.allclose(np.frombuffer(base64.b64decode(half["base64"]), "<f2"), direction, atol=1e-3)


def test_a_map_is_a_png_of_sixteen_bits_that_lies_on_the_picture(server: Server, picture: bytes) -> None:
    red, green, blue = answered(server, "maps", picture)["maps"]
    assert [red["label"], green["label"], blue["label"]] == ["red", "green", "blue"]
    assert (blue["unit"], blue["width"], blue["height"], blue["box"]) == ("score", 16, 8, [0, 0, 320, 160])
    assert (blue["minimum"], blue["maximum"]) == (0.2, 1)
    assert (red["scale"], red["minimum"], green["maximum"]) == (0, 1, 0)
    with Image.open(io.BytesIO(base64.b64decode(blue["png"]))) as drawn:
        numbers = np.asarray(drawn).astype(float) * blue["scale"] + blue["offset"]
    assert np.allclose(numbers, np.repeat([0.2, 1], 8)[None], atol=1e-5)


def test_a_map_is_as_large_as_the_picture_where_that_is_asked_for(server: Server, picture: bytes) -> None:
    (blue,) = answered(server, "maps", picture, classes="blue", map_size="original", coordinates="normalized")["maps"]
    assert (blue["class_id"], blue["width"], blue["height"], blue["box"]) == (2, 320, 160, [0, 0, 1, 1])


def test_the_documented_lines_read_a_vector_and_a_map(server: Server, picture: bytes) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    (vector,) = (block for block in blocks if '"embedding"' in block)
    (numbers,) = (block for block in blocks if '"maps"' in block)
    names: dict[str, Any] = {"answer": answered(server, "vector", picture, embedding_format="float32")}
    exec(vector, names)
    assert np.allclose(np.linalg.norm(names["vector"]), 1)
    names = {"answer": answered(server, "maps", picture, classes="blue")}
    exec(numbers, names)
    assert np.allclose(names["numbers"], np.repeat([0.2, 1], 8)[None], atol=1e-5)


def test_any_number_of_labels_may_be_there(server: Server, picture: bytes) -> None:
    assert [found["label"] for found in answered(server, "tags", picture)["classes"]] == ["red", "blue"]
    assert [found["label"] for found in answered(server, "tags", picture, top_k="1")["classes"]] == ["red"]
    assert answered(server, "tags", picture, classes="green")["classes"] == []
    everything = answered(server, "tags", picture, score_threshold="0")["classes"]
    assert [found["label"] for found in everything] == ["red", "blue", "green"]


def test_what_a_model_cannot_obey_is_refused(server: Server, picture: bytes) -> None:
    assert "normalize cannot be obeyed: the model is a detector" in refused(server, "box", picture, normalize="true")
    assert "map_size" in refused(server, "tags", picture, map_size="model")
    assert "score_threshold" in refused(server, "vector", picture, score_threshold="0.5")
    assert "embedding_format" in refused(server, "maps", picture, embedding_format="float16")
    assert "no class 'violet'" in refused(server, "maps", picture, classes="violet")


def test_a_picture_that_gives_no_vector_fails_alone(server: Server, picture: bytes) -> None:
    black = file_of(np.zeros((16, 16, 3), np.uint8), "PNG")
    with server.client() as client:
        files = [("file", (name, data, "image/png")) for name, data in (("a", black), ("b", picture))]
        bad, good = client.post("/v1/predict", files=files).json()["results"]
    assert bad["error"]["code"] == "invalid_request"
    assert "normalize=false" in bad["error"]["detail"]
    assert good["prediction"]["embedding"]["dimensions"] == 3


@pytest.mark.parametrize("model", ["vector", "maps", "tags"])
def test_each_is_drawn_and_comes_in_parts(server: Server, picture: bytes, model: str) -> None:
    with server.client() as client:
        response = client.post(
            f"/v1/models/{model}/predict", content=picture, headers={"accept": "multipart/mixed, image/png"}
        )
        drawn = client.post(f"/v1/models/{model}/predict", content=picture, headers={"accept": "image/png"})
    assert response.headers["content-type"].startswith("multipart/mixed")
    pixels = np.asarray(Image.open(io.BytesIO(drawn.content)))
    assert pixels.shape == (160, 320, 3)
    assert not np.array_equal(pixels, np.asarray(Image.open(io.BytesIO(picture))))
    assert drawn.content in response.content


def test_the_command_line_says_writes_and_draws(models: Path, server: Server, picture: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture)
    for model, words in (("vector", "3 dimensions, length 1"), ("maps", "blue 0.2 to 1 score"), ("tags", "red 1.00")):
        here, there = tmp_path / f"{model}-here", tmp_path / f"{model}-there"
        asked = ["predict", tmp_path / "a.png", "--model", model, "--format", "drawn,csv,json"]
        local = roo(*asked, "--models-dir", models, "--out", here)
        assert local.returncode == 0, local.stderr
        assert words in local.stdout
        remote = roo(*asked, "--url", server.url, "--out", there)
        assert remote.returncode == 0, remote.stderr
        assert (here / "a.jpg").read_bytes() == (there / "a.jpg").read_bytes()
        assert (here / "predictions.csv").read_text() == (there / "predictions.csv").read_text()
    (row,) = csv.DictReader((tmp_path / "vector-here" / "predictions.csv").read_text().splitlines())
    assert np.allclose(list(map(float, row["values"].split())), [0.8574929, 0, 0.5144958], atol=1e-6)
    rows = list(csv.DictReader((tmp_path / "maps-here" / "predictions.csv").read_text().splitlines()))
    assert [(each["label"], each["minimum"], each["x2"]) for each in rows][2] == ("blue", "0.2", "320.0")


def test_options_of_the_command_line(models: Path, picture: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture)
    asked = ["predict", tmp_path / "a.png", "--json", "--models-dir", models]
    found = json.loads(roo(*asked, "--model", "vector", "--no-l2", "--embedding-format", "float16").stdout)
    vector = found["prediction"]["embedding"]
    assert (vector["normalized"], vector["format"]) == (False, "float16")
    found = json.loads(roo(*asked, "--model", "maps", "--map-size", "original", "--normalized").stdout)
    assert [(each["width"], each["box"]) for each in found["prediction"]["maps"]] == [(320, [0, 0, 1, 1])] * 3
    refused = roo(
        *asked[:2], "--models-dir", models, "--model", "vector", "--format", "coco", "--out", tmp_path / "out"
    )
    assert "--format coco is for detections, but the task of vector is embedding" in refused.stderr


def test_a_manifest_that_does_not_fit_is_said(tmp_path: Path) -> None:
    add_embedding_model(tmp_path, "labelled", labels=["a"])
    add_maps_model(tmp_path, "nameless", labels=["one"])
    add_colour_model(tmp_path, "exclusive", classification={"multi_label": True, "softmax": True})
    checked = roo("models", "check", tmp_path)
    assert checked.returncode == 1
    words = " ".join(checked.stdout.split())
    assert "task is embedding, which has no classes; remove labels" in words
    assert "labels: the model gives 3 maps, but 1 have a name" in words
    assert "multi_label: softmax makes classes exclude each other" in words


def test_a_chain_has_a_vector_and_maps_of_each_crop(server: Server, picture: bytes) -> None:
    (thing,) = answered(server, "crops", picture)["detections"]
    vector, maps = thing["steps"]["vector"]["embedding"], thing["steps"]["maps"]["maps"]
    assert np.allclose(vector["values"], np.array([1, 0, 0.6]) / np.linalg.norm([1, 0, 0.6]), atol=0.01)
    assert [each["label"] for each in maps] == ["red", "green", "blue"]
    assert maps[0]["box"] == thing["steps"]["maps"]["crop"] == [80, 40, 240, 120]


def test_the_client_gives_vectors_and_maps(server: Server, picture: bytes) -> None:
    with Client(server.url) as client:
        found = client.predict(picture, model="vector", embedding_format="float32", normalize=False).embedding
        assert found is not None
        assert np.allclose(np.frombuffer(base64.b64decode(found.base64 or ""), "<f4"), [1, 0, 0.6], atol=1e-6)
        (blue,) = client.predict(picture, model="maps", classes="blue").maps or []
        assert (blue.unit, blue.minimum) == ("score", 0.2)
