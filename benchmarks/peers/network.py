"""MobileNetV3-Large (Howard et al., 2019, arXiv:1905.02244) at 224 pixels with random weights, as ONNX."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml
from onnx import TensorProto, checker, helper, numpy_helper, save

from app.repository.manifest import FILE_NAME
from benchmarks.peers.settings import CLASSES, INPUT, SIDE
from models.shelf.training.mobilenet import BLOCKS

NAME = "mobilenet"
_SEED = 20_261_130


def add_model(root: Path) -> Path:
    """Write the model to the repository `root`; returns the graph's path."""
    path = root / NAME / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    _Graph().write(path)
    manifest = {
        "task": "classification",
        "labels": [f"class {number}" for number in range(CLASSES)],
        "input": INPUT,
        "batching": {"max_size": 16},
    }
    (root / NAME / FILE_NAME).write_text(yaml.safe_dump(manifest))
    return path


class _Graph:
    """Nodes and weights, one layer after the other; batch normalisation is taken as folded already."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(_SEED)
        self._nodes: list[Any] = []
        self._weights: list[Any] = []

    def write(self, path: Path) -> None:
        """Build the network and save it."""
        x = self._hard_swish(self._conv("image", 3, 16, 3, 2))
        inputs = 16
        for kernel, wide, outputs, excite, hard, stride in BLOCKS:
            x = self._block(x, inputs, kernel, wide, outputs, excite, hard, stride)
            inputs = outputs
        x = self._hard_swish(self._conv(x, inputs, 960, 1))
        x = self._node("Flatten", [self._node("GlobalAveragePool", [x])])
        x = self._hard_swish(self._dense(x, 960, 1280))
        scores = self._dense(x, 1280, CLASSES)
        value = helper.make_tensor_value_info
        graph = helper.make_graph(
            self._nodes,
            NAME,
            [value("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
            [value(scores, TensorProto.FLOAT, ["batch", CLASSES])],
            self._weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        checker.check_model(model)
        save(model, path)

    def _block(
        self, x: str, inputs: int, kernel: int, wide: int, outputs: int, excite: bool, hard: bool, stride: int
    ) -> str:
        act = self._hard_swish if hard else self._relu
        y = x if wide == inputs else act(self._conv(x, inputs, wide, 1))
        y = act(self._conv(y, wide, wide, kernel, stride, groups=wide))
        if excite:
            less = self._relu(self._conv(self._node("GlobalAveragePool", [y]), wide, wide // 4, 1))
            gate = self._node("HardSigmoid", [self._conv(less, wide // 4, wide, 1)], alpha=1 / 6, beta=0.5)
            y = self._node("Mul", [y, gate])
        y = self._conv(y, wide, outputs, 1)
        return self._node("Add", [x, y]) if stride == 1 and inputs == outputs else y

    def _conv(self, x: str, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> str:
        weight = self._weight((outputs, inputs // groups, kernel, kernel))
        bias = self._weight((outputs,))
        sides = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4}
        return self._node("Conv", [x, weight, bias], group=groups, **sides)

    def _dense(self, x: str, inputs: int, outputs: int) -> str:
        return self._node("Gemm", [x, self._weight((inputs, outputs)), self._weight((outputs,))])

    def _hard_swish(self, x: str) -> str:
        return self._node("HardSwish", [x])

    def _relu(self, x: str) -> str:
        return self._node("Relu", [x])

    def _weight(self, shape: tuple[int, ...]) -> str:
        spread = (2 / max(1, int(np.prod(shape[1:])))) ** 0.5 if len(shape) > 1 else 0.1
        name = f"weight{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(self._random.normal(0, spread, shape).astype(np.float32), name))
        return name

    def _node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        name = f"value{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name
