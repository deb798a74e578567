"""`roo-vision models inspect`: what a file holds, and what each decoder would make of it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.commands.test_add import save_constant, table
from tests.commands.test_cli import roo
from tests.engines.test_onnx_refusals import save_outside
from tests.fixtures.models import add_box_model, save_dynamically_quantized, save_mean_colour
from tests.fixtures.pictures import solid


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "green.png"
    path.write_bytes(solid((0, 255, 0), (320, 200)))
    return path


def with_metadata(path: Path, **metadata: str) -> Path:
    model = onnx.load(path, load_external_data=False)
    onnx.helper.set_model_props(model, metadata)
    path.write_bytes(model.SerializeToString())
    return path


def inspected(*arguments: object) -> dict[str, Any]:
    done = roo("models", "inspect", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_what_a_file_holds(tmp_path: Path, picture: Path) -> None:
    weights = save_outside(tmp_path / "net.onnx")
    found = inspected(with_metadata(tmp_path / "net.onnx", author="somebody"), "--try", picture)
    assert found["weights_beside"] == {"weights.bin": weights.stat().st_size}
    assert found["inputs"] == [{"name": "image", "dtype": "float32", "shape": ["any", 3, 32, 32]}]
    assert found["outputs"] == [{"name": "scores", "dtype": "float32", "shape": ["any", 3]}]
    assert (found["opsets"], found["metadata"], found["quantization"]) == (
        {"ai.onnx": 18},
        {"author": "somebody"},
        None,
    )
    assert found["parameters"] > 3000
    save_dynamically_quantized(tmp_path / "dynamic.onnx")
    assert inspected(tmp_path / "dynamic.onnx", "--try", picture)["quantization"] == "dynamic"


def test_what_each_reading_finds(tmp_path: Path, picture: Path) -> None:
    save_mean_colour(tmp_path / "net.onnx")
    readings = inspected(tmp_path / "net.onnx", "--try", picture, "--labels", "red,green,blue")["readings"]
    by_options = {reading["options"]: reading for reading in readings}
    probable = by_options["--task classification --set classification.softmax=false"]
    assert probable["found"] == "green 0.79, red 0.17, blue 0.17"
    assert by_options["--task detection --like yolox"]["found"] is None
    assert "does not fit the model's outputs" in by_options["--task detection --like yolox"]["problem"]


def test_an_unlikely_answer_is_doubted(tmp_path: Path, picture: Path) -> None:
    values = table(50, 7).T.copy()
    values[4:] *= 20
    readings = inspected(save_constant(tmp_path / "net.onnx", output=values), "--try", picture)["readings"]
    (yolo,) = (each for each in readings if each["options"] == "--task detection --set detection.decoder=yolo")
    assert yolo["found"].startswith("1 object") or "objects" in yolo["found"]
    assert "are no scores of 0 to 1" in yolo["doubt"]
    assert [each["found"] is None for each in readings] == sorted(each["found"] is None for each in readings)


def test_a_table_for_people_of_a_model_by_its_name(tmp_path: Path, picture: Path) -> None:
    add_box_model(tmp_path / "models")
    done = roo("models", "inspect", "box", "--try", picture, "--models-dir", tmp_path / "models", COLUMNS=150)
    assert done.returncode == 0, done.stderr
    assert "detection.decoder=boxes_scores" in done.stdout
    assert "1 object of 1 class; best green" in done.stdout
    assert "Not read:" in done.stdout


def test_the_graphs_own_names_and_how_ultralytics_left_them(tmp_path: Path, picture: Path) -> None:
    values = np.concatenate([table(100, 6), np.zeros((100, 32), np.float32)], axis=1).T.copy()
    file = save_constant(tmp_path / "net.onnx", output0=values, output1=np.zeros((32, 8, 8), np.float32))
    with_metadata(file, task="segment", names="{0: 'tote', 1: 'crate'}", stride="32")
    first = inspected(file, "--try", picture)["readings"][0]
    assert first["options"] == (
        "--task detection --like ultralytics --set detection.decoder=yolo --set detection.extras=32 "
        "--set detection.outputs=[output0] --set detection.masks.kind=prototypes --set detection.masks.output=output1"
    )
    assert "crate" in first["found"]


@pytest.mark.parametrize(
    ("further", "options"),
    [
        (51, "--set detection.extras=51 --set detection.keypoints.names=coco"),
        (1, "--set detection.extras=1 --set detection.rotated=true"),
    ],
)
def test_the_names_tell_keypoints_and_an_angle_from_classes(
    tmp_path: Path, picture: Path, further: int, options: str
) -> None:
    values = np.concatenate([table(200, 6), np.zeros((200, further), np.float32)], axis=1).T.copy()
    file = save_constant(tmp_path / "net.onnx", output0=values)
    readings = inspected(file, "--try", picture, "--labels", "tote,crate")["readings"]
    found = {reading["options"]: reading["found"] for reading in readings if reading["found"]}
    assert "object" in found[f"--task detection --like ultralytics {options}"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cut.onnx", "only the beginning of one"),
        ("no.onnx", "there is no such file"),
        ("nobody", "There is no model 'nobody'"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, name: str, words: str) -> None:
    add_box_model(tmp_path / "models")
    (tmp_path / "cut.onnx").write_bytes((tmp_path / "models" / "box" / "1" / "model.onnx").read_bytes()[:90])
    argument = tmp_path / name if name.endswith(".onnx") else name
    done = roo("models", "inspect", argument, "--models-dir", tmp_path / "models")
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_graph_of_any_size_says_what_it_needs(tmp_path: Path, picture: Path) -> None:
    save_mean_colour(tmp_path / "net.onnx", size="side")  # type: ignore[arg-type]
    assert "--size WIDTH,HEIGHT" in inspected(tmp_path / "net.onnx", "--try", picture)["readings"]
    assert inspected(tmp_path / "net.onnx", "--try", picture, "--size", "20,12")["readings"][0]["found"]
