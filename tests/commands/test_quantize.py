"""Int8 files: what the quantizer leaves alone, what is refused, and that what comes out is served."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from app.commands import quantization, quantize
from app.commands.quantize import Quantizing
from app.engines import onnx_file
from app.errors import InvalidManifest, StartupError
from app.loading import loader
from app.loading.serving import Serving
from app.repository.repository import read_entry
from tests.commands.test_cli import roo
from tests.engines.conftest import CPU
from tests.fixtures.models import (
    add_colour_model,
    add_convolutions_model,
    colour_manifest,
    save_convolutions,
    save_mean_colour,
    write_manifest,
)
from tests.fixtures.pictures import solid

ROWS = [np.random.default_rng(seed).random((1, 3, 32, 32), np.float32) for seed in range(4)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty pictures of different colours, and a file that is none."""
    folder = tmp_path / "data"
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(20):
        red, green, blue = random.integers(0, 256, 3).tolist()
        (folder / f"{number:02}.png").write_bytes(solid((red, green, blue)))
    (folder / "torn.png").write_bytes(b"no picture")
    return folder


def quantized(folder: Path) -> onnx.ModelProto:
    path = folder / "1" / "model.int8.onnx"
    quantization.quantize(folder / "1" / "model.onnx", path, ROWS)
    return onnx.load(path)


def test_the_file_is_made_compared_and_then_served(tmp_path: Path, data: Path) -> None:
    folder = add_convolutions_model(tmp_path / "models")
    done = roo("models", "quantize", "convolutions", "--data", data, "--models-dir", tmp_path / "models", COLUMNS=200)
    assert done.returncode == 0, done.stderr
    assert "left out: torn.png" in done.stdout
    assert "best labels that are the same" in done.stdout
    assert "2 of 3" in done.stdout
    file = folder / "1" / "model.int8.onnx"
    assert f"wrote {file}" in done.stdout
    assert "precisions: [fp32, int8]" in done.stdout
    assert len(list((folder / "examples").iterdir())) == 4
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["convolutions"], "nothing is left of the trial"
    write_manifest(folder, colour_manifest(32, precisions=["fp32", "int8"]))
    (model,) = loader.load(read_entry(folder), Serving(CPU, precision="int8"))
    (exact,) = loader.load(read_entry(folder), Serving(CPU, precision="fp32"))
    found, wanted = (each.compute(ROWS[0])[0]["scores"] for each in (model, exact))
    assert np.allclose(found, wanted, rtol=0.05)


