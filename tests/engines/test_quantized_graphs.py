"""Graphs that are quantized already: what is refused, what is computed one by one, what is really in integers."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from app.commands import quantization
from app.engines import catalog, onnx_file
from app.engines.base import EngineName, EngineOptions, IntegerEngine
from app.errors import InvalidManifest
from app.loading import calibration, loader
from app.loading.serving import Serving
from app.repository.repository import read_entry
from tests.engines.conftest import CPU, need
from tests.fixtures.models import (
    colour_manifest,
    save_convolutions,
    save_dynamically_quantized,
    save_mean_colour,
    save_sixteen_bits,
    write_manifest,
)

ENGINES = ["onnx", "openvino"]


def test_onnx_runtime_computes_sixteen_bits_rightly(tmp_path: Path) -> None:
    save_sixteen_bits(tmp_path / "model.onnx")
    engine = catalog.open_engine("onnx", tmp_path / "model.onnx", EngineOptions(CPU))
    values = np.array([[-3, 2, 9]], np.float32)[..., None, None] * np.ones((1, 3, 16, 16), np.float32)
    assert np.allclose(engine.run(values)["scores"], [[0, 2, 4]], atol=1e-3)


def test_openvino_is_not_given_what_it_computes_wrongly(tmp_path: Path) -> None:
    need("openvino")
    save_sixteen_bits(tmp_path / "model.onnx")
    with pytest.raises(InvalidManifest, match=r"quantized to uint16, which OpenVINO computes wrongly.*engine: onnx"):
        catalog.open_engine("openvino", tmp_path / "model.onnx", EngineOptions(CPU))


@pytest.mark.parametrize("engine", ENGINES)
def test_no_picture_changes_its_neighbours_answer(tmp_path: Path, engine: EngineName) -> None:
    need(engine)
    folder = tmp_path / "dynamic"
    save_dynamically_quantized(folder / "1" / "model.onnx")
    write_manifest(folder, colour_manifest(engine=engine, batching={"max_size": 4}))
    entry = read_entry(folder)
    serving = calibration.calibrate(entry, Serving(CPU, calibrate=True))
    (model,) = loader.load(entry, serving)
    assert (model.max_batch_size, model.limit.reason) == (1, loader.ONE_BY_ONE)
    grey = np.full((1, 3, 16, 16), 0.1, np.float32)
    white = np.ones((1, 3, 16, 16), np.float32)
    alone = model.compute(grey)[0]["scores"]
    beside = model.compute(np.concatenate([grey, 40 * white]))[0]["scores"]
    assert np.array_equal(alone, beside)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fixed_batch_whose_pictures_change_each_other_is_refused(tmp_path: Path, engine: EngineName) -> None:
    need(engine)
    save_dynamically_quantized(tmp_path / "model.onnx", batch=2)
    with pytest.raises(InvalidManifest, match="takes one range for all 2 pictures of its batch"):
        catalog.open_engine(engine, tmp_path / "model.onnx", EngineOptions(CPU))


@pytest.mark.parametrize("engine", ENGINES)
def test_layers_in_integers_are_counted_in_the_optimised_graph(tmp_path: Path, engine: EngineName) -> None:
    need(engine)
    plain, quantized = tmp_path / "model.onnx", tmp_path / "model.int8.onnx"
    save_convolutions(plain)
    rows = [np.random.default_rng(0).random((1, 3, 32, 32), np.float32)]
    quantization.quantize(plain, quantized, rows)
    counted = []
    for path in (plain, quantized):
        opened = catalog.open_engine(engine, path, EngineOptions(CPU, "int8"))
        opened.warm_up(rows[0])
        assert isinstance(opened, IntegerEngine)
        counted.append(opened.integer_layers())
    assert counted == [(0, 3), (2, 3)]


def test_what_a_file_says_is_read_without_the_library(tmp_path: Path) -> None:
    branch = helper.make_graph(
        [helper.make_node("DynamicQuantizeLinear", ["image"], ["whole", "scale", "zero"])],
        "branch",
        [],
        [helper.make_tensor_value_info("whole", TensorProto.UINT8, None)],
    )
    graph = helper.make_graph(
        [
            helper.make_node("If", ["said"], ["chosen"], then_branch=branch, else_branch=branch),
            helper.make_node("Constant", [], ["zero"], value=helper.make_tensor("", TensorProto.INT16, [], [0])),
            helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["whole"]),
        ],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1])],
        [],
    )
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    facts = onnx_file.read(tmp_path / "model.onnx")
    assert facts.operators == {"If": 1, "Constant": 1, "QuantizeLinear": 1, "DynamicQuantizeLinear": 2}
    assert (facts.couples_batch, facts.sixteen_bits) == (True, "int16")


def test_sixteen_bits_by_an_attribute(tmp_path: Path) -> None:
    node = helper.make_node("QuantizeLinear", ["image", "scale"], ["whole"], output_dtype=TensorProto.UINT16)
    graph = helper.make_graph([node], "graph", [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1])], [])
    onnx.save(helper.make_model(graph), tmp_path / "model.onnx")
    assert onnx_file.read(tmp_path / "model.onnx").sixteen_bits == "uint16"


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x09" * 100, b"\x3a\xff\xff\xff\x7f", b"\xff" * 30])
def test_of_what_is_no_onnx_file_nothing_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    assert not onnx_file.read(tmp_path / "model.onnx").operators


def test_a_file_that_was_cut_short_says_nothing(tmp_path: Path) -> None:
    save_mean_colour(tmp_path / "model.onnx")
    whole = (tmp_path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(whole[: len(whole) // 2])
    assert not onnx_file.read(tmp_path / "model.onnx").operators
