"""An ONNX graph quantized to eight bits, by ONNX Runtime's quantizer; needs onnx (the extra `tools`).

What is written is QDQ: the graph as it was, with pairs of QuantizeLinear and DequantizeLinear around what is to be
computed in integers. Weights get a scale for each channel, activations the least and the greatest value seen, unsigned:
signed ones leave a convolution in float where several nodes read what goes in.
"""

import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from app.engines.base import Array
from app.engines.library_errors import first_line, missing
from app.errors import InvalidManifest

try:
    import onnx
    from onnx import version_converter
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process
except ImportError as error:
    raise missing("`roo-vision models quantize` needs onnx, which", "tools", error) from error

OPSET = 13
"""The first in which a scale for each channel can be written."""
_SMALLEST = 64
"""Weights of a layer. One with fewer is arithmetic written as a convolution: the mean over a box's bins in YOLOv8."""
_LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_QUANTIZED = [
    *("Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "Relu", "LeakyRelu", "Clip", "Sigmoid", "Concat"),
    *("MaxPool", "AveragePool", "GlobalAveragePool", "Resize", "Split", "Slice", "Transpose", "Reshape", "Pad"),
    *("Squeeze", "Unsqueeze"),
]
"""The quantizer knows more, such as Exp and Softmax, whose values do not lie evenly in a range."""


def quantize(source: Path, target: Path, rows: Iterable[Array], told: Callable[[], None] = lambda: None) -> None:
    """Write the graph of `source` to `target`, quantized, with ranges from `rows`, prepared pictures `[1, …input]`.

    The last convolution or matrix product of each output, and what follows it, stays in float: what decodes boxes and
    squashes scores has no range of its own to lose, and cost a tenth of a detector's mAP50-95. `told` is called after
    each picture. Raises `InvalidManifest` where the graph is quantized already, or nothing in it can be.
    """
    # The quantizer explains on the root logger what it will do anyway.
    logging.getLogger().addFilter(_not_the_quantizers)
    try:
        with tempfile.TemporaryDirectory(prefix="roo-quantize-") as scratch:
            folded = Path(scratch) / "folded.onnx"
            _fold(source, folded, Path(scratch))
            model = onnx.load(folded)
            kept = _kept_in_float(source, model)
            quantization.quantize_static(
                str(folded),
                str(target),
                _Rows(model, rows, told),
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QUInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=_QUANTIZED,
                nodes_to_exclude=kept,
            )
    finally:
        logging.getLogger().removeFilter(_not_the_quantizers)


def _fold(source: Path, target: Path, scratch: Path) -> None:
    """Fold batch normalisation and constants, name every node, and raise an older opset."""
    try:
        model = onnx.load(source)
        version = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
        if version < OPSET:
            source = scratch / "newer.onnx"
            onnx.save(version_converter.convert_version(model, OPSET), source)
        quant_pre_process(str(source), str(target), skip_symbolic_shape=True)
        model = onnx.load(target)
        for place, node in enumerate(model.graph.node):
            node.name = node.name or f"node_{place}"  # by which the quantizer is told what to leave alone
        onnx.save(model, target)
    except Exception as error:  # both libraries raise many unrelated types, all meaning: this graph cannot be read
        raise InvalidManifest(f"{source}: cannot be prepared for quantizing: {first_line(error)}.") from error


def _kept_in_float(source: Path, model: Any) -> list[str]:
    """The names of the nodes that no further convolution or matrix product follows."""
    operators = {node.op_type for node in model.graph.node}
    if operators & {"QuantizeLinear", "DynamicQuantizeLinear"}:
        raise InvalidManifest(f"{source}: is quantized already; give the graph that it was made from.")
    few = {tensor.name for tensor in model.graph.initializer if np.prod(tensor.dims) < _SMALLEST}
    layers = {node.name for node in model.graph.node if node.op_type in _LAYERS and not few & set(node.input[:2])}
    readers: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    before_layer: set[str] = set()
    for node in reversed(model.graph.node):  # a graph is sorted: whoever reads a value comes later
        after = [reader for name in node.output for reader in readers.get(name, [])]
        if any(reader.name in layers or reader.name in before_layer for reader in after):
            before_layer.add(node.name)
    if not layers & before_layer:
        raise InvalidManifest(
            f"{source}: there is nothing to quantize: no convolution or matrix product but the last ones, which stay "
            "in float."
        )
    return [node.name for node in model.graph.node if node.name not in before_layer]


class _Rows(quantization.CalibrationDataReader):  # type: ignore[misc]
    """The quantizer asks for one picture after the other."""

    def __init__(self, model: Any, rows: Iterable[Array], told: Callable[[], None]) -> None:
        self._name = model.graph.input[0].name
        self._batch = model.graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
        self._rows: Iterator[Array] = iter(rows)
        self._told = told

    def get_next(self) -> dict[str, Array] | None:
        row = next(self._rows, None)
        if row is None:
            return None
        self._told()
        return {self._name: np.repeat(row, self._batch, axis=0)}


def _not_the_quantizers(record: logging.LogRecord) -> bool:
    return "quant" not in record.pathname
