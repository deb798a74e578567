"""`region=`: a part of a picture is asked about, on every front, and told in the whole picture's coordinates."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pycocotools.mask
import pytest
import zxingcpp
from numpy.typing import NDArray
from PIL import Image

from app.client import Client
from tests.commands.test_cli import roo
from tests.fixtures.bright_squares import add_bright_model
from tests.fixtures.models import add_colour_model, add_parts_model
from tests.fixtures.server import Server, serving
from tests.vision.pictures import file_of

INSIDE, OUTSIDE = (410, 230, 440, 270), (100, 100, 160, 140)
REGION = "400,200,200,100"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    add_bright_model(root)
    add_bright_model(root, "masked", masks=True)
    add_bright_model(root, "codes", read_barcodes=True, barcode_labels=["bright"])
    add_parts_model(root)
    add_colour_model(root)
    return root


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    with serving(models, default_model="bright") as running:
        yield running


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.uint8]:
    """800 x 600, dark, with two bright squares."""
    drawn = np.zeros((600, 800, 3), np.uint8)
    for x0, y0, x1, y1 in (INSIDE, OUTSIDE):
        drawn[y0:y1, x0:x1] = 255
    return drawn


def ask(server: Server, content: bytes, status: int = 200, model: str = "bright", **options: Any) -> Any:
    with server.client() as client:
        response = client.post(f"/v1/models/{model}/predict", content=content, params=options)
    assert response.status_code == status, response.text
    return response.json()


def boxes(answer: Any) -> list[list[float]]:
    return [found["box"] for found in answer["detections"]]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_answer_is_the_part_s_in_the_whole_picture_s_coordinates(
    server: Server, pixels: NDArray[np.uint8], kind: str
) -> None:
    whole, part = file_of(pixels, kind), file_of(pixels[200:300, 400:600], kind)
    answer = ask(server, whole, region=REGION)
    assert answer["image"] == {"width": 800, "height": 600}
    assert answer["region"] == [400, 200, 600, 300]
    assert np.abs(np.array(boxes(answer)) - INSIDE).max() < 3
    alone = ask(server, part)
    assert alone["region"] is None
    assert np.allclose(np.add(boxes(alone), [400, 200, 400, 200]), boxes(answer), atol=0.11)
    assert len(boxes(ask(server, whole))) == 2


def test_shares_are_of_the_whole_picture(server: Server, pixels: NDArray[np.uint8]) -> None:
    asked = {"region": "0.5,0.3333333,0.25,0.1666667", "coordinates": "normalized"}
    answer = ask(server, file_of(pixels, "PNG"), **asked)
    assert np.allclose(answer["region"], [0.5, 1 / 3, 0.75, 0.5], atol=1e-6)
    assert np.abs(np.array(boxes(answer)) * [800, 600, 800, 600] - INSIDE).max() < 3


def test_every_way_to_say_it(server: Server, pixels: NDArray[np.uint8]) -> None:
    file = file_of(pixels, "PNG")
    text = base64.b64encode(file).decode()
    expected = boxes(ask(server, file, region=REGION))
    body = {"images": [{"image": text}], "region": [400, 200, 200, 100]}
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [text]}
    call = {"inputs": [{**tensor, "parameters": {"content_type": "base64"}}], "parameters": {"region": REGION}}
    with server.client() as client, Client(server.url) as python:
        form = client.post("/v1/predict", files={"image": file}, data={"region": REGION}).json()
        listed = client.post("/v1/predict", json=body).json()
        oip = client.post("/v2/models/bright/infer", json=call).json()
        found = python.predict(file, region=(400, 200, 200, 100))
    assert boxes(form["results"][0]["prediction"]) == boxes(listed["results"][0]["prediction"]) == expected
    assert found.region == (400, 200, 600, 300)
    outputs = {output["name"]: output["data"] for output in oip["outputs"]}
    assert np.allclose(outputs["boxes"][:4], expected[0], atol=0.1)


def test_the_command_line_says_it_too(server: Server, pixels: NDArray[np.uint8], tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(file_of(pixels, "PNG"))
    asked = ("predict", tmp_path / "a.png", "--url", server.url)
    found = json.loads(roo(*asked, "--region", REGION, "--json").stdout)["prediction"]
    assert np.abs(np.array(boxes(found)) - INSIDE).max() < 3
    shares = json.loads(roo(*asked, "--region", REGION, "--json", "--normalized").stdout)["prediction"]
    assert np.allclose(shares["region"], [0.5, 1 / 3, 0.75, 0.5], atol=1e-6)
    wrong = roo(*asked, "--region", "1,2,3")
    assert wrong.returncode != 0
    assert "--region: is four numbers" in wrong.stderr


@pytest.mark.parametrize("masks", ["polygon", "rle", "uncompressed_rle", "png"])
def test_masks_lie_on_the_whole_picture(server: Server, pixels: NDArray[np.uint8], masks: str) -> None:
    (found,) = ask(server, file_of(pixels, "PNG"), model="masked", region=REGION, masks=masks)["detections"]
    wanted = np.zeros((600, 800), np.uint8, order="F")
    wanted[INSIDE[1] : INSIDE[3], INSIDE[0] : INSIDE[2]] = 1
    told = found["mask"]
    if masks == "polygon":
        rles = pycocotools.mask.frPyObjects(told["polygons"], 600, 800)
    elif masks == "png":
        x0, y0, x1, y1 = (round(edge) for edge in told["box"])
        with Image.open(io.BytesIO(base64.b64decode(told["png"]))) as drawn:
            shown = np.zeros((600, 800), np.uint8, order="F")
            shown[y0:y1, x0:x1] = np.asarray(drawn.resize((x1 - x0, y1 - y0))) > 127
        rles = [pycocotools.mask.encode(shown)]
    else:
        assert told["size"] == [600, 800]
        rles = [pycocotools.mask.frPyObjects(told, 600, 800)] if masks == "uncompressed_rle" else [told]
    assert pycocotools.mask.iou(rles, [pycocotools.mask.encode(wanted)], [0])[0, 0] > 0.8


def test_barcodes_are_read_inside_alone(server: Server) -> None:
    drawn = np.zeros((600, 800, 3), np.uint8)
    for x, text in ((60, "left one"), (460, "right one")):
        code = np.asarray(zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.DataMatrix).to_image(scale=8))
        drawn[150 : 150 + 260, x : x + 260] = 255
        square = cv2.cvtColor(code, cv2.COLOR_GRAY2RGB)[:220, :220]
        drawn[170 : 170 + len(square), x + 20 : x + 20 + square.shape[1]] = square
    answer = ask(server, file_of(drawn, "PNG"), model="codes", region="400,100,400,400", score_threshold=0.5)
    assert answer["inventory"]["texts"] == ["right one"]


def test_a_segmentation_s_map_lies_on_the_part(server: Server) -> None:
    drawn = np.zeros((200, 400, 3), np.uint8)
    drawn[:, :, 0], drawn[:, 300:] = 255, (0, 0, 255)
    answer = ask(server, file_of(drawn, "PNG"), model="parts", region="200,100,200,100")["segmentation"]
    assert answer["map"]["box"] == [200, 100, 400, 200]
    assert [(found["label"], found["share"]) for found in answer["segments"]] == [("red", 0.125), ("blue", 0.125)]
    assert answer["segments"][1]["box"] == [300, 100, 400, 200]


def test_a_classification_is_of_the_part(server: Server, pixels: NDArray[np.uint8]) -> None:
    drawn = pixels.copy()
    drawn[200:300, 400:600] = (0, 0, 255)
    best = ask(server, file_of(drawn, "PNG"), model="colour", region=REGION)["classes"][0]
    assert (best["label"], best["score"]) == ("blue", 1)


def test_what_goes_over_an_edge_ends_there(server: Server, pixels: NDArray[np.uint8]) -> None:
    answer = ask(server, file_of(pixels, "PNG"), region="400,-50,10000,700")
    assert answer["region"] == [400, 0, 800, 600]
    assert len(boxes(answer)) == 1


@pytest.mark.parametrize(
    ("region", "words"),
    [
        ("900,0,10,10", "shows nothing of the picture, which is 800 x 600 pixels"),
        ("-20,0,10,10", "shows nothing of the picture"),
        ("0,0,0,10", "must be above 0"),
        ("0,0,10,-1", "must be above 0"),
        ("1,2,3", "four numbers"),
        ("a,b,c,d", "region"),
        ("nan,0,10,10", "region"),
        ("1e400,0,10,10", "region"),
        ("", "four numbers"),
    ],
)
def test_what_is_no_part_of_the_picture_is_refused(
    server: Server, pixels: NDArray[np.uint8], region: str, words: str
) -> None:
    assert words in json.dumps(ask(server, file_of(pixels, "PNG"), 400, region=region))


def test_the_drawn_answer_is_the_whole_picture(server: Server, pixels: NDArray[np.uint8]) -> None:
    with server.client() as client:
        drawn = client.post(
            "/v1/predict", content=file_of(pixels, "PNG"), params={"region": REGION}, headers={"Accept": "image/png"}
        )
    with Image.open(io.BytesIO(drawn.content)) as picture:
        assert picture.size == (800, 600)
        seen = np.asarray(picture.convert("RGB"))[220:280, 400:450].reshape(-1, 3).astype(int)
        assert (np.ptp(seen, axis=1) > 60).any()
