"""`models add-ocr` with a wheel of three small graphs that take what PP-OCR's take."""

import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.repository import repository
from tests.commands.test_cli import roo
from tests.fixtures.models import save


def save_graph(path: Path, kind: str, characters: str = "") -> None:
    """A detector, a classifier or a recogniser (three characters a step): means of the picture through a sigmoid."""
    shapes = {"detector": ["b", 1, "h", "w"], "orientation": ["b", 2], "recognizer": ["b", "steps", 3]}
    axes = {"detector": [1], "orientation": [2, 3], "recognizer": [2]}
    nodes = [helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=int(kind == "detector"))]
    constants = [numpy_helper.from_array(np.array(axes[kind]), "axes")]
    if kind == "orientation":
        nodes.append(helper.make_node("Split", ["mean", "parts"], ["two", "one"], axis=1))
        constants.append(numpy_helper.from_array(np.array([2, 1]), "parts"))
    if kind == "recognizer":
        nodes.append(helper.make_node("Transpose", ["mean"], ["steps"], perm=[0, 2, 1]))
    last = {"detector": "mean", "orientation": "two", "recognizer": "steps"}[kind]
    nodes.append(helper.make_node("Sigmoid", [last], ["out"]))
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["b", 3, 48 if kind == "recognizer" else "h", "w"])
    given = helper.make_tensor_value_info("out", TensorProto.FLOAT, shapes[kind])
    save(helper.make_graph(nodes, kind, [taken], [given], constants), path)
    if characters:
        model = onnx.load(path)
        helper.set_model_props(model, {"character": characters})
        onnx.save(model, path)


@pytest.fixture
def graphs(tmp_path: Path) -> Path:
    folder = tmp_path / "graphs"
    save_graph(folder / "det.onnx", "detector")
    save_graph(folder / "cls.onnx", "orientation")
    save_graph(folder / "rec.onnx", "recognizer", "\u3000")
    return folder


@pytest.fixture
def wheel(tmp_path: Path, graphs: Path) -> Path:
    path = tmp_path / "rapidocr-9.9-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for graph in graphs.iterdir():
            archive.write(graph, f"rapidocr/models/{graph.name}")
        archive.writestr("rapidocr-9.9.dist-info/licenses/LICENSE", "Apache License")
        archive.writestr("rapidocr/../../evil/LICENSE.txt", "not wanted")
    return path


def test_a_wheel_becomes_three_entries_that_load(wheel: Path, tmp_path: Path) -> None:
    added = roo("models", "add-ocr", "--package", wheel, "--out", tmp_path / "models")
    assert added.returncode == 0, added.stderr
    assert "from the package rapidocr-9.9-py3-none-any.whl" in added.stdout
    checked = roo("models", "check", tmp_path / "models")
    assert checked.returncode == 0, checked.stdout
    reader = repository.read_entry(tmp_path / "models" / "text-recognition")
    assert reader.labels == ("\u3000",)
    assert (tmp_path / "models" / "text-detection" / "LICENSE").read_text() == "Apache License"
    assert {path.name for path in tmp_path.iterdir()} == {"graphs", wheel.name, "models"}


def test_a_folder_will_do_and_names_can_be_chosen(graphs: Path, tmp_path: Path) -> None:
    added = roo("models", "add-ocr", "--package", graphs, "--out", tmp_path / "models", "--name", "greek")
    assert added.returncode == 0, added.stderr
    assert (tmp_path / "models" / "greek-recognition" / "model.yaml").is_file()


def test_nothing_stays_where_a_graph_does_not_fit_its_dictionary(graphs: Path, tmp_path: Path) -> None:
    save_graph(graphs / "rec.onnx", "recognizer", "a\nb\nc")
    refused = roo("models", "add-ocr", "--package", graphs, "--out", tmp_path / "models")
    assert refused.returncode == 2
    assert "the dictionary has 3 characters, with space and blank 5, but the model scores 3" in _words(refused.stderr)
    assert not (tmp_path / "models").exists()


def test_a_package_with_several_recognizers_is_refused(graphs: Path, tmp_path: Path) -> None:
    save_graph(graphs / "other.onnx", "recognizer", "\u3000")
    refused = roo("models", "add-ocr", "--package", graphs, "--out", tmp_path / "models")
    assert refused.returncode == 2
    assert "should have one recognizer of text among its ONNX files, but has other.onnx, rec.onnx" in _words(
        refused.stderr
    )


def test_what_is_no_wheel_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_text("hello")
    refused = roo("models", "add-ocr", "--package", tmp_path / "a.whl", "--out", tmp_path / "models")
    assert refused.returncode == 2
    assert "is no wheel that can be read" in _words(refused.stderr)


def test_without_the_package_it_says_how_to_get_the_wheel(tmp_path: Path) -> None:
    refused = roo("models", "add-ocr", "--out", tmp_path / "models")
    assert refused.returncode == 2
    assert "pip download --no-deps rapidocr" in _words(refused.stderr)


def _words(text: str) -> str:
    return " ".join(text.split())
