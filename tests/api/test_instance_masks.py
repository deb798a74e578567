"""An instance segmenter served: masks over HTTP in every form, drawn, refused, and from the command line."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pycocotools.mask
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from app.vision.drawing import colour_of
from app.wire.prediction import Prediction
from tests.commands.test_cli import roo
from tests.fixtures.models import add_box_model, add_masks_model
from tests.fixtures.server import Server, serving
from tests.vision.pictures import file_of

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
LEFT, RIGHT = [0.0, 0.0, 160.0, 160.0], [160.0, 0.0, 320.0, 160.0]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    add_masks_model(root)
    add_box_model(root)
    return root


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    with serving(models, default_model="masks") as running:
        yield running


@pytest.fixture(scope="module")
def picture() -> bytes:
    """320 x 160: red on the left, blue on the right; letterboxed into a square."""
    pixels = np.full((160, 320, 3), RED, np.uint8)
    pixels[:, 160:] = BLUE
    return file_of(pixels, "PNG")


def masks_of(server: Server, picture: bytes, **options: str) -> list[Any]:
    with server.client() as client:
        response = client.post("/v1/predict", content=picture, params=options)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert Prediction.model_validate(answer).detections is not None
    assert [found["label"] for found in answer["detections"]] == ["red", "green", "blue"]
    return [found["mask"] for found in answer["detections"]]


def corners(ring: list[float]) -> list[float]:
    """The box around an outline."""
    xs, ys = ring[::2], ring[1::2]
    return [min(xs), min(ys), max(xs), max(ys)]


def test_masks_are_outlines_where_nothing_is_said(server: Server, picture: bytes) -> None:
    red, green, blue = masks_of(server, picture)
    assert (green, len(red["polygons"]), len(blue["polygons"])) == ({"polygons": []}, 1, 1)
    assert np.abs(np.array(corners(red["polygons"][0])) - LEFT).max() <= 1
    assert np.abs(np.array(corners(blue["polygons"][0])) - RIGHT).max() <= 1
    shares = masks_of(server, picture, coordinates="normalized")[2]
    assert np.allclose(corners(shares["polygons"][0]), [0.5, 0, 1, 1], atol=0.01)


def test_cocos_own_code_reads_the_run_lengths(server: Server, picture: bytes) -> None:
    for plain, short in zip(
        masks_of(server, picture, masks="uncompressed_rle"), masks_of(server, picture, masks="rle"), strict=True
    ):
        assert plain["size"] == short["size"] == [160, 320]
        assert pycocotools.mask.frPyObjects(plain, 160, 320)["counts"].decode() == short["counts"]
    left = np.zeros((160, 320), np.uint8, order="F")
    left[:, :160] = 1
    found = masks_of(server, picture, masks="rle")[0]
    assert pycocotools.mask.iou([found], [pycocotools.mask.encode(left)], [0])[0, 0] > 0.98


def test_a_mask_as_a_picture_lies_on_its_box(server: Server, picture: bytes) -> None:
    red = masks_of(server, picture, masks="png")[0]
    assert red["box"] == [0, 0, 320, 160]
    with Image.open(io.BytesIO(base64.b64decode(red["png"]))) as drawn:
        assert (drawn.mode, drawn.size) == ("L", (320, 160))
        values = np.asarray(drawn)
    assert (values[:, :158] == 255).all()
    assert not values[:, 162:].any()


def test_without_masks_the_answer_is_a_detectors(server: Server, picture: bytes) -> None:
    with server.client() as client:
        answer = client.post("/v1/predict", content=picture, params={"masks": "none"}).json()
        plain = client.post("/v1/models/box/predict", content=picture, params={"masks": "none"}).json()
        refused = client.post("/v1/models/box/predict", content=picture, params={"masks": "rle"})
        wrong = client.post("/v1/predict", content=picture, params={"masks": "svg"})
    assert answer["detections"][0].keys() == plain["detections"][0].keys()
    assert "mask" not in plain["detections"][0]
    assert (refused.status_code, wrong.status_code) == (400, 400)
    assert "masks cannot be obeyed: the model gives boxes alone" in refused.json()["detail"]


def test_over_the_open_inference_protocol_there_are_boxes_alone(server: Server, picture: bytes) -> None:
    data = [base64.b64encode(picture).decode()]
    sent = {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"content_type": "base64"}, "data": data}
    with server.client() as client:
        answer = client.post("/v2/models/masks/infer", json={"inputs": [sent]}).json()
        refused = client.post("/v2/models/masks/infer", json={"inputs": [sent], "parameters": {"masks": "rle"}})
    found = {output["name"]: output["data"] for output in answer["outputs"]}
    assert (found["labels"], found["count"]) == (["red", "green", "blue"], [3])
    assert refused.status_code == 400
    assert "Over this protocol detections have no masks. Ask /v1/predict for them." in refused.text


def test_masks_are_drawn_in_the_colour_of_their_class(server: Server, picture: bytes) -> None:
    with server.client() as client:
        response = client.post("/v1/predict", content=picture, headers={"Accept": "image/png"})
    pixels = np.asarray(Image.open(io.BytesIO(response.content)).convert("RGB")).astype(int)
    for place, ground, class_id in ((80, RED, 0), (240, BLUE, 2)):
        wanted = (np.array(ground) + colour_of(class_id)) / 2
        assert np.abs(pixels[80, place] - wanted).max() <= 1


@pytest.mark.parametrize("told", ["polygon", "rle", "png"])
def test_the_command_line_writes_them_in_every_format(models: Path, picture: bytes, tmp_path: Path, told: str) -> None:
    (tmp_path / "a.png").write_bytes(picture)
    out = tmp_path / "out"
    formats = "coco,yolo,jsonl,csv,drawn"
    common = ("--models-dir", models, "--model", "masks", "--masks", told)
    done = roo("predict", tmp_path / "a.png", "--out", out, "--format", formats, *common, "--normalized")
    assert done.returncode == 0, done.stderr
    truth = COCO(out / "coco.json")
    results = truth.loadRes(str(out / "coco-results.json"))
    judge = COCOeval(truth, results, "segm")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == pytest.approx(2 / 3)  # its own answers, by way of both files; an empty one overlaps none
    red, green, blue = truth.loadAnns(truth.getAnnIds())
    assert abs(red["area"] - 160 * 160) <= 2 * 160
    assert (green["area"], abs(blue["area"] - red["area"]) <= 4 * 160) == (0, True)
    lines = [line.split() for line in (out / "labels" / "a.txt").read_text().splitlines()]
    assert [line[0] for line in lines] == ["0", "2"]  # of the empty one there is no outline
    assert np.allclose(corners([float(number) for number in lines[1][1:]]), [0.5, 0, 1, 1], atol=0.01)
    prediction = json.loads((out / "predictions.jsonl").read_text())["prediction"]
    mask = prediction["detections"][2]["mask"]
    if told == "polygon":
        assert max(map(max, mask["polygons"])) <= 1
    assert mask.get("box", [0, 0, 1, 1]) == [0, 0, 1, 1]
    pixels = np.asarray(Image.open(out / "a.jpg").convert("RGB")).astype(int)
    assert np.abs(pixels[80, 240] - (np.array(BLUE) + colour_of(2)) / 2).max() <= 8
