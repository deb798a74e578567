"""A detector with keypoints served: over HTTP, drawn, refused, and from the command line."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from app.vision.drawing import colour_of
from app.wire.prediction import Prediction
from tests.commands.test_cli import roo
from tests.fixtures.place_models import JOINTS, add_arm_model
from tests.fixtures.server import Server, serving
from tests.vision.pictures import file_of

PLACES = {"base": (40, 120), "elbow": (90, 40), "wrist": (200, 40), "tip": (280, 100)}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    add_arm_model(root)
    return root


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    with serving(models) as running:
        yield running


def pictured(*marks: str) -> bytes:
    """320 x 160, letterboxed into a square: marks of an arm."""
    pixels = np.full((160, 320, 3), 128, np.uint8)
    for mark in marks:
        cv2.circle(pixels, PLACES[mark], 12, JOINTS[mark], cv2.FILLED)
    return file_of(pixels, "PNG")


def test_points_are_where_the_picture_has_them(server: Server) -> None:
    with server.client() as client:
        answer = client.post("/v1/predict", content=pictured(*JOINTS)).json()
    assert answer["skeleton"] == [[0, 1], [1, 2], [2, 3]]
    (found,) = Prediction.model_validate(answer).detections or []
    assert [point.name for point in found.keypoints or []] == list(JOINTS)
    for point in found.keypoints or []:
        assert np.hypot(point.x - PLACES[point.name][0], point.y - PLACES[point.name][1]) < 1.5
        assert point.score == 1


def test_points_as_shares_of_the_picture(server: Server) -> None:
    with server.client() as client:
        answer = client.post("/v1/predict", content=pictured(*JOINTS), params={"coordinates": "normalized"}).json()
    points = answer["detections"][0]["keypoints"]
    assert [(point["x"] * 320, point["y"] * 160) for point in points] == [
        pytest.approx(place, abs=1.5) for place in PLACES.values()
    ]


def test_points_of_a_part_of_the_picture_are_the_whole_ones(server: Server) -> None:
    with server.client() as client:
        answer = client.post("/v1/predict", content=pictured(*JOINTS), params={"region": "160,0,160,160"}).json()
    base, _, wrist, tip = answer["detections"][0]["keypoints"]
    assert (base["score"], wrist["score"], tip["score"]) == (0, 1, 1)
    assert (wrist["x"], wrist["y"]) == pytest.approx(PLACES["wrist"], abs=1)
    assert (tip["x"], tip["y"]) == pytest.approx(PLACES["tip"], abs=1)


def test_a_point_that_is_guessed_is_answered_but_not_drawn(server: Server) -> None:
    picture = pictured("base", "wrist", "tip")
    with server.client() as client:
        answer = client.post("/v1/predict", content=picture).json()
        drawn = client.post("/v1/predict", content=picture, headers={"Accept": "image/png"})
    assert [point["score"] for point in answer["detections"][0]["keypoints"]] == [1, 0, 1, 1]
    pixels = np.asarray(Image.open(io.BytesIO(drawn.content)).convert("RGB")).astype(int)
    between = {name: (np.add(PLACES["wrist"], PLACES[name]) / 2).astype(int) for name in ("tip", "base")}
    x, y = between["tip"]  # of the skeleton the line from the wrist to the tip is left
    assert np.abs(pixels[y - 3 : y + 4, x] - colour_of(0)).max(axis=-1).min() < 40
    for name in ("base", "wrist", "tip"):
        assert np.abs(pixels[PLACES[name][1], PLACES[name][0]] - colour_of(0)).max() < 40
    x, y = between["base"]
    assert np.abs(pixels[y - 3 : y + 4, x - 3 : x + 4] - 128).max() == 0


def test_over_the_open_inference_protocol_there_are_boxes_alone(server: Server) -> None:
    data = [base64.b64encode(pictured(*JOINTS)).decode()]
    sent = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "base64"}, "data": data}
    with server.client() as client:
        answer = client.post("/v2/models/arm/infer", json={"inputs": [sent]}).json()
    assert {output["name"]: output["data"] for output in answer["outputs"]}["labels"] == ["arm"]


def test_the_command_line_writes_them_in_every_format(models: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(pictured("base", "elbow", "tip"))
    (tmp_path / "b.png").write_bytes(pictured(*JOINTS))
    out, formats = tmp_path / "out", "coco,yolo,jsonl,csv,drawn"
    named = ("--models-dir", models, "--model", "arm", "--normalized")
    done = roo("predict", tmp_path / "a.png", tmp_path / "b.png", "--out", out, "--format", formats, *named)
    assert done.returncode == 0, done.stderr
    truth = COCO(out / "coco.json")
    (category,) = truth.loadCats(truth.getCatIds())
    assert (category["keypoints"], category["skeleton"]) == (list(JOINTS), [[1, 2], [2, 3], [3, 4]])
    some, whole = truth.loadAnns(truth.getAnnIds())
    assert (some["num_keypoints"], some["keypoints"][6:9], whole["num_keypoints"]) == (3, [0, 0, 0], 4)
    judge = COCOeval(truth, truth.loadRes(str(out / "coco-results.json")), "keypoints")
    judge.params.kpt_oks_sigmas = np.full(len(JOINTS), 0.05)
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == pytest.approx(1)
    numbers = [float(number) for number in (out / "labels" / "b.txt").read_text().split()]
    assert (len(numbers), numbers[7::3]) == (5 + 12, [2, 2, 2, 2])
    assert np.allclose(numbers[5:7], [40 / 320, 120 / 160], atol=0.01)
    assert "kpt_shape:\n- 4\n- 3\n" in (out / "data.yaml").read_text()
    last = json.loads((out / "predictions.jsonl").read_text().splitlines()[1])["prediction"]
    assert last["detections"][0]["keypoints"][0]["x"] == pytest.approx(40 / 320, abs=0.01)
    pixels = np.asarray(Image.open(out / "b.jpg").convert("RGB")).astype(int)
    assert np.abs(pixels[38:43, 145] - colour_of(0)).max(axis=-1).min() < 80  # the line from the elbow to the wrist
