"""Which engine, device, precision and file a model gets, from its manifest and the settings."""

import logging
from pathlib import Path

import pytest
from onnx import TensorProto

from app.core.model import Decoding
from app.engines import catalog, devices, onnx_cuda
from app.engines.base import EngineName
from app.errors import DeviceUnavailable, EngineUnavailable, InvalidManifest
from app.loading import loader
from app.loading.serving import Serving, choose_device
from app.repository.repository import read_entry
from tests.engines.conftest import CPU, need
from tests.fixtures.models import (
    add_box_model,
    add_colour_model,
    colour_manifest,
    save_mean_colour,
    save_one_box,
    write_manifest,
)


def test_devices_are_chosen_as_documented() -> None:
    assert devices.choose("cpu", None).name == "cpu"
    assert devices.choose("auto", None).name == "cuda:0"
    assert devices.choose("cuda:1", None, gpus=2).name == "cuda:1"
    fallen = devices.choose("auto", "no driver")
    assert (fallen.name, fallen.reason) == ("cpu", "no driver")
    with pytest.raises(DeviceUnavailable, match=r"ROO_DEVICE=cuda:1 demands a GPU, but no driver\."):
        devices.choose("cuda:1", "no driver")
    with pytest.raises(DeviceUnavailable, match="there are only 2 GPUs, counted from 0"):
        devices.choose("cuda:2", None, gpus=2)


@pytest.mark.parametrize("asked", ["auto", "cuda"])
def test_without_a_number_all_gpus_share_the_work(asked: str) -> None:
    several = devices.choose(asked, None, gpus=3)
    assert several.name == "cuda:0-2"
    assert [member.name for member in several.members] == ["cuda:0", "cuda:1", "cuda:2"]
    assert [member.name for member in devices.choose("cuda:1", None, gpus=3).members] == ["cuda:1"]
    assert [member.name for member in CPU.members] == ["cpu"]


def test_a_gpu_that_is_not_there_is_named(tmp_path: Path) -> None:
    if catalog.cuda_problem("onnx") is None:
        pytest.skip("there is a GPU here")
    with pytest.raises(DeviceUnavailable, match="ROO_DEVICE=cuda demands a GPU"):
        choose_device("cuda")
    assert choose_device("auto").kind == "cpu"
    assert onnx_cuda.gpu_count() == 1


@pytest.mark.parametrize(("engine", "device"), [("tensorrt", "cpu"), ("openvino", "cuda")])
def test_an_engine_of_another_device(tmp_path: Path, engine: EngineName, device: str) -> None:
    need(engine)
    folder = add_colour_model(tmp_path, engine=engine)
    with pytest.raises(DeviceUnavailable, match=engine):
        loader.load(read_entry(folder), Serving(devices.choose(device, None)))


def test_the_manifests_engine_wins_then_the_settings_then_the_files(tmp_path: Path) -> None:
    need("openvino")
    plain = add_colour_model(tmp_path / "a")
    named = add_colour_model(tmp_path / "b", engine="onnx")
    assert loader.load(read_entry(plain), Serving(CPU))[0].engine.name == "onnx"
    assert loader.load(read_entry(plain), Serving(CPU, engine="openvino"))[0].engine.name == "openvino"
    assert loader.load(read_entry(named), Serving(CPU, engine="openvino"))[0].engine.name == "onnx"


def test_an_engine_without_a_file_that_it_reads(tmp_path: Path) -> None:
    folder = add_colour_model(tmp_path)
    with pytest.raises(InvalidManifest, match=r"the engine torch was asked for and there is no file that it reads"):
        loader.load(read_entry(folder), Serving(CPU, engine="torch"))
    folder = add_colour_model(tmp_path / "named", engine="torch")
    with pytest.raises(InvalidManifest, match=r"has no version; put the model at .*1/model\.pt2"):
        read_entry(folder)


def test_an_engine_that_is_not_installed_is_named_with_its_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    monkeypatch.delitem(__import__("sys").modules, "app.engines.openvino", raising=False)
    folder = add_colour_model(tmp_path, engine="openvino")
    with pytest.raises(EngineUnavailable, match=r"pip install 'roo-vision\[openvino\]', or choose another") as error:
        loader.load(read_entry(folder), Serving(CPU))
    assert len(str(error.value).splitlines()) == 1


def test_the_fastest_precision_that_the_manifest_lists(tmp_path: Path) -> None:
    need("openvino")
    able = catalog.precisions("openvino", CPU)
    careful = add_colour_model(tmp_path / "a", engine="openvino")
    ready = add_colour_model(tmp_path / "b", engine="openvino", precisions=["fp32", "bf16", "fp16"])
    able = tuple(precision for precision in able if precision != "int8")  # has a file of its own
    assert loader.load(read_entry(careful), Serving(CPU))[0].engine.precision == "fp32"
    assert loader.load(read_entry(ready), Serving(CPU))[0].engine.precision == able[0]
    assert loader.load(read_entry(ready), Serving(CPU, precision="fp32"))[0].engine.precision == "fp32"


