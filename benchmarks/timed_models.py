"""Models whose batches take a chosen time, whatever the machine: honest arithmetic in a loop, measured first."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import yaml
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper, save

from app.repository.manifest import FILE_NAME

WIDTH = 1024
_MEASURED_STEPS = 400


def add_model(root: Path, name: str, seconds: float, max_size: int = 1) -> None:
    """Write a classifier to the repository `root` whose network takes about so long for a picture, on one core; with 0,
    no time worth the name. `max_size` is the most of them in a batch.
    """
    folder = root / name / "1"
    folder.mkdir(parents=True)
    _write(folder / "model.onnx", _steps_for(seconds, folder / "model.onnx"))
    manifest = {
        "task": "classification",
        "labels": ["red", "green", "blue"],
        "input": {"size": [16, 16], "resize": "stretch"},
        "batching": {"max_size": max_size},
        "classification": {"softmax": False},
    }
    (root / name / FILE_NAME).write_text(yaml.safe_dump(manifest))


def _steps_for(seconds: float, path: Path) -> int:
    _write(path, _MEASURED_STEPS)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    picture = {"image": np.zeros((1, 3, 16, 16), np.float32)}
    session.run(None, picture)
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        session.run(None, picture)
        taken.append(time.perf_counter() - began)
    return max(1 if seconds else 0, round(_MEASURED_STEPS * seconds / sorted(taken)[1]))


def _write(path: Path, steps: int) -> None:
    info = helper.make_tensor_value_info
    step = helper.make_graph(
        [
            helper.make_node("MatMul", ["hidden", "mix"], ["mixed"]),
            helper.make_node("Tanh", ["mixed"], ["next"]),
            helper.make_node("Identity", ["before"], ["after"]),
        ],
        "step",
        [
            info("number", TensorProto.INT64, []),
            info("before", TensorProto.BOOL, []),
            info("hidden", TensorProto.FLOAT, ["batch", WIDTH]),
        ],
        [info("after", TensorProto.BOOL, []), info("next", TensorProto.FLOAT, ["batch", WIDTH])],
    )
    nodes = [
        helper.make_node("ReduceMean", ["image", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "widen"], ["first"]),
        helper.make_node("Loop", ["steps", "", "first"], ["hidden_at_last"], body=step),
        helper.make_node("ReduceMean", ["hidden_at_last", "last"], ["single"], keepdims=1),
        helper.make_node("Mul", ["single", "zero"], ["nothing"]),
        helper.make_node("Add", ["mean", "nothing"], ["scores"]),
    ]
    random = np.random.default_rng(0)
    constants: dict[str, NDArray[Any]] = {
        "axes": np.array([2, 3], np.int64),
        "last": np.array([1], np.int64),
        "zero": np.array(0, np.float32),
        "steps": np.array(steps, np.int64),
        "widen": random.standard_normal((3, WIDTH), np.float32),
        "mix": random.standard_normal((WIDTH, WIDTH), np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "timed",
        [info("image", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [info("scores", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
