"""What every engine must do, on real sessions of small generated models."""

import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

from app.core import loading
from app.core.loading import Serving
from app.engines import devices
from app.engines.base import EngineOptions
from app.engines.onnx import OnnxEngine
from app.errors import DeviceUnavailable, InvalidManifest
from app.repository.repository import read_entry
from tests.fixtures.models import (
    add_box_model,
    add_colour_model,
    colour_manifest,
    save_mean_colour,
    write_manifest,
)

CPU = devices.choose("cpu", None)


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3, 16, 16), np.float32)


@pytest.fixture
def engine(tmp_path: Path) -> OnnxEngine:
    save_mean_colour(tmp_path / "model.onnx")
    return OnnxEngine(tmp_path / "model.onnx", EngineOptions(CPU))


def test_it_describes_its_graph(engine: OnnxEngine) -> None:
    assert (engine.name, engine.device) == ("onnx", "cpu")
    assert engine.input.name == "image"
    assert engine.input.shape == (None, 3, 16, 16)
    assert engine.input.dtype == np.float32
    assert engine.input.batch_size is None
    assert [(spec.name, spec.shape) for spec in engine.outputs] == [("scores", (None, 3))]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_row_is_its_own_pictures(engine: OnnxEngine, count: int) -> None:
    batch = pictures(count)
    scores = engine.run(batch)["scores"]
    assert np.allclose(scores, batch.mean(axis=(2, 3)), atol=1e-5)


def test_threads_may_run_it_at_once(engine: OnnxEngine) -> None:
    wrong: list[int] = []

    def work(seed: int) -> None:
        for step in range(30):
            batch = pictures(1 + step % 4, seed * 100 + step)
            if not np.allclose(engine.run(batch)["scores"], batch.mean(axis=(2, 3)), atol=1e-5):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_wrong_shape_is_an_error_of_that_call_alone(engine: OnnxEngine) -> None:
    with pytest.raises(Exception, match="dimension"):
        engine.run(np.zeros((1, 3, 8, 8), np.float32))
    assert engine.run(pictures(1))["scores"].shape == (1, 3)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x09" * 100])
def test_a_file_that_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InvalidManifest, match=r"model\.onnx.*cannot load") as error:
        OnnxEngine(path, EngineOptions(CPU))
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("batch", ["batch", 1, 2, 3])
@pytest.mark.parametrize("max_size", [1, 4, 5])
def test_fixed_batch_dimensions_are_served_too(tmp_path: Path, batch: int | str, max_size: int) -> None:
    folder = tmp_path / "colour"
    save_mean_colour(folder / "1" / "model.onnx", batch=batch)
    write_manifest(folder, colour_manifest(batching={"max_size": max_size}))
    (model,) = loading.load(read_entry(folder), Serving(CPU))
    for count in range(1, max_size + 1):
        rows = model.compute(pictures(count, count))
        assert np.allclose([row["scores"] for row in rows], pictures(count, count).mean(axis=(2, 3)), atol=1e-5)


def test_the_setting_bounds_the_manifests_batch(tmp_path: Path) -> None:
    folder = add_colour_model(tmp_path, batching={"max_size": 8})
    assert loading.load(read_entry(folder), Serving(CPU))[0].max_batch_size == 8
    assert loading.load(read_entry(folder), Serving(CPU, max_batch=3))[0].max_batch_size == 3


def test_half_precision_input(tmp_path: Path) -> None:
    folder = tmp_path / "half"
    save_mean_colour(folder / "1" / "model.onnx", dtype=TensorProto.FLOAT16)
    write_manifest(folder, colour_manifest(input={"size": [16, 16], "resize": "stretch", "dtype": "float16"}))
    (model,) = loading.load(read_entry(folder), Serving(CPU))
    assert model.empty_batch().dtype == np.float16


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input": {"size": [32, 16]}}, "size and layout give"),
        ({"input": {"size": [16, 16], "layout": "nhwc"}}, "size and layout give"),
        ({"input": {"size": [16, 16], "dtype": "float16"}}, r"input\.dtype: is float16"),
        ({"labels": ["only", "two"]}, "labels"),
    ],
)
def test_a_manifest_that_does_not_fit_its_graph(tmp_path: Path, changes: dict[str, object], words: str) -> None:
    folder = add_colour_model(tmp_path, **changes)
    with pytest.raises(InvalidManifest, match=words):
        loading.load(read_entry(folder), Serving(CPU))


def test_a_decoder_that_does_not_fit_its_outputs(tmp_path: Path) -> None:
    folder = add_box_model(tmp_path, detection={"decoder": "yolo"})
    with pytest.raises(InvalidManifest):
        loading.load(read_entry(folder), Serving(CPU))


def test_devices_are_chosen_as_documented() -> None:
    assert devices.choose("cpu", None).name == "cpu"
    assert devices.choose("auto", None).name == "cuda:0"
    assert devices.choose("cuda:1", None).name == "cuda:1"
    fallen = devices.choose("auto", "no driver")
    assert (fallen.name, fallen.reason) == ("cpu", "no driver")
    with pytest.raises(DeviceUnavailable, match=r"ROO_DEVICE=cuda:1 demands a GPU, but no driver\."):
        devices.choose("cuda:1", "no driver")


def test_a_cpu_may_have_a_batch_limit_of_its_own(tmp_path: Path) -> None:
    folder = add_colour_model(tmp_path, batching={"max_size": 8, "max_size_cpu": 2})
    assert loading.load(read_entry(folder), Serving(CPU))[0].max_batch_size == 2
    assert read_entry(folder).manifest.batching.limit("cuda") == 8
