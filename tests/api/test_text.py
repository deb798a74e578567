"""Models of text served: lines, and what they say, over HTTP and the Open Inference Protocol, drawn, and by command."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands.test_cli import roo
from tests.fixtures.server import Server, serving
from tests.fixtures.text_models import add_text_detector, add_text_recognizer
from tests.vision.pictures import file_of

GREEN, BLUE, RED = (0, 255, 0), (0, 0, 255), (255, 0, 0)
COLOURS = {"g": GREEN, "b": BLUE, " ": RED}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    add_text_detector(root)
    add_text_recognizer(root)
    return root


@pytest.fixture(scope="module")
def server(models: Path) -> Iterator[Server]:
    with serving(models, default_model="lines") as running:
        yield running


def bars(*boxes: tuple[int, int, int, int]) -> bytes:
    pixels = np.full((160, 320, 3), 255, np.uint8)
    for x0, y0, x1, y1 in boxes:
        pixels[y0:y1, x0:x1] = 0
    return file_of(pixels, "PNG")


def columns(letters: str) -> bytes:
    """A line 4 pixels high whose steps have the letters' colours."""
    pixels = np.array([[COLOURS[letter]] * 4 for letter in letters], np.uint8).reshape(1, -1, 3)
    return file_of(np.repeat(pixels, 4, axis=0), "PNG")


def test_lines_come_in_reading_order_with_their_corners(server: Server) -> None:
    with server.client() as client:
        answer = client.post("/v1/predict", content=bars((200, 20, 300, 40), (20, 22, 120, 40), (40, 100, 140, 120)))
    assert answer.status_code == 200, answer.text
    lines = answer.json()["lines"]
    assert [line["score"] for line in lines] == [1.0, 1.0, 1.0]
    around = [line["polygon"] for line in lines]
    for polygon, (x0, y0, x1, y1) in zip(
        around, [(20, 22, 120, 40), (200, 20, 300, 40), (40, 100, 140, 120)], strict=True
    ):
        assert polygon[0] < x0
        assert polygon[1] < y0
        assert polygon[4] >= x1
        assert polygon[5] >= y1
    assert (answer.json()["detections"], answer.json()["text"]) == (None, None)


def test_corners_in_shares_of_the_picture(server: Server) -> None:
    content = bars((40, 100, 140, 120))
    with server.client() as client:
        pixels = client.post("/v1/predict", content=content).json()["lines"][0]["polygon"]
        shares = client.post("/v1/predict?coordinates=normalized", content=content).json()["lines"][0]["polygon"]
    assert np.allclose(np.array(shares).reshape(4, 2) * (320, 160), np.array(pixels).reshape(4, 2), atol=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (3000, 2), (2, 3000), (900, 700)], ids=str)
def test_pictures_without_text_have_no_lines_whatever_their_size(server: Server, size: tuple[int, int]) -> None:
    white = file_of(np.full((size[1], size[0], 3), 255, np.uint8), "PNG")
    with server.client() as client:
        answer = client.post("/v1/predict", content=white)
    assert answer.status_code == 200, answer.text
    assert answer.json()["lines"] == []


def test_lines_of_every_length_each_get_their_own_text(server: Server) -> None:
    texts = ["g", "gb" * 10, "b", "g b", "bg" * 3, "b g b g", "gb", "gb" * 25, "b" * 7, "g g g g g"] * 3
    files = [("image", (f"{number}.png", columns(text))) for number, text in enumerate(texts)]
    with server.client() as client:
        answer = client.post("/v1/models/reader/predict", files=files)
    assert answer.status_code == 200, answer.text
    read = [result["prediction"]["text"]["text"] for result in answer.json()["results"]]
    assert read == ["b" if text == "b" * 7 else text.replace(" ", "") for text in texts]


def test_blank_lines_say_nothing(server: Server) -> None:
    with server.client() as client:
        answer = client.post("/v1/models/reader/predict", content=columns("    ")).json()
    assert answer["text"] == {"text": "", "score": 0.0}


