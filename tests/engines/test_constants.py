"""Graphs with inputs beside the picture, whose values the manifest gives."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from app.engines import catalog
from app.engines.base import EngineOptions
from app.errors import InvalidManifest
from app.loading import loader
from app.loading.serving import Serving
from app.repository.repository import read_entry
from tests.engines.conftest import CPU, Case
from tests.fixtures.models import Dimension, colour_manifest, save, write_manifest


def save_scaled(path: Path, batch: Dimension = "batch", size: list[Dimension] | None = None) -> Path:
    """Mean colours [batch, 3], times the sum of `target_size`, int64 [batch, 2] where nothing else is said."""
    shape = [batch, 2] if size is None else size
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Cast", ["target_size"], ["sizes"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["sizes", "last"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["flat", "sum"], ["scores"]),
    ]
    inputs = [
        helper.make_tensor_value_info("target_size", TensorProto.INT64, shape),
        helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 16, 16]),
    ]
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [batch, 3])
    last = helper.make_tensor("last", TensorProto.INT64, [1], [-1])
    save(helper.make_graph(nodes, "scaled", inputs, [scores], [last]), path)
    return path


@pytest.mark.parametrize("batch", ["batch", 1])
def test_every_picture_gets_them(tmp_path: Path, case: Case, batch: Dimension) -> None:
    constants = {"target_size": np.array([30, 70])}
    if case.engine == "torch":
        with pytest.raises(InvalidManifest, match="takes a picture and nothing else"):
            case.open(case.save(tmp_path), constants=constants)
        return
    engine = case.open(save_scaled(tmp_path / "model.onnx", batch), constants=constants, max_batch=4)
    pictures = np.random.default_rng(0).random((1 if batch == 1 else 3, 3, 16, 16), np.float32)
    assert engine.input.name == "image"
    assert np.allclose(engine.run(pictures)["scores"], 100 * pictures.mean(axis=(2, 3)), rtol=1e-3)
    engine.close()


def test_an_input_without_a_batch_dimension_gets_them_as_they_are(tmp_path: Path) -> None:
    path = save_scaled(tmp_path / "model.onnx", size=[1])
    engine = catalog.open_engine("onnx", path, EngineOptions(CPU, constants={"target_size": np.array([5.0])}))
    pictures = np.ones((2, 3, 16, 16), np.float32)
    assert np.allclose(engine.run(pictures)["scores"], 5)


def test_what_does_not_fit_the_graph_says_what_the_graph_has(tmp_path: Path) -> None:
    path = save_scaled(tmp_path / "model.onnx")

    def refusal(**constants: int) -> str:
        values = {name: np.array(value) for name, value in constants.items()}
        with pytest.raises(InvalidManifest) as caught:
            catalog.open_engine("onnx", path, EngineOptions(CPU, constants=values))
        return str(caught.value)

    assert "it has 2: target_size, image. Give the values of the others in `input.constants`" in refusal()
    assert "the graph has no input 'sizes'; it has target_size, image" in refusal(sizes=1)
    assert "it has 0" in refusal(target_size=1, image=1)


def test_the_manifests_word_size_is_the_inputs(tmp_path: Path) -> None:
    save_scaled(tmp_path / "it" / "1" / "model.onnx")
    section = {"size": [16, 16], "resize": "stretch", "constants": {"target_size": "size"}}
    write_manifest(tmp_path / "it", colour_manifest(input=section))
    (model,) = loader.load(read_entry(tmp_path / "it"), Serving(CPU))
    rows = model.compute(np.full((2, 3, 16, 16), 0.5, np.float32))
    assert np.allclose(rows[1]["scores"], 16)
    model.close()
