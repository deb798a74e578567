"""Files that ONNX Runtime does not load, and graphs whose weights lie elsewhere: one sentence with the cure."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from app.engines import catalog, devices, onnx_file
from app.engines.base import EngineOptions
from app.errors import InvalidManifest
from tests.fixtures.models import save_convolutions, save_dynamically_quantized, save_sixteen_bits

CPU = devices.choose("cpu", None)


def save_outside(path: Path, location: str = "weights.bin", size_threshold: int = 100) -> Path:
    """The convolutions' graph with its weights in a file of their own, as onnx writes it; returns that file."""
    save_convolutions(path)
    model = onnx.load(path)
    onnx.save_model(model, path, save_as_external_data=True, location="weights.bin", size_threshold=size_threshold)
    if location != "weights.bin":
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = location
        path.write_bytes(model.SerializeToString())
    return path.with_name("weights.bin")


def refusal(path: Path) -> str:
    with pytest.raises(InvalidManifest) as error:
        catalog.open_engine("onnx", path, EngineOptions(CPU))
    message = str(error.value)
    assert "\n" not in message
    assert message.count(str(path)) <= 2
    return message


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_newer_opset(path: Path) -> None:
    model = onnx.load(path)
    model.opset_import[0].version = 99
    path.write_bytes(model.SerializeToString())


def with_newer_format(path: Path) -> None:
    model = onnx.load(path)
    model.ir_version = 99
    path.write_bytes(model.SerializeToString())


def with_foreign_operator(path: Path) -> None:
    model = onnx.load(path)
    model.graph.node[1].domain = "com.somebody"
    model.opset_import.add(domain="com.somebody", version=1)
    path.write_bytes(model.SerializeToString())


def as_pointer(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (cut, "only the beginning of one. Copy or download it again"),
        (with_newer_opset, "its opset 99 is newer than this version knows. Export it with a lower one"),
        (with_newer_format, "its file format (IR version 99) is newer"),
        (with_foreign_operator, "it has the operator com.somebody:Relu, which belongs to another runtime"),
        (as_pointer, "the pointer that Git LFS leaves in the place of a file. Fetch the file itself: git lfs pull"),
    ],
)
def test_files_that_cannot_be_loaded(tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    path = tmp_path / "model.onnx"
    save_convolutions(path)
    spoil(path)
    assert words in refusal(path)


def test_weights_beside_the_graph_are_read(tmp_path: Path) -> None:
    whole, outside = tmp_path / "whole" / "model.onnx", tmp_path / "outside" / "model.onnx"
    save_convolutions(whole)
    save_outside(outside)
    picture = np.random.default_rng(0).random((1, 3, 32, 32), np.float32)
    answers = []
    for path in (whole, outside):
        engine = catalog.open_engine("onnx", path, EngineOptions(CPU))
        answers.append(engine.run(picture)["scores"])
        engine.close()
    assert np.array_equal(*answers)


def test_weights_that_are_not_there_or_cut_short(tmp_path: Path) -> None:
    weights = save_outside(tmp_path / "model.onnx")
    cut(weights)
    assert "it is cut short, or another model's. Copy it again" in refusal(tmp_path / "model.onnx")
    weights.unlink()
    assert "weights.bin, which is not there. Put it beside model.onnx" in refusal(tmp_path / "model.onnx")


def test_shapes_in_another_file_are_no_weights(tmp_path: Path) -> None:
    save_outside(tmp_path / "model.onnx", size_threshold=0)
    assert "a shape or an axis of it lies in a file beside it" in refusal(tmp_path / "model.onnx")


@pytest.mark.parametrize("location", ["../weights.bin", "/weights.bin", "sub/../../weights.bin"])
def test_weights_that_are_said_to_lie_outside(tmp_path: Path, location: str) -> None:
    save_outside(tmp_path / "model" / "model.onnx", location)
    assert f"to lie in {location}, outside its own folder" in refusal(tmp_path / "model" / "model.onnx")


def test_a_link_out_of_the_folder_is_refused_and_one_within_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "model" / "model.onnx"
    weights = save_outside(path)
    weights.rename(tmp_path / "model" / "real.bin")
    weights.symlink_to("real.bin")
    catalog.open_engine("onnx", path, EngineOptions(CPU)).close()
    (tmp_path / "model" / "real.bin").rename(tmp_path / "real.bin")
    weights.unlink()
    weights.symlink_to(tmp_path / "real.bin")
    assert f"Put the file itself there: cp --remove-destination {tmp_path / 'real.bin'}" in refusal(path)


def test_what_a_file_says_of_itself(tmp_path: Path) -> None:
    weights = save_outside(tmp_path / "a.onnx")
    model = onnx.load(tmp_path / "a.onnx", load_external_data=False)
    model.producer_name, model.producer_version = "somebody", "1.2"
    onnx.helper.set_model_props(model, {"task": "classify"})
    (tmp_path / "b.onnx").write_bytes(model.SerializeToString())
    facts = onnx_file.read(tmp_path / "b.onnx")
    assert facts.parameters == sum(np.prod(tensor.dims, dtype=int) for tensor in model.graph.initializer)
    assert facts.external == {"weights.bin": weights.stat().st_size}
    assert (facts.producer, facts.metadata) == ("somebody 1.2", {"task": "classify"})
    assert (facts.ir_version, facts.opsets, facts.quantization) == (9, {"ai.onnx": 18}, None)
    save_sixteen_bits(tmp_path / "c.onnx")
    save_dynamically_quantized(tmp_path / "d.onnx")
    assert [onnx_file.read(tmp_path / name).quantization for name in ("c.onnx", "d.onnx")] == ["QDQ", "dynamic"]