def test_the_open_inference_protocol_gives_corners_and_texts(server: Server) -> None:
    def ask(model: str, contents: list[bytes]) -> dict[str, list[object]]:
        header = {
            "inputs": [
                {
                    "name": "image",
                    "datatype": "BYTES",
                    "shape": [len(contents)],
                    "parameters": {"binary_data_size": sum(4 + len(each) for each in contents)},
                }
            ]
        }
        start = json.dumps(header).encode()
        body = start + b"".join(len(each).to_bytes(4, "little") + each for each in contents)
        with server.client() as client:
            answer = client.post(
                f"/v2/models/{model}/infer", content=body, headers={"Inference-Header-Content-Length": str(len(start))}
            )
        assert answer.status_code == 200, answer.text
        return {output["name"]: output for output in answer.json()["outputs"]}

    texts = ask("reader", [columns("gb"), columns("b g")])
    assert texts["texts"]["data"] == ["gb", "bg"]
    assert texts["scores"]["shape"] == [2]
    lines = ask("lines", [bars((20, 20, 120, 40)), bars((20, 20, 120, 40), (20, 100, 120, 120))])
    assert lines["quads"]["shape"] == [2, 2, 4, 2]
    assert lines["count"]["data"] == [1, 2]
    assert lines["scores"]["data"][1] == 0


def test_the_drawn_answer_has_the_outlines(server: Server) -> None:
    content = bars((40, 100, 140, 120))
    with server.client() as client:
        response = client.post("/v1/predict", content=content, headers={"accept": "image/png"})
        read = client.post("/v1/models/reader/predict", content=columns("gb" * 20), headers={"accept": "image/png"})
    drawn = np.asarray(Image.open(io.BytesIO(response.content)))
    assert drawn.shape == (160, 320, 3)
    assert (drawn[100:120, 40:140] == 0).mean() > 0.9
    assert len(np.unique(drawn[85:100, 30:150].reshape(-1, 3), axis=0)) > 2
    assert read.status_code == 200


def test_the_command_line_writes_lines_and_texts(models: Path, server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(bars((20, 22, 120, 40), (40, 100, 140, 120)))
    (tmp_path / "b.png").write_bytes(columns("gb" * 4))
    out = tmp_path / "out"
    formats = ("--format", "csv,jsonl,drawn", "--normalized")
    here = roo("predict", tmp_path / "a.png", "--models-dir", models, "--model", "lines", "--out", out, *formats)
    assert here.returncode == 0, here.stderr
    assert "2 lines of text" in here.stdout
    rows = list(csv.DictReader(io.StringIO((out / "predictions.csv").read_text())))
    assert len(rows) == 2
    assert 0 < float(rows[0]["x3"]) < 1
    assert len(json.loads((out / "predictions.jsonl").read_text())["prediction"]["lines"]) == 2
    there = roo("predict", tmp_path / "a.png", "--url", server.url, "--out", tmp_path / "there")
    assert there.returncode == 0, there.stderr
    assert (out / "a.jpg").read_bytes() == (tmp_path / "there" / "a.jpg").read_bytes()
    read = roo(
        "predict",
        tmp_path / "b.png",
        "--url",
        server.url,
        "--model",
        "reader",
        "--out",
        tmp_path / "read",
        "--format",
        "csv",
    )
    assert read.returncode == 0, read.stderr
    assert "gbgbgbgb 1.00" in read.stdout
    (row,) = csv.DictReader(io.StringIO((tmp_path / "read" / "predictions.csv").read_text()))
    assert (row["text"], row["score"]) == ("gbgbgbgb", "1.0")


def test_a_dictionary_that_does_not_fit_is_said(tmp_path: Path) -> None:
    add_text_recognizer(tmp_path, dictionary="a\nb\nc\n")
    add_text_recognizer(tmp_path, "holes", dictionary="a\n\nc\n")
    add_text_detector(tmp_path, "labelled", labels=["text"])
    checked = roo("models", "check", tmp_path)
    assert checked.returncode == 1
    words = " ".join(checked.stdout.split())
    assert "the dictionary has 3 characters, with blank 4, but the model scores 3 at each step" in words
    assert "line 2 of it is empty" in words
    assert "lines of text have no classes; remove them" in words


def test_spaces_of_a_dictionary_are_characters(tmp_path: Path) -> None:
    add_text_recognizer(tmp_path, dictionary="\u3000\n \n")
    checked = roo("models", "check", tmp_path)
    assert checked.returncode == 0, checked.stdout
