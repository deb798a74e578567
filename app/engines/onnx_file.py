"""What an ONNX file says of its graph, read without the library `onnx`, which a service does not have.

Only the structure is walked; weights are stepped over, so a large file costs no more than a small one. Numbers of
fields and types are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

import math
import mmap
from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from app.engines import protobuf
from app.errors import InvalidManifest

_MODEL_IR, _MODEL_PRODUCER, _MODEL_PRODUCER_VERSION, _MODEL_GRAPH, _MODEL_OPSET, _MODEL_METADATA = 1, 2, 3, 7, 8, 14
_OPSET_DOMAIN, _OPSET_VERSION = 1, 2
_GRAPH_NODE, _GRAPH_INITIALIZER = 1, 5
_NODE_INPUT, _NODE_OUTPUT, _NODE_OPERATOR, _NODE_ATTRIBUTE = 1, 2, 4, 5
_ATTRIBUTE_NAME, _ATTRIBUTE_INT, _ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH = 1, 3, 5, 6
_TENSOR_DIMS, _TENSOR_TYPE, _TENSOR_NAME, _TENSOR_EXTERNAL = 1, 2, 8, 13
_SIXTEEN_BITS = {4: "uint16", 5: "int16"}
"""TensorProto.DataType of those that are quantized to."""
_QUANTIZING = ("QuantizeLinear", "DequantizeLinear")
_INTEGER = ("QLinearConv", "ConvInteger", "QLinearMatMul", "MatMulInteger", "QGemm", "MatMulIntegerToFloat")
_FLOAT = ("Conv", "FusedConv", "ConvTranspose", "MatMul", "FusedMatMul", "Gemm", "FusedGemm")


@dataclass(slots=True)
class GraphFacts:
    """How often each operator occurs, bodies of loops and branches included, and what is quantized to 16 bits; how many
    numbers the weights are; how many bytes are read of each further file by its location; what the exporter left.
    """

    operators: Counter[str] = field(default_factory=Counter)
    sixteen_bits: str | None = None
    parameters: int = 0
    external: dict[str, int] = field(default_factory=dict)
    ir_version: int = 0
    opsets: dict[str, int] = field(default_factory=dict)
    producer: str = ""
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def quantization(self) -> str | None:
        """How it is quantized, None where it is not: `dynamic`, `QLinear` (integer operators) or `QDQ`."""
        if self.couples_batch:
            return "dynamic"
        if any(name.startswith("QLinear") for name in self.operators) or self.integer_layers:
            return "QLinear"
        return "QDQ" if any(self.operators[name] for name in _QUANTIZING) else None

    @property
    def couples_batch(self) -> bool:
        """Whether a picture's answer depends on its neighbours: one range is taken of the whole batch."""
        return self.operators["DynamicQuantizeLinear"] > 0

    @property
    def integer_layers(self) -> int:
        """Convolutions and matrix products in integers."""
        return sum(self.operators[name] for name in _INTEGER)

    @property
    def layers(self) -> int:
        """All convolutions and matrix products."""
        return self.integer_layers + sum(self.operators[name] for name in _FLOAT)


def read(path: Path) -> GraphFacts:
    """What the file says; nothing of one that is no ONNX file, of which an engine will say more. Raises `OSError`."""
    status = path.stat()
    return _read(path, status.st_size, status.st_mtime_ns) if status.st_size else GraphFacts()


@lru_cache(maxsize=16)
def _read(path: Path, size: int, changed: int) -> GraphFacts:
    """A model is opened several times while it is found out how it is served best; its file stays the same."""
    facts = GraphFacts()
    with path.open("rb") as file:
        model = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))  # unmapped with its last slice
    try:
        for number, value in protobuf.fields(model):
            if number == _MODEL_IR and isinstance(value, int):
                facts.ir_version = value
            elif isinstance(value, memoryview):
                _read_field(number, value, facts)
    except (ValueError, IndexError):
        return GraphFacts()
    return facts


def _read_field(number: int, value: memoryview, facts: GraphFacts) -> None:
    """One of a model's fields."""
    if number == _MODEL_GRAPH:
        _walk(value, facts)
    elif number in (_MODEL_PRODUCER, _MODEL_PRODUCER_VERSION):
        facts.producer = f"{facts.producer} {protobuf.text(value)}".strip()
    elif number == _MODEL_METADATA:
        facts.metadata.update([protobuf.pair(value)])
    elif number == _MODEL_OPSET:
        domain, version = "", 0
        for part, found in protobuf.fields(value):
            if part == _OPSET_DOMAIN and isinstance(found, memoryview):
                domain = protobuf.text(found)
            elif part == _OPSET_VERSION and isinstance(found, int):
                version = found
        facts.opsets[domain or "ai.onnx"] = version


