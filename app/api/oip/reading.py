"""From a body to a call: JSON, and behind it the tensors that are sent as they are."""

import asyncio
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from app.api.body import Body, UploadLimits
from app.api.oip.json_tensors import from_json_data
from app.api.oip.schemas import InferRequest, RequestInput, RequestOutput
from app.api.picture_buffer import PictureBuffer
from app.api.unpacking import PLAIN
from app.core.admission import Permit
from app.errors import InvalidRequest
from app.oip import datatypes
from app.oip.call import Call, InputTensor, RequestedOutput, input_tensor, read_wishes

HEADER_LENGTH = b"inference-header-content-length"
MOST_VALUES = 200_000
"""Elements and lists in a JSON body: a thread that reads so many keeps the interpreter for some 20 ms. Binary tensors
cost it nothing.
"""
MOST_BESIDE = 1024
"""For all else that a request says."""
AT_ONCE_BYTES = 32 * 1024
"""What is longer is read in a thread, which lets the event loop have its turn between the steps."""
VALUE_BYTES = 40
"""What one of them takes of memory until it lies in its tensor."""


async def receive(body: Body, permit: Permit, limits: UploadLimits, turns: asyncio.Lock) -> bytes:
    """All of a body, unpacked; room for it is taken of `permit` as it arrives. Raises what `Body.read` raises."""
    buffer = PictureBuffer(permit, limits.body_bytes)
    if body.encoding in PLAIN:
        await body.read(buffer.write, limits.body_bytes, limits)
    else:
        await body.read_in_turns(buffer.write, limits.body_bytes, limits, permit, turns)
    return buffer.content()


def json_size(headers: Sequence[tuple[bytes, bytes]], body: bytes) -> int:
    """How much of the body is JSON: all, where no header says less. Raises `InvalidRequest`."""
    said = [value for name, value in headers if name == HEADER_LENGTH]
    if not said:
        return len(body)
    if len(said) > 1 or not said[0].isdigit() or len(said[0]) > 19:
        raise InvalidRequest("The header Inference-Header-Content-Length is one number, the bytes of the JSON.")
    if (size := int(said[0])) > len(body):
        raise InvalidRequest(
            f"Inference-Header-Content-Length says that the JSON has {size} bytes; the whole body has {len(body)}."
        )
    return size


async def read(body: bytes, size: int, model: str, version: str | None, permit: Permit, arrived: float) -> Call:
    """`read_call`, beside the event loop where it takes long."""
    if size <= AT_ONCE_BYTES:
        return read_call(body, size, model, version, permit, arrived)
    return await asyncio.to_thread(read_call, body, size, model, version, permit, arrived)


def read_call(body: bytes, size: int, model: str, version: str | None, permit: Permit, arrived: float) -> Call:
    """What a body of which the first `size` bytes are JSON asks; tensors of numbers that lie behind it stay there.

    Raises `InvalidRequest`, and `Overloaded` where there is no room for the numbers of the JSON.
    """
    request = _parsed(body, size, permit)
    _check_address("model_name", request.model_name, model)
    _check_address("model_version", request.model_version, version)
    view = memoryview(body)[size:]
    inputs: list[InputTensor] = []
    for sent in request.inputs:
        tensor, used = _input(sent, view)
        inputs.append(tensor)
        view = view[used:]
    if view:
        raise InvalidRequest(f"{len(view)} bytes follow the tensors that the JSON describes.")
    parameters = request.parameters or {}
    outputs = [_output(wanted) for wanted in request.outputs or ()]
    binary = _flag(parameters, "binary_data_output")
    return Call(model, version, request.id or "", read_wishes(parameters, arrived), inputs, outputs, binary)


def _check_address(name: str, said: str | None, asked: str | None) -> None:
    if said and said != asked:
        told = "none" if asked is None else repr(asked)
        raise InvalidRequest(f"The body's {name} is {said[:50]!r}, the address's {told}; leave it out of the body.")


def _parsed(body: bytes, size: int, permit: Permit) -> InferRequest:
    text = body if size == len(body) else body[:size]
    if not text:
        raise InvalidRequest("The body has no JSON. Send an inference request as docs/protocol.md describes it.")
    values = text.count(b",") + text.count(b"[") + text.count(b"{")
    if values > MOST_VALUES + MOST_BESIDE:
        raise InvalidRequest(
            f"The JSON holds more than {MOST_VALUES} values. Send large tensors as binary data (binary_data_size)."
        )
    permit.take_bytes(values * VALUE_BYTES)
    try:
        return InferRequest.model_validate_json(text)
    except ValidationError as error:
        raise InvalidRequest(_words(error)) from None


def _words(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place[:200]}: {first['msg']}." if place else f"The JSON cannot be read: {first['msg']}."


def _input(sent: RequestInput, rest: memoryview) -> tuple[InputTensor, int]:
    """The tensor, and how many of the bytes behind the JSON are its own."""
    parameters = dict(sent.parameters or {})
    if any(name.startswith("shared_memory") for name in parameters):
        raise InvalidRequest("Shared memory is not taken: the service shares none with its callers. Send the tensor.")
    size = parameters.pop("binary_data_size", None)
    content_type = parameters.pop("content_type", None)
    if parameters:
        raise InvalidRequest(f"There is no parameter {next(iter(parameters))[:50]!r} of an input.")
    datatypes.check_datatype(sent.datatype)
    if size is None:
        if sent.data is None:
            raise InvalidRequest(f"The input {sent.name[:50]} has neither data nor binary_data_size.")
        return input_tensor(sent.name, sent.datatype, from_json_data(sent, sent.data), content_type), 0
    if sent.data is not None:
        raise InvalidRequest(f"The input {sent.name[:50]} has both data and binary_data_size; send one.")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest):
        raise InvalidRequest(
            f"binary_data_size of the input {sent.name[:50]} is {str(size)[:30]}; {len(rest)} bytes are left."
        )
    content = datatypes.from_bytes(sent.name, sent.datatype, sent.shape, rest[:size])
    return input_tensor(sent.name, sent.datatype, content, content_type), size


def _output(wanted: RequestOutput) -> RequestedOutput:
    parameters = dict(wanted.parameters or {})
    if any(name.startswith("shared_memory") for name in parameters):
        raise InvalidRequest("Shared memory is not taken: the service shares none with its callers.")
    count = parameters.pop("classification", 0)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise InvalidRequest("The parameter classification is how many classes are wanted.")
    binary = _flag(parameters, "binary_data") if "binary_data" in parameters else None
    for name in parameters:
        if name not in ("binary_data", "content_type"):
            raise InvalidRequest(f"There is no parameter {name[:50]!r} of an output.")
    return RequestedOutput(wanted.name, count, binary)


def _flag(parameters: dict[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise InvalidRequest(f"The parameter {name} is true or false.")
    return value
