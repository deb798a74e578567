"""Fixed memory, buckets and the one thread of ONNX Runtime's graphs, on real sessions; captured where there is CUDA."""

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from app.engines import catalog
from app.engines.base import EngineOptions, TensorSpec
from app.engines.devices import Device
from app.engines.onnx_graphs import CaptureFailed, Graphs
from app.engines.onnx_runs import Runs
from tests.engines.conftest import CPU, GPU, need
from tests.fixtures.models import save_mean_colour

IMAGE = TensorSpec("image", np.dtype(np.float32), (None, 3, 16, 16))
SCORES = (TensorSpec("scores", np.dtype(np.float32), (None, 3)),)

DEVICES = [pytest.param(CPU, id="cpu"), pytest.param(GPU, id="cuda", marks=pytest.mark.gpu)]


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((count, 3, 16, 16), np.float32)


def means(batch: np.ndarray) -> np.ndarray:
    return np.asarray(batch.mean(axis=(2, 3)))


@pytest.fixture(params=DEVICES)
def device(request: pytest.FixtureRequest) -> Device:
    found: Device = request.param
    if found.kind == "cuda" and (problem := catalog.cuda_problem("onnx")):
        pytest.skip(f"needs a GPU: {problem}")
    return found


@pytest.fixture
def graphs(device: Device, tmp_path: Path) -> Iterator[Graphs]:
    save_mean_colour(tmp_path / "model.onnx")
    found = Graphs(session(tmp_path / "model.onnx", device), IMAGE, SCORES, EngineOptions(device, max_batch=8))
    yield found
    found.close()


def session(path: Path, device: Device) -> ort.InferenceSession:
    cuda = ("CUDAExecutionProvider", {"device_id": str(device.index), "enable_cuda_graph": "1"})
    return ort.InferenceSession(path, providers=[cuda] if device.kind == "cuda" else ["CPUExecutionProvider"])


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_every_row_is_its_own_pictures(graphs: Graphs, count: int) -> None:
    batch = pictures(count)
    (first,) = graphs.run(batch)
    graphs.run(pictures(count, seed=1))
    assert first.shape == (count, 3)
    assert np.allclose(first, means(batch), atol=1e-5)


@pytest.mark.torch
def test_tensors_are_copied_into_the_fixed_input(graphs: Graphs, device: Device) -> None:
    need("torch")
    import torch

    for seed, count in enumerate((3, 4, 1, 3)):
        batch = pictures(count, seed)
        (rows,) = graphs.run_on_device(torch.from_numpy(batch).to(device.name))
        assert np.allclose(rows, means(batch), atol=1e-5)


def test_threads_take_turns(graphs: Graphs) -> None:
    wrong: list[int] = []

    def work(seed: int) -> None:
        for turn in range(10):
            batch = pictures(1 + (seed + turn) % 8, seed * 100 + turn)
            (rows,) = graphs.run(batch)
            if not np.allclose(rows, means(batch), atol=1e-5):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_error_is_the_callers_and_the_next_call_is_served(graphs: Graphs) -> None:
    with pytest.raises(Exception, match=r"shape|dimension|size"):
        graphs.run(np.zeros((2, 3, 8, 8), np.float32))
    (rows,) = graphs.run(pictures(2))
    assert np.allclose(rows, means(pictures(2)), atol=1e-5)


def test_a_replay_that_computes_something_else_is_noticed(tmp_path: Path) -> None:
    """This graph answers with chance, so no two runs of it agree."""
    save_chance(tmp_path / "model.onnx")
    found = Graphs(session(tmp_path / "model.onnx", CPU), IMAGE, SCORES, EngineOptions(CPU, max_batch=8))
    with pytest.raises(CaptureFailed, match="another scores than computing it"):
        found.run(pictures(2))
    found.close()


def test_what_cannot_be_captured_is_computed_without_graphs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_chance(tmp_path / "model.onnx")
    opened: list[bool] = []

    def open_session(graphs: bool) -> ort.InferenceSession:
        opened.append(graphs)
        return session(tmp_path / "model.onnx", CPU)

    runs = Runs(open_session, lambda _: (IMAGE, SCORES), EngineOptions(CPU, max_batch=4), graphs=True)
    with caplog.at_level(logging.WARNING):
        assert runs.warm_up(pictures(2))["scores"].shape == (2, 3)
    assert "no CUDA graphs, kernels are launched one by one: replaying the graph gives another scores" in caplog.text
    assert runs.run(pictures(3))["scores"].shape == (3, 3)
    assert opened == [True, False]
    runs.close()


def test_a_session_that_refuses_graphs_is_opened_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_mean_colour(tmp_path / "model.onnx")

    def open_session(graphs: bool) -> ort.InferenceSession:
        if graphs:
            raise RuntimeError("all compute graph nodes have not been partitioned to the CUDAExecutionProvider")
        return session(tmp_path / "model.onnx", CPU)

    with caplog.at_level(logging.WARNING):
        runs = Runs(open_session, lambda _: (IMAGE, SCORES), EngineOptions(CPU, max_batch=4), graphs=True)
    assert "no CUDA graphs, kernels are launched one by one: all compute graph nodes" in caplog.text
    assert np.allclose(runs.warm_up(pictures(3))["scores"], means(pictures(3)), atol=1e-5)
    runs.close()


def save_chance(path: Path) -> None:
    """A graph `[batch, 3, 16, 16]` → `[batch, 3]` of chance."""
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=0),
            helper.make_node("RandomNormalLike", ["mean"], ["scores"]),
        ],
        "chance",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.array([2, 3], np.int64), "axes")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
