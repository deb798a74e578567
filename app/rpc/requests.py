"""From a `ModelInferRequest` to a call."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from app.core.admission import Permit
from app.engines.base import Array
from app.errors import InvalidRequest
from app.oip import datatypes
from app.oip.call import Call, InputTensor, RequestedOutput, input_tensor, read_wishes
from app.rpc import raw_contents
from app.rpc.messages import message, parse

MOST_TYPED = 300_000
"""Elements of typed contents: reading them is the event loop's work. Raw contents cost it nothing."""
MOST_BESIDE_RAW = 4 * 2**20
"""Bytes of a message beside its raw contents."""
_GROWTH = 8
"""Typed elements may take so many times as much memory as they did on the wire."""

_SAID_BY_CLIENTS = {"content_type", "binary_data_size"}
"""By MLServer's and KServe's, of what is seen from the contents."""

CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    datatypes.BYTES: "bytes_contents",
}
"""Where a datatype's elements are; FP16 has only the raw form."""


def read_call(content: bytes, permit: Permit, arrived: float) -> Call:
    """What a message asks; raw tensors of numbers stay where they are in `content`.

    Raises `InvalidRequest`, and `Overloaded` where there is no room.
    """
    beside, raw = raw_contents.split(content)
    if len(beside) > MOST_BESIDE_RAW:
        raise InvalidRequest(
            f"The message has {len(beside)} bytes beside its raw_input_contents; at most {MOST_BESIDE_RAW} are taken. "
            "Send large tensors there."
        )
    permit.take_bytes(_GROWTH * len(beside))
    request = parse(message("ModelInferRequest"), beside)
    if not request.model_name:
        raise InvalidRequest("The message names no model (model_name).")
    return Call(
        model=request.model_name,
        version=request.model_version or None,
        id=request.id[:256],
        wishes=read_wishes(_parameters(request.parameters), arrived),
        inputs=_inputs(request.inputs, raw),
        outputs=[_output(wanted) for wanted in request.outputs],
        binary=bool(raw) or not any(sent.HasField("contents") for sent in request.inputs),
    )


def id_of(content: bytes) -> str:
    """The id of a message that `read_call` refuses; empty where nothing can be read of it."""
    try:
        beside, _ = raw_contents.split(content)
        if len(beside) > MOST_BESIDE_RAW:
            return ""
        found: str = parse(message("ModelInferRequest"), beside).id
    except InvalidRequest:
        return ""
    return found[:256]


def _inputs(sent: Sequence[Any], raw: list[memoryview]) -> list[InputTensor]:
    # MLServer's client sends contents without elements beside raw ones.
    typed = [tensor.name for tensor in sent if tensor.contents.ListFields()]
    if raw and typed:
        raise InvalidRequest(
            f"The input {typed[0][:50]} has typed contents, and there are raw_input_contents; send one."
        )
    if raw and len(raw) != len(sent):
        raise InvalidRequest(f"There are {len(sent)} inputs and {len(raw)} raw_input_contents; each input has one.")
    tensors = []
    for place, tensor in enumerate(sent):
        parameters = _parameters(tensor.parameters)
        if any(name.startswith("shared_memory") for name in parameters):
            raise InvalidRequest("Shared memory is not taken: the service shares none with its callers.")
        if unknown := parameters.keys() - _SAID_BY_CLIENTS:
            raise InvalidRequest(f"There is no parameter {next(iter(unknown))[:50]!r} of an input.")
        datatypes.check_datatype(tensor.datatype)
        shape = list(tensor.shape)
        if raw:
            content = datatypes.from_bytes(tensor.name, tensor.datatype, shape, raw[place])
        else:
            content = _typed(tensor, shape)
        tensors.append(input_tensor(tensor.name, tensor.datatype, content, parameters.get("content_type")))
    return tensors


def _typed(tensor: Any, shape: list[int]) -> Array:
    wanted = CONTENTS.get(tensor.datatype)
    if wanted is None:
        raise InvalidRequest(f"{tensor.datatype} has no typed contents; send {tensor.name[:50]} in raw_input_contents.")
    count = datatypes.count_of(shape, tensor.name)
    filled = [field.name for field, _ in tensor.contents.ListFields()]
    if any(name != wanted for name in filled):
        raise InvalidRequest(f"Elements of {tensor.datatype} belong into {wanted}, not into {', '.join(filled)}.")
    elements = getattr(tensor.contents, wanted)
    if len(elements) != count:
        raise InvalidRequest(
            f"The tensor {tensor.name[:50]} of shape {shape} has {count} elements; {len(elements)} were sent."
        )
    if count > MOST_TYPED:
        raise InvalidRequest(f"More than {MOST_TYPED} typed elements are not taken; send them in raw_input_contents.")
    if tensor.datatype == datatypes.BYTES:
        return datatypes.objects(list(elements), shape)
    try:
        return np.array(list(elements), datatypes.NUMPY[tensor.datatype]).reshape(shape)
    except OverflowError:
        raise InvalidRequest(
            f"The tensor {tensor.name[:50]} holds numbers that {tensor.datatype} cannot hold."
        ) from None


def _output(wanted: Any) -> RequestedOutput:
    parameters = _parameters(wanted.parameters)
    count = parameters.pop("classification", 0)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise InvalidRequest("The parameter classification is how many classes are wanted.")
    for name in parameters:
        if name.startswith("shared_memory"):
            raise InvalidRequest("Shared memory is not taken: the service shares none with its callers.")
        if name not in ("binary_data", "content_type"):
            raise InvalidRequest(f"There is no parameter {name[:50]!r} of an output.")
    return RequestedOutput(wanted.name, count)


def _parameters(sent: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name in sent:
        kind = sent[name].WhichOneof("parameter_choice")
        if kind is None:
            raise InvalidRequest(f"The parameter {name[:50]!r} has no value.")
        found[name] = getattr(sent[name], kind)
    return found