def test_a_precision_beside_the_manifest_is_obeyed_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = add_colour_model(tmp_path, precisions=["bf16"])
    with caplog.at_level(logging.WARNING):
        (model,) = loader.load(read_entry(folder), Serving(CPU, precision="fp32"))
    assert model.engine.precision == "fp32"
    assert "computes in fp32, which its manifest does not list" in caplog.text


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_int8_is_computed_from_its_own_file(tmp_path: Path, engine: EngineName) -> None:
    need(engine)
    folder = add_colour_model(tmp_path, engine=engine)
    with pytest.raises(EngineUnavailable, match=r"there is no .*1/model\.int8\.onnx.*`.* quantize colour --data"):
        loader.load(read_entry(folder), Serving(CPU, precision="int8"))
    save_one_box(folder / "1" / "model.int8.onnx")  # another graph: it shows which of them was read
    with pytest.raises(InvalidManifest, match="colour version 1"):
        loader.load(read_entry(folder), Serving(CPU, precision="int8"))
    assert loader.load(read_entry(folder), Serving(CPU))[0].engine.precision == "fp32"


def test_the_setting_bounds_the_manifests_batch(tmp_path: Path) -> None:
    folder = add_colour_model(tmp_path, batching={"max_size": 8})
    assert loader.load(read_entry(folder), Serving(CPU))[0].max_batch_size == 8
    assert loader.load(read_entry(folder), Serving(CPU, max_batch=3))[0].max_batch_size == 3


def test_a_cpu_may_have_a_batch_limit_of_its_own(tmp_path: Path) -> None:
    folder = add_colour_model(tmp_path, batching={"max_size": 8, "max_size_cpu": 2})
    assert loader.load(read_entry(folder), Serving(CPU))[0].max_batch_size == 2
    assert read_entry(folder).manifest.batching.limit("cuda") == 8


def test_half_precision_input(tmp_path: Path) -> None:
    folder = tmp_path / "half"
    save_mean_colour(folder / "1" / "model.onnx", dtype=TensorProto.FLOAT16)
    write_manifest(folder, colour_manifest(input={"size": [16, 16], "resize": "stretch", "dtype": "float16"}))
    (model,) = loader.load(read_entry(folder), Serving(CPU))
    assert str(model.empty_batch().dtype) == "float16"


def test_a_decoder_that_does_not_fit_its_outputs(tmp_path: Path) -> None:
    folder = add_box_model(tmp_path, detection={"decoder": "yolo"})
    with pytest.raises(InvalidManifest):
        loader.load(read_entry(folder), Serving(CPU))


def test_each_file_may_have_its_digest(tmp_path: Path) -> None:
    import hashlib

    folder = add_colour_model(tmp_path)
    digest = hashlib.sha256((folder / "1" / "model.onnx").read_bytes()).hexdigest()
    write_manifest(folder, colour_manifest(sha256={"1": {"model.onnx": digest}}))
    assert list(read_entry(folder).versions) == ["1"]
    write_manifest(folder, colour_manifest(sha256={"1": {"model.onnx": "0" * 64}}))
    with pytest.raises(InvalidManifest, match="has the digest"):
        read_entry(folder)
    write_manifest(folder, colour_manifest(sha256={"1": {"model.pt2": digest}}))
    with pytest.raises(InvalidManifest, match=r"model\.pt2 is not a file of that version that is there"):
        read_entry(folder)


def test_where_pictures_are_decoded_is_chosen_at_load(tmp_path: Path) -> None:
    entry = read_entry(add_colour_model(tmp_path))
    assert loader.load(entry, Serving(CPU))[0].decoding == Decoding("cpu", "the model computes on the CPU")
    assert loader.load(entry, Serving(CPU, gpu_decode="off"))[0].decoding == Decoding("cpu", "ROO_GPU_DECODE=off")
    with pytest.raises(DeviceUnavailable, match=r"ROO_GPU_DECODE=on .*the model computes on the CPU \(model colour\)"):
        loader.load(entry, Serving(CPU, gpu_decode="on"))


def test_a_buffer_that_was_given_back_is_used_again(tmp_path: Path) -> None:
    (model,) = loader.load(read_entry(add_colour_model(tmp_path)), Serving(CPU))
    buffer, other = model.empty_batch(), model.empty_batch()
    assert buffer is not other
    model.give_back(buffer)
    assert model.empty_batch() is buffer