def refuse_coupled_batch(path: Path, facts: GraphFacts, size: int | None) -> None:
    """Raises `InvalidManifest` where the batch is fixed at more than one picture and they would change each other's
    answers.
    """
    if facts.couples_batch and size not in (None, 1):
        raise InvalidManifest(
            f"{path}: takes one range for all {size} pictures of its batch (DynamicQuantizeLinear), so each would "
            "change the others' answers. Export it with a batch of 1 or a dynamic one, or quantize it with "
            f"`roo-vision models quantize {path.parent.parent.name} --data PICTURES`."
        )


def _walk(graph: memoryview, facts: GraphFacts) -> None:
    types: dict[str, int] = {}
    quantizing: list[tuple[list[str], int]] = []
    for number, value in protobuf.fields(graph):
        if not isinstance(value, memoryview):
            continue
        if number == _GRAPH_INITIALIZER:
            name, kind = _tensor(value, facts)
            types[name] = kind
        elif number == _GRAPH_NODE:
            operator, inputs, kind = _node(value, types, facts)
            facts.operators[operator] += 1
            if operator in _QUANTIZING:
                quantizing.append((inputs, kind))
    for inputs, kind in quantizing:
        for found in (kind, *(types.get(name, 0) for name in inputs)):
            facts.sixteen_bits = facts.sixteen_bits or _SIXTEEN_BITS.get(found)


def _node(node: memoryview, types: dict[str, int], facts: GraphFacts) -> tuple[str, list[str], int]:
    """Its operator, its inputs' names and its attribute `output_dtype`; a constant's type is noted in `types`."""
    operator, inputs, outputs, output_type, constant = "", list[str](), list[str](), 0, 0
    for number, value in protobuf.fields(node):
        if not isinstance(value, memoryview):
            continue
        if number == _NODE_INPUT:
            inputs.append(protobuf.text(value))
        elif number == _NODE_OUTPUT:
            outputs.append(protobuf.text(value))
        elif number == _NODE_OPERATOR:
            operator = protobuf.text(value)
        elif number == _NODE_ATTRIBUTE:
            name, whole, kind = _attribute(value, facts)
            output_type = whole if name == "output_dtype" else output_type
            constant = constant or kind
    if operator == "Constant":
        types.update(dict.fromkeys(outputs, constant))
    return operator, inputs, output_type


def _attribute(attribute: memoryview, facts: GraphFacts) -> tuple[str, int, int]:
    """Its name, its whole number and the type of its tensor; a graph in it is walked."""
    name, whole, kind = "", 0, 0
    for number, value in protobuf.fields(attribute):
        if number == _ATTRIBUTE_INT and isinstance(value, int):
            whole = value
        elif not isinstance(value, memoryview):
            continue
        elif number == _ATTRIBUTE_NAME:
            name = protobuf.text(value)
        elif number == _ATTRIBUTE_TENSOR:
            kind = _tensor(value, facts)[1]
        elif number == _ATTRIBUTE_GRAPH:
            _walk(value, facts)
    return name, whole, kind


def _tensor(tensor: memoryview, facts: GraphFacts) -> tuple[str, int]:
    """Its name and type; its size, and the file that it lies in, are added to the facts."""
    name, kind, sides, outside = "", 0, list[int](), dict[str, str]()
    for number, value in protobuf.fields(tensor):
        if number == _TENSOR_DIMS:
            sides += protobuf.whole_numbers(value)
        elif number == _TENSOR_TYPE and isinstance(value, int):
            kind = value
        elif number == _TENSOR_NAME and isinstance(value, memoryview):
            name = protobuf.text(value)
        elif number == _TENSOR_EXTERNAL and isinstance(value, memoryview):
            outside.update([protobuf.pair(value)])
    facts.parameters += math.prod(sides)
    if location := outside.get("location"):
        end = int(outside.get("offset", 0)) + int(outside.get("length", 0))
        facts.external[location] = max(end, facts.external.get(location, 0))
    return name, kind
