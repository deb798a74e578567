"""A detector of turned boxes served: over HTTP, drawn, refused, and from the command line."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from app.vision.drawing import colour_of
from app.vision.oriented_boxes import intersection_over_union
from app.wire.prediction import Prediction
from tests.commands.test_cli import roo
from tests.fixtures.place_models import add_turned_model
from tests.fixtures.server import Server, serving
from tests.vision.pictures import file_of

PARTS = {
    "red": ((90, 50), (120, 40), 20, (255, 0, 0)),
    "green": ((230, 60), (100, 30), -70, (0, 255, 0)),
    "blue": ((150, 125), (90, 40), 0, (0, 0, 255)),
}
"""Centre, length and width, degrees by which each is turned clockwise, and colour."""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    add_turned_model(root, size=160)
    return root


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    with serving(models) as running:
        yield running


@pytest.fixture(scope="module")
def picture() -> bytes:
    """320 x 160, letterboxed into a square: a red, a green and a blue part."""
    pixels = np.full((160, 320, 3), 128, np.uint8)
    for centre, sides, angle, colour in PARTS.values():
        cv2.fillConvexPoly(pixels, cv2.boxPoints((centre, sides, angle)).round().astype(int), colour)
    return file_of(pixels, "PNG")


def found_by(server: Server, picture: bytes, **options: Any) -> dict[str, dict[str, Any]]:
    with server.client() as client:
        response = client.post("/v1/predict", content=picture, params=options)
    assert response.status_code == 200, response.text
    Prediction.model_validate(response.json())
    return {found["label"]: found for found in response.json()["detections"]}


def test_the_corners_go_clockwise_along_the_longer_side_first(server: Server, picture: bytes) -> None:
    answer = found_by(server, picture)
    assert answer.keys() == PARTS.keys()
    for label, (centre, sides, angle, _) in PARTS.items():
        corners = np.array(answer[label]["polygon"]).reshape(4, 2)
        wanted = cv2.boxPoints((centre, sides, angle))
        assert intersection_over_union(corners, wanted) > 0.9, label
        assert answer[label]["angle"] == pytest.approx(angle, abs=3)
        first, second = corners[1] - corners[0], corners[2] - corners[1]
        assert np.hypot(*first) > np.hypot(*second)
        assert first[0] * second[1] - first[1] * second[0] > 0  # clockwise, where y goes down
        assert np.degrees(np.arctan2(first[1], first[0])) == pytest.approx(answer[label]["angle"], abs=0.5)
        assert answer[label]["box"] == pytest.approx([*corners.min(axis=0), *corners.max(axis=0)], abs=0.2)


def test_corners_as_shares_of_the_picture(server: Server, picture: bytes) -> None:
    pixels, shares = (found_by(server, picture, coordinates=each)["red"] for each in ("pixels", "normalized"))
    assert np.allclose(np.array(shares["polygon"]) * ([320, 160] * 4), pixels["polygon"], atol=0.1)
    assert shares["angle"] == pixels["angle"]


def test_a_turned_box_is_drawn_as_it_lies(server: Server, picture: bytes) -> None:
    corners = np.array(found_by(server, picture, classes="red")["red"]["polygon"]).reshape(4, 2)
    with server.client() as client:
        response = client.post(
            "/v1/predict", content=picture, headers={"Accept": "image/png"}, params={"classes": "red"}
        )
    pixels = np.asarray(Image.open(io.BytesIO(response.content)).convert("RGB")).astype(int)
    for x, y in ((corners + np.roll(corners, -1, axis=0)) / 2).astype(int):
        assert np.abs(pixels[y - 1 : y + 2, x - 1 : x + 2] - colour_of(0)).max(axis=-1).min() < 40
    x, y = corners.max(axis=0).astype(int) - 2  # where the upright box would have its corner
    assert np.abs(pixels[y - 1 : y + 2, x - 1 : x + 2] - 128).max() == 0


def test_the_command_line_writes_them_in_every_format(models: Path, picture: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture)
    out, formats = tmp_path / "out", "coco,yolo,jsonl,csv,drawn"
    named = ("--models-dir", models, "--model", "turned", "--normalized")
    done = roo("predict", tmp_path / "a.png", "--out", out, "--format", formats, *named)
    assert done.returncode == 0, done.stderr
    truth = COCO(out / "coco.json")
    told = {truth.cats[one["category_id"]]["name"]: one for one in truth.loadAnns(truth.getAnnIds())}
    for label, (centre, sides, angle, _) in PARTS.items():
        (corners,) = told[label]["segmentation"]
        wanted = cv2.boxPoints((centre, sides, angle))
        assert intersection_over_union(np.array(corners).reshape(4, 2), wanted) > 0.9
        assert told[label]["area"] == pytest.approx(sides[0] * sides[1], rel=0.15)
    lines = [line.split() for line in (out / "labels" / "a.txt").read_text().splitlines()]
    assert {len(line) for line in lines} == {9}
    shares = np.array(lines, float)[:, 1:].reshape(3, 4, 2)
    assert (shares.min(), shares.max()) == (pytest.approx(0.03, abs=0.1), pytest.approx(0.95, abs=0.1))
    prediction = json.loads((out / "predictions.jsonl").read_text())["prediction"]
    assert max(max(found["polygon"]) for found in prediction["detections"]) <= 1.1
    pixels = np.asarray(Image.open(out / "a.jpg").convert("RGB")).astype(int)
    x, y = np.array(told["red"]["segmentation"][0]).reshape(4, 2)[:2].mean(axis=0).astype(int)
    assert np.abs(pixels[y - 1 : y + 2, x - 1 : x + 2] - colour_of(0)).max(axis=-1).min() < 80
