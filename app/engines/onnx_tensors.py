"""ONNX Runtime's descriptions of a graph's inputs and outputs, in the engines' own words."""

import numpy as np

from app.engines.base import TensorSpec
from app.engines.onnx_runtime import ort
from app.errors import InvalidManifest

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}


def inputs_of(session: ort.InferenceSession) -> list[TensorSpec]:
    """The graph's inputs, in its order; raises `InvalidManifest` where one is of a type that is not served."""
    return [_spec(node) for node in session.get_inputs()]


def outputs_of(session: ort.InferenceSession) -> tuple[TensorSpec, ...]:
    """The graph's outputs, in its order; raises `InvalidManifest` where one is of a type that is not served."""
    return tuple(_spec(node) for node in session.get_outputs())


def _spec(node: ort.NodeArg) -> TensorSpec:
    if node.type not in _DTYPES:
        raise InvalidManifest(f"tensor {node.name} is of type {node.type}, which is not served.")
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in node.shape)
    return TensorSpec(node.name, np.dtype(_DTYPES[node.type]), shape)
