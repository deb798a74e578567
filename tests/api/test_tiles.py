"""`tiles=`: pictures much larger than a model's input, through a real service."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pycocotools.mask
import pytest
import zxingcpp
from numpy.typing import NDArray

from app.client import Client
from tests.commands.test_cli import roo
from tests.fixtures.bright_squares import add_bright_model
from tests.fixtures.models import add_colour_model, add_parts_model
from tests.fixtures.server import Server, serving
from tests.vision.pictures import file_of

Box = tuple[int, int, int, int]
WIDTH, HEIGHT = 12_000, 1_500
TILES = "512,0.2"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    add_bright_model(root)
    add_bright_model(root, "always", tiles={"size": 256, "overlap": 0.25})
    add_bright_model(root, "masked", masks=True)
    add_bright_model(root, "codes", read_barcodes=True, barcode_labels=["bright"])
    add_parts_model(root)
    add_colour_model(root)
    return root


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    with serving(models, default_model="bright", max_tiles=200) as running:
        yield running


def drawn(size: tuple[int, int], *bright: Box) -> NDArray[np.uint8]:
    """Dark, with bright rectangles."""
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    for x0, y0, x1, y1 in bright:
        pixels[y0:y1, x0:x1] = 255
    return pixels


def post(server: Server, pixels: NDArray[np.uint8], model: str = "bright", **options: Any) -> httpx.Response:
    _, file = cv2.imencode(".png", pixels, (cv2.IMWRITE_PNG_COMPRESSION, 1))
    with server.client() as client:
        return client.post(f"/v1/models/{model}/predict", content=file.tobytes(), params=options)


def ask(server: Server, pixels: NDArray[np.uint8], model: str = "bright", **options: Any) -> Any:
    response = post(server, pixels, model, **options)
    assert response.status_code == 200, response.text
    return response.json()


def near(answer: Any, *wanted: Box, within: float = 8) -> bool:
    found = sorted(found["box"] for found in answer["detections"])
    return len(found) == len(wanted) and bool(np.abs(np.subtract(found, sorted(wanted))).max(initial=0) <= within)


def test_what_is_small_in_a_long_picture_is_found(server: Server) -> None:
    """24 pixels of 12,000 are a quarter of a pixel of the model's input."""
    small = [(37, 12, 61, 36), (5_990, 700, 6_014, 724), (11_976, 1_476, 12_000, 1_500)]
    pixels = drawn((WIDTH, HEIGHT), *small)
    assert ask(server, pixels)["detections"] == []
    answer = ask(server, pixels, tiles=TILES)
    assert near(answer, *small)
    assert answer["tiles"] == 120
    assert answer["image"] == {"width": WIDTH, "height": HEIGHT}


def test_what_is_larger_than_a_tile_is_found_on_the_whole_picture(server: Server) -> None:
    large, small = (2_000, 200, 4_500, 1_300), (8_000, 700, 8_024, 724)
    answer = ask(server, drawn((WIDTH, HEIGHT), large, small), tiles=TILES)
    assert near(answer, large, small, within=60)
    # Without the whole there are its pieces alone, put together.
    pieces = ask(server, drawn((WIDTH, HEIGHT), large, small), tiles=f"{TILES},false")
    assert near(pieces, large, small)


@pytest.mark.parametrize("whole_too", ["true", "false"])
@pytest.mark.parametrize(
    "crossing",
    [
        (480, 100, 560, 180),  # over one seam
        (460, 460, 530, 530),  # where four tiles meet
        (100, 380, 900, 470),  # over three tiles
        (410, 410, 512, 512),  # as large as the overlap
        (0, 0, 600, 600),  # larger than a tile
    ],
)
def test_what_lies_over_seams_is_one_thing(server: Server, crossing: Box, whole_too: str) -> None:
    other = (1_000, 1_000, 1_040, 1_040)
    answer = ask(server, drawn((1_331, 1_331), crossing, other), tiles=f"512,0.2,{whole_too}")
    assert near(answer, crossing, other, within=12)


def test_neighbours_stay_apart(server: Server) -> None:
    """A row of cartons over every seam."""
    row = [(x, 200, x + 90, 300) for x in range(20, 1_850, 110)]
    assert near(ask(server, drawn((1_950, 512), *row), tiles="512,0.25"), *row)


def test_the_manifest_may_want_it_and_a_request_not(server: Server) -> None:
    small = (700, 400, 710, 410)
    pixels = drawn((1_600, 900), small)
    assert near(ask(server, pixels, "always"), small)
    assert ask(server, pixels, "always", tiles="none")["tiles"] is None
    assert ask(server, pixels, "always", tiles="800")["tiles"] == 6
    assert ask(server, pixels[:256, :200], "always")["tiles"] is None


def test_a_part_may_be_divided_too(server: Server) -> None:
    inside, outside = (5_000, 700, 5_024, 724), (1_000, 700, 1_024, 724)
    pixels = drawn((WIDTH, HEIGHT), inside, outside)
    answer = ask(server, pixels, tiles=TILES, region="4500,300,1500,1000")
    assert near(answer, inside)
    assert answer["region"] == [4_500, 300, 6_000, 1_300]
    assert answer["tiles"] == 12
    shares = ask(server, pixels, tiles=TILES, coordinates="normalized")
    boxes = sorted(found["box"] for found in shares["detections"])
    assert np.allclose(np.multiply(boxes, [WIDTH, HEIGHT, WIDTH, HEIGHT]), [outside, inside], atol=8)