def test_a_digest_that_the_manifest_has_is_told_anew(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = add_convolutions_model(tmp_path / "models")
    digest = hashlib.sha256((folder / "1" / "model.onnx").read_bytes()).hexdigest()
    changes = {"precisions": ["fp32", "int8"], "sha256": {"1": {"model.onnx": digest, "model.int8.onnx": "0" * 64}}}
    write_manifest(folder, colour_manifest(32, **changes))
    quantize.run(Quantizing(tmp_path / "models", "convolutions", data))
    made = hashlib.sha256((folder / "1" / "model.int8.onnx").read_bytes()).hexdigest()
    assert f"sha256, under version 1: model.int8.onnx: {made}" in capsys.readouterr().out
    with pytest.raises(StartupError, match="is there already; --replace writes it anew"):
        quantize.run(Quantizing(tmp_path / "models", "convolutions", data))
    quantize.run(Quantizing(tmp_path / "models", "convolutions", data, replace=True))


def test_few_pictures_are_compared_on_themselves_and_fewer_are_refused(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_convolutions_model(tmp_path / "models")
    for path in sorted(data.glob("[01]*.png"))[:10]:
        path.unlink()
    report = quantize.run(Quantizing(tmp_path / "models", "convolutions", data))
    assert (len(report.answers), report.apart) == (10, False)
    assert "the same that the ranges are from" in capsys.readouterr().out.replace("\n", " ")
    for path in sorted(data.glob("1*.png"))[:3]:
        path.unlink()
    with pytest.raises(StartupError, match=r"has 7 pictures that can be read, and 8 are the least"):
        quantize.run(Quantizing(tmp_path / "models", "convolutions", data, replace=True))


def test_what_is_refused_before_anything_is_computed(tmp_path: Path, data: Path) -> None:
    models = tmp_path / "models"
    add_convolutions_model(models)
    with pytest.raises(StartupError, match=r"no model 'other' in .*; there are: convolutions"):
        quantize.run(Quantizing(models, "other", data))
    with pytest.raises(StartupError, match="is not a folder"):
        quantize.run(Quantizing(models, "convolutions", data / "00.png"))
    program = add_colour_model(models, "program", engine="torch")
    (program / "1" / "model.onnx").rename(program / "1" / "model.pt2")
    with pytest.raises(StartupError, match=r"holds no model\.onnx, only model\.pt2"):
        quantize.run(Quantizing(models, "program", data))
    half = models / "half"
    save_mean_colour(half / "1" / "model.onnx", dtype=TensorProto.FLOAT16)
    write_manifest(half, colour_manifest(input={"size": [16, 16], "dtype": "float16"}))
    with pytest.raises(StartupError, match="takes float16; give the graph in float32"):
        quantize.run(Quantizing(models, "half", data))
    tensors = models / "tensors"
    save_mean_colour(tensors / "1" / "model.onnx")
    write_manifest(tensors, {"task": "tensors"})
    with pytest.raises(StartupError, match="only models that take pictures are quantized"):
        quantize.run(Quantizing(models, "tensors", data))


def test_a_graph_without_layers_is_refused_and_leaves_nothing(tmp_path: Path, data: Path) -> None:
    folder = add_colour_model(tmp_path / "models")
    with pytest.raises(InvalidManifest, match="there is nothing to quantize"):
        quantize.run(Quantizing(tmp_path / "models", "colour", data))
    assert sorted(path.name for path in folder.rglob("*")) == ["1", "model.onnx", "model.yaml"]
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["colour"]


def test_a_graph_that_is_quantized_already_is_refused(tmp_path: Path, data: Path) -> None:
    folder = add_convolutions_model(tmp_path / "models")
    quantized(folder)
    (folder / "1" / "model.int8.onnx").rename(folder / "1" / "model.onnx")
    with pytest.raises(InvalidManifest, match="is quantized already"):
        quantize.run(Quantizing(tmp_path / "models", "convolutions", data))


def test_the_last_layer_and_all_after_it_stay_in_float(tmp_path: Path) -> None:
    folder = add_convolutions_model(tmp_path)
    model = quantized(folder)
    integers = {tensor.name for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT8}
    assert {name for name in integers if name.endswith("_quantized")} == {"kernel_0_quantized", "kernel_1_quantized"}
    (last,) = (node for node in model.graph.node if "kernel_2" in node.input)
    (mean,) = (node for node in model.graph.node if node.op_type == "ReduceMean")
    after = {node.output[0]: node for node in model.graph.node}
    assert after[mean.input[0]].input[0] == last.output[0]
    assert onnx_file.read(folder / "1" / "model.int8.onnx").sixteen_bits is None


def test_a_mean_that_is_written_as_a_convolution_is_no_layer(tmp_path: Path) -> None:
    """As YOLOv8 decodes a box's edges: what comes before it is the head's last layer."""
    folder = add_convolutions_model(tmp_path)
    path = folder / "1" / "model.onnx"
    model = onnx.load(path)
    bins = numpy_helper.from_array(np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1), "bins")
    model.graph.initializer.append(bins)
    mean = model.graph.node[-1]
    model.graph.node.insert(len(model.graph.node) - 1, helper.make_node("Conv", [mean.input[0], "bins"], ["edges"]))
    mean.input[0] = "edges"
    onnx.save(model, path)
    weights = {tensor.name for tensor in quantized(folder).graph.initializer}
    assert {"kernel_2", "bins"} <= weights
    assert "kernel_1_quantized" in weights


def test_an_older_opset_is_raised(tmp_path: Path) -> None:
    folder = add_convolutions_model(tmp_path)
    path = folder / "1" / "model.onnx"
    save_convolutions(path)
    model = onnx.load(path)
    mean = model.graph.node[-1]
    mean.input.pop()
    mean.attribute.append(helper.make_attribute("axes", [2, 3]))
    model.opset_import[0].version = 11
    onnx.save(model, path)
    assert quantized(folder).opset_import[0].version >= quantization.OPSET
    assert np.isfinite(
        loader.load(read_entry(folder), Serving(CPU, precision="int8"))[0].compute(ROWS[0])[0]["scores"]
    ).all()


def test_a_fixed_batch_is_filled_with_one_picture(tmp_path: Path) -> None:
    folder = add_convolutions_model(tmp_path)
    save_convolutions(folder / "1" / "model.onnx", batch=2)
    quantized(folder)
    (model,) = loader.load(read_entry(folder), Serving(CPU, precision="int8"))
    assert len(model.compute(np.concatenate(ROWS[:3]))) == 3


def test_the_bundled_models_file_is_what_its_training_code_writes() -> None:
    """Same layers, same scales' names: not bytes, which another release of the quantizer may arrange otherwise."""
    shelf = Path(__file__).resolve().parents[2] / "models" / "shelf"
    manifest = yaml.safe_load((shelf / "model.yaml").read_text())
    assert "int8" in manifest["precisions"]
    graph = onnx.load(shelf / "1" / "model.int8.onnx").graph
    layers = [node for node in graph.node if node.op_type == "Conv"]
    weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
    in_float = [node.name for node in layers if weights.get(node.input[1]) == TensorProto.FLOAT]
    assert (len(layers), len(in_float)) == (64, 6)
    assert all(".heads" in name or "/heads" in name for name in in_float)
