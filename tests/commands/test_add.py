"""Adding ONNX files: what is concluded from their graphs, and what is refused because it could be two things."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from app.commands import add, addition, entries
from app.commands.addition import Addition
from app.errors import StartupError
from app.vision.image import Size
from tests.commands.test_cli import roo
from tests.fixtures.models import save_mean_colour, save_one_box

SIDE = 32
X_FIRST = {"detection": {"box_format": "xyxy"}}
"""For graphs that answer the same whatever the picture, which does not tell the first axis of corners."""
PROBABILITIES = {"classification": {"softmax": False}}
CELLS = sum((SIDE // stride) ** 2 for stride in (8, 16, 32))


def save_constant(path: Path, size: tuple[int, int] = (SIDE, SIDE), **outputs: np.ndarray) -> Path:
    """A graph `[1, 3, *size]` whose outputs, whatever the picture, are these (with a batch dimension of 1)."""
    nodes, constants = [helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0)], []
    nodes += [helper.make_node("Cast", ["mean"], ["zero_like"], to=TensorProto.FLOAT)]
    for name, value in outputs.items():
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        constants.append(numpy_helper.from_array(value[None], f"{name}_value"))
        nodes.append(helper.make_node("Identity", [f"{name}_value"], [name]))
        outputs[name] = helper.make_tensor_value_info(name, kind, [1, *value.shape])
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *size])
    return save(path, helper.make_graph(nodes, "constant", [image], list(outputs.values()), constants))


def save(path: Path, graph: onnx.GraphProto) -> Path:
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def save_reshaping(path: Path, batch: int, shape: list[int]) -> Path:
    """A graph `[batch, 3, 4, 4]` → `[batch, 48]` by a `Reshape` to `shape` and another back to rows."""
    constants = [
        numpy_helper.from_array(np.array(shape, np.int64), "shape"),
        numpy_helper.from_array(np.array([batch, 48], np.int64), "rows"),
    ]
    nodes = [
        helper.make_node("Reshape", ["image", "shape"], ["folded"]),
        helper.make_node("Reshape", ["folded", "rows"], ["scores"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 4, 4])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 48])
    return save(path, helper.make_graph(nodes, "reshaping", [image], [scores], constants))


def asked(file: Path, task: str = "detection", **changes: Any) -> Addition:
    fields = {"labels": None, "name": "it", "size": None, "decoder": None, "dynamic_batch": False, "pixels": {}}
    return Addition(file, task, file.parent / "models", **{**fields, **changes})  # type: ignore[arg-type]


def added(file: Path, task: str = "detection", **changes: Any) -> dict[str, Any]:
    """The manifest of the entry that comes of adding this file."""
    wanted = asked(file, task, **changes)
    add.run(wanted)
    manifest: dict[str, Any] = yaml.safe_load((wanted.out / "it" / "model.yaml").read_text())
    return manifest


def refusal(file: Path, task: str = "detection", **changes: Any) -> str:
    """The message with which this file is refused; nothing of it stays but a draft of its manifest."""
    wanted = asked(file, task, **changes)
    with pytest.raises(StartupError) as error:
        add.run(wanted)
    assert not wanted.out.exists() or [path.name for path in wanted.out.iterdir()] == [".drafts"]
    return str(error.value)


def table(rows: int, columns: int, centre: float = SIDE, side: float = 16.0) -> np.ndarray:
    """Candidates in rows: centres up to `centre`, sizes `side`, scores of 0 to 1."""
    values = np.random.default_rng(0).random((rows, columns), np.float32)
    values[:, :2] *= centre
    values[:, 2:4] = side
    return values


def test_the_command_says_what_it_concluded_and_the_entry_serves(tmp_path: Path) -> None:
    save_mean_colour(tmp_path / "colour.onnx")
    done = roo(
        *("models", "add", tmp_path / "colour.onnx", "--task", "classification", "--labels", "red,green,blue"),
        *("--mean", "0.1,0.2,0.3", "--channels", "bgr", "--out", tmp_path / "models"),
        *("--set", "classification.softmax=true"),
    )
    assert done.returncode == 0, done.stderr
    assert "the input image is float32 ['any', 3, 16, 16]: nchw, 16 x 16" in done.stdout
    assert "the output scores has 3 scores, read as was asked" in done.stdout
    section = yaml.safe_load((tmp_path / "models" / "colour" / "model.yaml").read_text())["input"]
    assert (section["mean"], section["channels"]) == ([0.1, 0.2, 0.3], "bgr")
    checked = roo("models", "check", tmp_path / "models")
    assert checked.returncode == 0, checked.stdout


def test_wrong_use_is_said_in_one_line(tmp_path: Path) -> None:
    save_mean_colour(tmp_path / "colour.onnx")
    done = roo("models", "add", tmp_path / "colour.onnx", "--task", "classification", "--mean", "1,2")
    assert done.returncode == 2
    assert done.stderr == (
        "roo-vision: --mean 1,2: must be one number for all channels, or one for each (3, or 4 with opacity) with "
        "commas between.\n"
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_one_number_stands_for_all_channels(tmp_path: Path, channels: int) -> None:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, channels, 6, 6])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 36 * channels])
    save(
        tmp_path / "a.onnx",
        helper.make_graph([helper.make_node("Flatten", ["image"], ["scores"])], "a", [image], [scores]),
    )
    done = roo(
        *("models", "add", tmp_path / "a.onnx", "--task", "classification", "--out", tmp_path / "models"),
        *("--mean", "0.5", "--std", "0.25", "--set", "classification.softmax=true"),
    )
    assert done.returncode == 0, done.stderr
    section = yaml.safe_load((tmp_path / "models" / "a" / "model.yaml").read_text())["input"]
    assert (section["mean"], section["std"]) == (0.5, 0.25)


def test_probabilities_get_no_softmax_and_unnamed_classes_are_numbered(tmp_path: Path) -> None:
    file = save_constant(tmp_path / "a.onnx", scores=np.array([0.25, 0.75], np.float32))
    assert added(file, "classification")["classification"] == {"softmax": False}
    assert entries.read_labels(str(tmp_path / "models" / "it" / "labels.txt")) == ("0", "1")


def test_boxes_and_scores(tmp_path: Path) -> None:
    save_one_box(tmp_path / "a.onnx")
    section = added(tmp_path / "a.onnx", labels="a,b,c", fields=X_FIRST)["detection"]
    assert section == {"decoder": "boxes_scores", "outputs": ["boxes", "scores"], "box_format": "xyxy"}


def test_normalized_boxes_with_a_background_before_the_labels(tmp_path: Path) -> None:
    boxes = np.array([[0.1, 0.1, 0.5, 0.9]] * 5, np.float32)
    file = save_constant(
        tmp_path / "a.onnx", scores=np.tile(np.array([0.8, 0.15, 0.05], np.float32), (5, 1)), places=boxes
    )
    section = added(file, labels="a,b", fields=X_FIRST)["detection"]
    assert section["outputs"] == ["places", "scores"]
    assert (section["coordinates"], section["background"]) == ("normalized", True)


def test_boxes_scores_and_class_numbers(tmp_path: Path) -> None:
    boxes = np.array([[1, 1, 20, 30]] * 5, np.float32)
    outputs = {"labels": np.zeros(5, np.int64), "boxes": boxes, "scores": np.full(5, 0.5, np.float32)}
    file = save_constant(tmp_path / "a.onnx", **outputs)
    section = added(file, labels="a,b", fields=X_FIRST)["detection"]
    outputs = ["boxes", "scores", "labels"]
    assert section == {"decoder": "boxes_scores_labels", "outputs": outputs, "nms": False, "box_format": "xyxy"}


def test_class_numbers_without_names_are_refused(tmp_path: Path) -> None:
    boxes = np.array([[1, 1, 20, 30]], np.float32)
    outputs = {"labels": np.zeros(1, np.int64), "boxes": boxes, "scores": np.full(1, 0.5, np.float32)}
    assert "name them with --labels" in refusal(save_constant(tmp_path / "a.onnx", **outputs))


@pytest.mark.parametrize(
    ("values", "decoder"),
    [
        (table(50, 7).T, "yolo"),
        (table(50, 8), "yolo_objectness"),
        (table(CELLS, 8), "yolo_objectness"),
        (table(CELLS, 8, centre=1, side=-0.5), "yolox"),
    ],
)
def test_heads_of_one_output(tmp_path: Path, values: np.ndarray, decoder: str) -> None:
    section = added(save_constant(tmp_path / "a.onnx", output=np.ascontiguousarray(values)), labels="a,b,c")
    assert section["detection"] == {"decoder": decoder}


def test_a_grid_that_may_be_raw_or_decoded_is_refused_until_somebody_says(tmp_path: Path) -> None:
    file = save_constant(tmp_path / "a.onnx", output=table(CELLS, 8, centre=1, side=0.5))
    assert "its values do not tell" in refusal(file, labels="a,b,c")
    assert added(file, decoder="yolox")["detection"] == {"decoder": "yolox"}


def test_logits_get_a_sigmoid(tmp_path: Path) -> None:
    values = table(50, 7).T.copy()
    values[4:] -= 3
    assert added(save_constant(tmp_path / "a.onnx", output=values), labels="a,b,c")["detection"]["apply_sigmoid"]


@pytest.mark.parametrize(
    ("outputs", "changes", "words"),
    [
        ({"output": table(50, 7).T.copy()}, {"labels": "a,b"}, "as yolo that is 3 classes, but there are 2 labels"),
        ({"output": table(50, 8)}, {"decoder": "yolo"}, "which is not yolo's [4 + C, M] but a row for each candidate"),
        ({"output": np.zeros((5, 5, 5), np.float32)}, {}, "no decoder reads that"),
        ({"a": table(5, 4), "b": table(5, 4)}, {}, "cannot be told which one is the boxes"),
        ({"a": table(5, 4), "b": table(6, 2)}, {}, "need the same M"),
        ({"a": table(5, 4), "b": table(5, 3)}, {"labels": "a"}, "3 scores a box, but there are 1 labels"),
        ({"a": table(5, 4)[0], "b": table(5, 4)[0], "c": table(5, 4)}, {}, "they are not boxes [M, 4], scores [M]"),
        ({name: table(5, 4) for name in "abcd"}, {}, "it cannot be told how 4 outputs are read"),
    ],
)
def test_what_no_decoder_fits_is_said(
    tmp_path: Path, outputs: dict[str, np.ndarray], changes: dict[str, str], words: str
) -> None:
    assert words in refusal(save_constant(tmp_path / "a.onnx", **outputs), **changes)


def test_scores_of_places(tmp_path: Path) -> None:
    scores = 4 * np.random.default_rng(0).random((3, 8, 8), np.float32)
    file = save_constant(tmp_path / "a.onnx", out=scores, sums=scores.sum(axis=(1, 2)))
    manifest = added(file, "segmentation", labels="a,b,c")
    assert manifest["segmentation"] == {"layout": "logits", "output": "out"}
    assert manifest["input"]["resize"] == "letterbox"


@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8)])
def test_class_numbers_of_places_need_names(tmp_path: Path, shape: tuple[int, ...]) -> None:
    file = save_constant(tmp_path / "a.onnx", map=np.ones(shape, np.int64))
    assert "name them with --labels" in refusal(file, "segmentation")
    assert added(file, "segmentation", labels="a,b")["segmentation"] == {"layout": "class_map"}


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({"out": table(8, 8)[None]}, "a depth or a heat map, which --task maps reads, or a binary mask"),
        ({"out": np.zeros((8, 8, 3), np.float32)}, "seems to have the classes last"),
        ({name: np.zeros((3, 8, 8), np.float32) for name in ("out", "aux")}, "say --set segmentation.output=out or"),
        ({"out": np.zeros(8, np.float32)}, "it cannot be told which is the map"),
    ],
)
def test_what_is_no_map_of_classes_is_said(tmp_path: Path, outputs: dict[str, np.ndarray], words: str) -> None:
    assert words in refusal(save_constant(tmp_path / "a.onnx", **outputs), "segmentation")


def test_inputs_that_are_no_picture_or_of_any_size(tmp_path: Path) -> None:
    for shape, words in (
        ([1, 10], "with 4 dimensions"),
        ([1, 3, 5, 3], "both its"),
        ([1, 2, 5, 6], "neither its"),
        ([1, 1, 5, 1], "both its"),
    ):
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)
        scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape)
        graph = helper.make_graph([helper.make_node("Identity", ["image"], ["scores"])], "a", [image], [scores])
        assert words in refusal(save(tmp_path / "a.onnx", graph), "classification")


def test_a_graph_of_any_size_needs_one(tmp_path: Path) -> None:
    save_mean_colour(tmp_path / "a.onnx", size="side")  # type: ignore[arg-type]
    assert "--size WIDTH,HEIGHT" in refusal(tmp_path / "a.onnx", "classification")
    assert added(tmp_path / "a.onnx", "classification", size=Size(20, 12), fields=PROBABILITIES)["input"]["size"] == [
        20,
        12,
    ]


@pytest.mark.parametrize("size", ["640.5,480", "0,480", "-640,480", "nan,480", "inf,480"])
def test_sizes_that_are_no_pixels_are_refused(size: str) -> None:
    with pytest.raises(StartupError, match=r"^--size .*: must be two whole numbers of pixels, such as 640,480\.$"):
        addition.read_size(size)


def test_sizes_that_no_model_has_are_refused(tmp_path: Path) -> None:
    save_mean_colour(tmp_path / "a.onnx", size="side")  # type: ignore[arg-type]
    done = roo("models", "add", tmp_path / "a.onnx", "--task", "classification", "--size", "100000,100000")
    assert done.returncode == 2
    assert done.stderr == "roo-vision: --size 100000,100000: a model's input has at most 4096 pixels a side.\n"


def test_a_size_is_width_and_height() -> None:
    assert addition.read_size("640, 480") == Size(640, 480)


def test_a_refusal_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    (tmp_path / "a").mkdir()
    for out in ("a", "a/b/c"):
        with pytest.raises(StartupError):
            add.run(replace(asked(tmp_path / "bad.onnx"), out=tmp_path / out))
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "bad.onnx"]


def test_a_file_that_is_no_graph(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"nonsense")
    assert "cannot load this model" in refusal(tmp_path / "a.onnx")


@pytest.mark.parametrize("shape", [[1, 48], [1, -1, 16], [1, 3, 16]])
def test_a_fixed_batch_is_rewritten(tmp_path: Path, shape: list[int]) -> None:
    file = save_reshaping(tmp_path / "a.onnx", 1, shape)
    added(file, "classification", dynamic_batch=True, fields=PROBABILITIES)
    with entries.loaded(tmp_path / "models" / "it") as model:
        assert model.engine.input.batch_size is None
        pictures = np.random.default_rng(1).random((3, 3, 4, 4), np.float32)
        assert np.array_equal(model.engine.run(pictures)["scores"], pictures.reshape(3, 48))


def test_a_graph_that_mixes_its_batch_is_not_rewritten(tmp_path: Path) -> None:
    constants = [numpy_helper.from_array(np.array([0], np.int64), "axis")]
    nodes = [
        helper.make_node("ReduceMean", ["image", "axis"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["image", "mean"], ["centred"]),
        helper.make_node("Add", ["centred", "image"], ["both"]),
        helper.make_node("Flatten", ["both"], ["scores"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 4, 4])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 48])
    file = save(tmp_path / "a.onnx", helper.make_graph(nodes, "mixing", [image], [scores], constants))
    message = refusal(file, "classification", dynamic_batch=True, fields=PROBABILITIES)
    assert "scores of three pictures is not that of each by itself; leave it out" in message


def test_a_graph_whose_outputs_keep_their_batch_is_not_rewritten(tmp_path: Path) -> None:
    file = save_constant(tmp_path / "a.onnx", scores=np.array([0.25, 0.75], np.float32))
    message = refusal(file, "classification", dynamic_batch=True, fields=PROBABILITIES)
    assert "its nodes depend on the batch of 1 (the output scores has not one row for each of 3 pictures)" in message


def test_a_dynamic_batch_needs_no_rewriting(tmp_path: Path) -> None:
    save_mean_colour(tmp_path / "a.onnx")
    assert "takes any batch already" in refusal(
        tmp_path / "a.onnx", "classification", dynamic_batch=True, fields=PROBABILITIES
    )