def test_codes_are_read_once_from_the_whole_picture(server: Server) -> None:
    pixels = drawn((1_500, 800))
    for x, y, text in ((440, 200, "over a seam"), (1_100, 500, "within a tile")):
        code = zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.DataMatrix).to_image(scale=5)
        square = cv2.cvtColor(np.asarray(code), cv2.COLOR_GRAY2RGB)
        pixels[y - 30 : y + len(square) + 30, x - 30 : x + square.shape[1] + 30] = 255
        pixels[y : y + len(square), x : x + square.shape[1]] = square
    answer = ask(server, pixels, "codes", tiles="512,0.3", score_threshold=0.9)
    assert sorted(answer["inventory"]["texts"]) == ["over a seam", "within a tile"]
    assert ask(server, pixels, "codes", tiles="512,0.3", read_barcodes="false")["inventory"]["texts"] == []


@pytest.mark.parametrize("masks", ["polygon", "rle", "uncompressed_rle", "png"])
def test_masks_are_joined_over_seams(server: Server, masks: str) -> None:
    crossing, other = (460, 300, 740, 400), (1_000, 100, 1_100, 150)
    answer = ask(server, drawn((1_200, 512), crossing, other), "masked", tiles="512,0.2,false", masks=masks)
    assert near(answer, crossing, other)
    if masks == "png":
        boxes = [found["mask"]["box"] for found in answer["detections"]]
        assert np.abs(np.subtract(sorted(boxes), sorted([crossing, other]))).max() <= 12
        return
    for found in answer["detections"]:
        wanted = np.zeros((512, 1_200), np.uint8, order="F")
        x0, y0, x1, y1 = crossing if found["box"][0] < 900 else other
        wanted[y0:y1, x0:x1] = 1
        told = found["mask"]
        if masks == "polygon":
            assert len(told["polygons"]) == 1
            rles = pycocotools.mask.frPyObjects(told["polygons"], 512, 1_200)
        else:
            assert told["size"] == [512, 1_200]
            rles = [pycocotools.mask.frPyObjects(told, 512, 1_200)] if masks == "uncompressed_rle" else [told]
        assert pycocotools.mask.iou(rles, [pycocotools.mask.encode(wanted)], [0])[0, 0] > 0.85


def test_a_reduced_jpeg_is_enough_for_large_tiles(server: Server) -> None:
    small = (3_100, 800, 3_160, 860)
    with server.client() as client:
        file = file_of(drawn((4_000, 1_600), small), "JPEG", quality=90)
        answer = client.post("/v1/predict", content=file, params={"tiles": "1024"}).json()
    assert near(answer, small, within=16)


def test_every_front_says_it(server: Server, tmp_path: Path) -> None:
    small = (700, 400, 712, 412)
    file = file_of(drawn((1_600, 900), small), "PNG")
    (tmp_path / "a.png").write_bytes(file)
    printed = roo("predict", tmp_path / "a.png", "--url", server.url, "--tiles", "256,0.25", "--json")
    assert printed.returncode == 0, printed.stderr
    assert near(json.loads(printed.stdout)["prediction"], small)
    with Client(server.url) as client:
        found = client.predict(file, tiles={"size": 256, "overlap": 0.25, "whole_too": False})
        assert found.tiles == 40
    with server.client() as client:
        form = client.post("/v1/predict", files={"image": file}, data={"tiles": "256"}).json()
        text = base64.b64encode(file).decode()
        listed = {"images": [{"image": text}], "tiles": {"size": 256}}
        body = client.post("/v1/predict", json=listed).json()
        tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [text]}
        call = {"inputs": [{**tensor, "parameters": {"content_type": "base64"}}], "parameters": {"tiles": "256"}}
        oip = client.post("/v2/models/bright/infer", json=call).json()
    assert near(form["results"][0]["prediction"], small)
    assert near(body["results"][0]["prediction"], small)
    outputs = {output["name"]: output["data"] for output in oip["outputs"]}
    assert np.allclose(outputs["boxes"][:4], small, atol=8)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("bright", {"tiles": "0"}, "greater than or equal to 32"),
        ("bright", {"tiles": "-640"}, "greater than or equal to 32"),
        ("bright", {"tiles": "640,1"}, "less than 1"),
        ("bright", {"tiles": "640,-0.1"}, "greater than or equal to 0"),
        ("bright", {"tiles": "640,nan"}, "tiles"),
        ("bright", {"tiles": "640,0.2,true,4"}, "size,overlap,whole_too"),
        ("bright", {"tiles": "all"}, "tiles"),
        ("bright", {"tiles": "64,0.5"}, "at most 200 are looked at"),
        ("bright", {"tiles": "640,0.9999"}, "at most 200 are looked at"),
        ("colour", {"tiles": "640"}, "only what detectors say"),
        ("parts", {"tiles": "640"}, "only what detectors say"),
    ],
)
def test_what_cannot_be_is_refused_in_words(server: Server, model: str, options: dict[str, str], words: str) -> None:
    response = post(server, drawn((3_000, 1_500)), model, **options)
    assert response.status_code == 400
    assert words in response.json()["detail"]


def test_a_deadline_that_all_tiles_together_would_miss_is_not_begun(server: Server) -> None:
    pixels = drawn((WIDTH, HEIGHT), (100, 100, 124, 124))
    ask(server, pixels, tiles=TILES)  # how long tiles take is known now
    assert post(server, pixels, tiles=TILES, deadline_ms=1).status_code in (503, 504)


def test_tiles_are_counted(server: Server) -> None:
    ask(server, drawn((900, 300), (10, 10, 40, 40)), tiles="256,0.25,false")
    with server.client() as client:
        text = client.get("/metrics").text
    assert 'roo_tiles_count{model="bright",version="1"}' in text
    assert 'roo_crops_total{model="bright",outcome="ok",source="http",version="1"}' in text
