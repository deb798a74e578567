"""The command line as a user meets it: a process, its output, its exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.fixtures.models import add_box_model, add_colour_model
from tests.fixtures.pictures import solid
from tests.fixtures.server import Server

GREEN, RED = (0, 255, 0), (255, 0, 0)


def roo(*arguments: object, **settings: object) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, **{name: str(value) for name, value in settings.items()}}
    command = [sys.executable, "-m", "app", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "green.png").write_bytes(solid(GREEN, (320, 200)))
    (folder / "red.jpg").write_bytes(solid(RED, (200, 320), "JPEG"))
    return folder


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    add_box_model(root)
    return root


def test_predicting_a_folder_prints_a_line_a_picture(pictures: Path, boxes: Path) -> None:
    done = roo("predict", pictures, "--models-dir", boxes)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert any(line.startswith(f"{pictures / 'green.png'}: 1 green") for line in lines)


def test_json_lines_and_drawn_pictures(pictures: Path, boxes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = roo("predict", pictures, "--json", "--out", out, "--models-dir", boxes)
    assert done.returncode == 0, done.stderr
    answers = {Path(line["file"]).name: line["prediction"] for line in map(json.loads, done.stdout.splitlines())}
    assert answers["green.png"]["detections"][0]["box"] == [80.0, 50.0, 240.0, 150.0]
    assert sorted(path.name for path in out.iterdir()) == ["green.jpg", "red.jpg"]
    with Image.open(out / "green.jpg") as drawn:
        assert drawn.size == (320, 200)


def test_a_broken_picture_is_said_and_the_others_are_answered(pictures: Path, boxes: Path) -> None:
    (pictures / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    done = roo("predict", pictures, "--models-dir", boxes)
    assert done.returncode == 1
    assert "broken.png" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) == 2


def test_pictures_of_other_formats_are_said_to_be_left_out(pictures: Path, boxes: Path) -> None:
    for name in ("a.gif", "b.BMP", "notes.txt"):
        (pictures / name).write_bytes(b"anything")
    done = roo("predict", pictures, "--models-dir", boxes)
    assert done.returncode == 0
    left_out = f"{pictures}/a.gif, {pictures}/b.BMP"
    formats = "not of a format that is read (.jpeg, .jpg, .png, .webp)"
    assert done.stderr == f"roo-vision: 2 pictures left out, {formats}: {left_out}.\n"
    for path in pictures.glob("*.png"):
        path.unlink()
    assert f"2 pictures left out, {formats}: {left_out}." in roo("predict", pictures, "--models-dir", boxes).stderr


def test_what_the_decoder_says_without_a_name_is_not_shown(pictures: Path, boxes: Path) -> None:
    _, jpeg = cv2.imencode(
        ".jpg", cv2.resize(np.random.default_rng(0).integers(0, 255, (30, 40, 3), np.uint8), (800, 600))
    )
    (pictures / "cut.jpg").write_bytes(jpeg.tobytes()[:20000])
    done = roo("predict", pictures, "--models-dir", boxes)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{pictures}/cut.jpg: ")


def test_a_running_service_is_asked_by_url(pictures: Path, server: Server) -> None:
    done = roo("predict", pictures / "green.png", "--json", "--url", server.url)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["prediction"]["classes"][0]["label"] == "green"
    refused = roo("predict", pictures / "green.png", "--url", server.url, "--model", "nobody")
    assert refused.returncode == 1
    assert "nobody" in refused.stderr


def test_an_unreachable_service_is_said(pictures: Path) -> None:
    done = roo("predict", pictures / "green.png", "--url", "http://127.0.0.1:9")
    assert done.returncode == 1
    assert "cannot be asked" in done.stderr
    assert "Traceback" not in done.stderr
    changed = roo("models", "load", "colour", "--url", "http://127.0.0.1:9")
    assert changed.returncode == 1
    assert "http://127.0.0.1:9 cannot be asked" in changed.stderr
    assert "attempts in 3 s" in changed.stderr


def test_models_are_listed_shown_and_checked(boxes: Path) -> None:
    add_colour_model(boxes)
    listed = roo("models", "list", "--models-dir", boxes)
    assert listed.returncode == 0
    assert "box" in listed.stdout
    assert "colour" in listed.stdout
    shown = roo("models", "show", "box", "--models-dir", boxes)
    assert "boxes_scores" in shown.stdout
    checked = roo("models", "check", boxes)
    assert checked.returncode == 0
    assert checked.stdout.count("✓") == 2


def test_checking_goes_on_after_a_broken_model_and_says_what_is_wrong(boxes: Path) -> None:
    folder = add_colour_model(boxes, "another")
    (folder / "model.yaml").write_text("task: nonsense\n")
    checked = roo("models", "check", boxes)
    assert checked.returncode == 1
    assert "✗ another" in checked.stdout
    assert "task:" in checked.stdout
    assert "✓ box" in checked.stdout


def test_a_graph_without_a_manifest_is_named_with_the_cure(boxes: Path) -> None:
    graph = boxes / "box" / "1" / "model.onnx"
    for bare in (boxes / "bare" / "net.onnx", boxes / "versioned" / "3" / "model.onnx", boxes / ".drafts" / "net.onnx"):
        bare.parent.mkdir(parents=True)
        bare.write_bytes(graph.read_bytes())
    for command in (("models", "list", "--models-dir", boxes), ("models", "check", boxes)):
        done = roo(*command)
        assert done.returncode == 1
        words = " ".join(done.stdout.split())
        for file in ("bare/net.onnx", "versioned/3/model.onnx"):
            assert f"`roo-vision models add {boxes / file} --name NAME` writes one" in words
        assert "drafts" not in words
    assert roo("models", "check", boxes / "box").returncode == 0


def test_a_broken_model_is_listed_and_hinders_no_other(pictures: Path, boxes: Path) -> None:
    add_colour_model(boxes, "colour")
    (boxes / "colour" / "model.yaml").write_text("task: nonsense\n")
    listed = roo("models", "list", ROO_MODELS_DIR=boxes)
    assert listed.returncode == 1
    assert "not served: see below" in listed.stdout
    assert "task:" in listed.stdout
    done = roo("predict", pictures, "--model", "box", ROO_MODELS_DIR=boxes, ROO_STRICT_REPOSITORY=True)
    assert done.returncode == 0, done.stderr
    unknown = roo("predict", pictures, "--model", "crate", ROO_MODELS_DIR=boxes)
    assert "There is no model 'crate'" in unknown.stderr
    assert "there are: box, colour" in unknown.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "/no/such/picture.jpg"),
        ("models", "show", "nobody"),
        ("models", "check", "/nowhere"),
        ("serve", "--port", "99999"),
        ("dance",),
    ],
)
def test_wrong_use_is_exit_code_two_and_readable(arguments: tuple[str, ...], boxes: Path) -> None:
    done = roo(*arguments, ROO_MODELS_DIR=boxes)
    assert done.returncode == 2
    assert done.stderr
    assert "Traceback" not in done.stderr


def test_help_is_there_and_quick_to_read() -> None:
    done = roo("--help")
    assert done.returncode == 0
    for command in ("serve", "predict", "models", "bench"):
        assert command in done.stdout
