"""A segmentation model served: the map and its parts over HTTP, drawn, and from the command line."""

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.vision.segmentation import decode_map
from app.wire.prediction import Prediction
from tests.commands.test_cli import roo
from tests.fixtures.models import add_parts_model
from tests.fixtures.server import Server, serving
from tests.vision.pictures import file_of

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
DOCUMENT = Path(__file__).parents[2] / "docs" / "models.md"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    add_parts_model(root, segmentation={"background": True})
    add_parts_model(root, "middle", input={"size": [16, 16], "resize": "center_crop"})
    return root


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    with serving(models, default_model="parts") as running:
        yield running


@pytest.fixture(scope="module")
def picture() -> bytes:
    """320 x 160: the background's red, with a green quarter on the left and a blue one on the right."""
    pixels = np.full((160, 320, 3), RED, np.uint8)
    pixels[:, :80], pixels[:, 240:] = GREEN, BLUE
    return file_of(pixels, "PNG")


def test_the_answer_lists_the_parts_and_holds_the_map(server: Server, picture: bytes) -> None:
    with server.client() as client:
        answer = client.post("/v1/predict", content=picture).json()
    assert (answer["detections"], answer["classes"], answer["inventory"]) == (None, None, None)
    assert answer["segmentation"]["segments"] == [
        {"label": "green", "class_id": 1, "share": 0.25, "box": [0.0, 0.0, 80.0, 160.0]},
        {"label": "blue", "class_id": 2, "share": 0.25, "box": [240.0, 0.0, 320.0, 160.0]},
    ]
    found = answer["segmentation"]["map"]
    assert (found["width"], found["height"], found["box"]) == (16, 8, [0.0, 0.0, 320.0, 160.0])
    with Image.open(io.BytesIO(base64.b64decode(found["png"]))) as drawn:
        assert (drawn.mode, drawn.size) == ("L", (16, 8))
        assert np.array_equal(np.asarray(drawn), np.tile(np.repeat([1, 0, 0, 2], 4), (8, 1)))


def test_the_documented_lines_read_the_map(server: Server, picture: bytes) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    (block,) = (block for block in blocks if "segmentation" in block)
    with server.client() as client:
        names = {"answer": client.post("/v1/predict", content=picture).json()}
    exec(block, names)
    (class_ids,) = (value for value in names.values() if isinstance(value, np.ndarray))
    assert class_ids.shape == (160, 320)
    assert np.array_equal(class_ids[0], np.repeat([1, 0, 0, 2], 80))


def test_the_documented_example_is_an_answer(server: Server) -> None:
    with server.client() as client:
        _, example = client.get("/openapi.json").json()["components"]["schemas"]["Prediction"]["examples"]
    found = Prediction.model_validate(example).segmentation
    assert found is not None
    assert decode_map(base64.b64decode(found.map.png)).tolist() == [[0, 0, 15, 0], [0, 0, 15, 15]]
    assert found.segments[0].share == 3 / 8


def test_what_the_model_has_not_seen_is_outside_of_the_map(server: Server, picture: bytes) -> None:
    with server.client() as client:
        answer = client.post("/v1/models/middle/predict", content=picture).json()["segmentation"]
    assert answer["map"]["box"] == [80.0, 0.0, 240.0, 160.0]
    assert answer["segments"] == [{"label": "red", "class_id": 0, "share": 0.5, "box": [80.0, 0.0, 240.0, 160.0]}]


def test_the_drawn_answer_is_tinted_where_the_parts_are(server: Server, picture: bytes) -> None:
    with server.client() as client:
        response = client.post("/v1/predict", content=picture, headers={"accept": "image/png"})
    drawn = np.asarray(Image.open(io.BytesIO(response.content)))
    assert drawn.shape == (160, 320, 3)
    assert (drawn[150, 100:220] == RED).all()
    for column in (10, 310):
        assert tuple(drawn[150, column]) not in (RED, GREEN, BLUE)


def test_the_command_line_says_shares_and_draws(models: Path, server: Server, picture: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture)
    here = roo("predict", tmp_path / "a.png", "--models-dir", models, "--model", "parts", "--out", tmp_path / "here")
    assert here.returncode == 0, here.stderr
    assert f"{tmp_path / 'a.png'}: green 25.0%, blue 25.0% (" in here.stdout
    there = roo("predict", tmp_path / "a.png", "--json", "--url", server.url, "--out", tmp_path / "there")
    assert there.returncode == 0, there.stderr
    assert json.loads(there.stdout)["prediction"]["segmentation"]["map"]["width"] == 16
    assert (tmp_path / "here" / "a.jpg").read_bytes() == (tmp_path / "there" / "a.jpg").read_bytes()


def test_a_model_whose_output_does_not_fit_is_said(tmp_path: Path) -> None:
    add_parts_model(tmp_path, labels=["one", "two"])
    add_parts_model(tmp_path, "wrong", segmentation={"layout": "class_map"})
    checked = roo("models", "check", tmp_path)
    assert checked.returncode == 1
    words = " ".join(checked.stdout.split())
    assert "parts version 1: model.yaml: labels: the model scores 3 classes, but the manifest lists 2 labels" in words
    assert "output is [3, 16, 16]; choose layout: logits" in words
