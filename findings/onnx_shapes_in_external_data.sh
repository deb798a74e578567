#!/usr/bin/env bash
# onnx 1.23.2 and ONNX Runtime 1.31.1: a model whose shapes lie in external data is valid, and cannot be loaded.
#
# A graph of one Reshape (its target shape a constant) and one MatMul is saved by onnx.save_model with all tensors in a
# file beside it, once with size_threshold=1024, the default, under which the shape of two numbers stays in the graph,
# and once with size_threshold=0, under which it goes to the file as well. onnx's checker takes both and its reference
# evaluator computes both alike. ONNX Runtime loads the first and refuses the second while it infers shapes.
#
# Why it matters: "externalise everything" is what people set who split a large model, and the error, which asks for
# external data to be loaded as raw data, does not say that the cure is a threshold at saving.
#
# Seen on 2026-11-30, Python 3.11, Linux, x86_64: 1024 loads and computes; 0 is refused.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6
cat > "$folder/try.py" <<'PYTHON'
import os
import sys

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

folder = sys.argv[1]
weights = np.arange(64 * 16, dtype=np.float32).reshape(64, 16)
graph = helper.make_graph(
    [helper.make_node("Reshape", ["x", "shape"], ["flat"]), helper.make_node("MatMul", ["flat", "weights"], ["y"])],
    "net",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 16])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16])],
    [
        numpy_helper.from_array(np.array([1, 64], np.int64), "shape"),
        numpy_helper.from_array(weights, "weights"),
    ],
)
x = np.ones((1, 4, 16), np.float32)
for threshold, loads in ((1024, True), (0, False)):
    path = os.path.join(folder, f"at-{threshold}.onnx")
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save_model(
        model, path, save_as_external_data=True, location=f"at-{threshold}.bin", size_threshold=threshold
    )
    onnx.checker.check_model(path)
    (expected,) = ReferenceEvaluator(path).run(None, {"x": x})
    assert np.allclose(expected, np.ones((1, 64), np.float32) @ weights)
    try:
        (found,) = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})
        assert np.allclose(found, expected)
        print(f"size_threshold={threshold}: loads, and computes the same")
        assert loads, "this has changed"
    except Exception as error:
        if loads or isinstance(error, AssertionError):
            raise
        print(f"size_threshold={threshold}: {type(error).__name__}: {str(error).splitlines()[0][:200]}")
PYTHON
"$folder/venv/bin/python" "$folder/try.py" "$folder"
