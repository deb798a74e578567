"""Write the network of the example `carton-damage`: `python models/examples/make_carton_damage.py`.

Its weights are random. What it says of a carton means nothing; it shows what a chain does.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHANNELS = (3, 8, 16, 32)
CLASSES = 2
SIDE = 64


def network(seed: int = 38) -> onnx.ModelProto:
    """Three convolutions, a mean and a layer: `image` float32 [batch, 3, 64, 64] → `logits` [batch, 2]."""
    random = np.random.default_rng(seed)
    nodes, weights, value = [], [], "image"
    for number, (before, after) in enumerate(pairwise(CHANNELS)):
        kernel = random.normal(0, np.sqrt(2 / (9 * before)), (after, before, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"kernel{number}"))
        nodes.append(
            helper.make_node("Conv", [value, f"kernel{number}"], [f"sum{number}"], strides=[2, 2], pads=[1, 1, 1, 1])
        )
        nodes.append(helper.make_node("Relu", [f"sum{number}"], [f"layer{number}"]))
        value = f"layer{number}"
    weights.append(numpy_helper.from_array(random.normal(0, 1, (CHANNELS[-1], CLASSES)).astype(np.float32), "classes"))
    weights.append(numpy_helper.from_array(np.array([2, 3], np.int64), "places"))
    nodes.append(helper.make_node("ReduceMean", [value, "places"], ["means"], keepdims=0))
    nodes.append(helper.make_node("MatMul", ["means", "classes"], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "carton_damage_example",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", CHANNELS[0], SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    onnx.save(network(), Path(__file__).parent / "carton-damage" / "1" / "model.onnx")
