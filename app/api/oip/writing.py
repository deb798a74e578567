"""From an answer to its bytes: JSON, and behind it the tensors that are sent as they are; packed where wanted."""

import asyncio
import gzip
import math
import zlib
from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response

from app.api.oip.json_tensors import to_json_data
from app.api.oip.reading import HEADER_LENGTH
from app.core.admission import Permit
from app.oip.call import Answered, Call
from app.oip.datatypes import to_bytes

AT_ONCE = 2000
"""Values that are written as JSON on the event loop; more are in a thread, which lets it have its turn in between."""
WORTH_PACKING = 1024
"""Bytes; what is smaller would not become much smaller."""
_LEVEL = 1
"""Tensors hardly shrink more with more effort."""


async def respond(call: Call, answered: Answered, permit: Permit, accept_encoding: bytes) -> Response:
    """The response to a call; its bytes are made once, of the engine's own arrays.

    Raises `InvalidRequest` where an output cannot be written as JSON, `Overloaded` where there is no room for it.
    """
    binary = _binary(call, answered)
    written = sum(math.prod(output.shape) for output, raw in zip(answered.outputs, binary, strict=True) if not raw)
    if written <= AT_ONCE:
        head, tensors = _written(answered, binary, permit)
    else:
        head, tensors = await asyncio.to_thread(_written, answered, binary, permit)
    headers = {"content-type": "application/json"}
    if any(binary):
        headers = {"content-type": "application/octet-stream", HEADER_LENGTH.decode(): str(len(head))}
    return await _packed(b"".join([head, *tensors]), headers, accept_encoding)


def _binary(call: Call, answered: Answered) -> list[bool]:
    """Of each output, whether it is sent as it is: what it says itself, or else what the request says of all."""
    wanted = {output.name: output.binary for output in call.outputs}
    said = [wanted.get(output.name) for output in answered.outputs]
    return [call.binary if each is None else each for each in said]


def _written(answered: Answered, binary: Sequence[bool], permit: Permit) -> tuple[bytes, list[memoryview | bytes]]:
    """The JSON, and what the tensors behind it are made of."""
    tensors: list[memoryview | bytes] = []
    outputs = []
    for output, raw in zip(answered.outputs, binary, strict=True):
        described: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": list(output.shape)}
        if raw:
            pieces = list(to_bytes(output.rows))
            size = sum(map(len, pieces))
            permit.take_bytes(size)
            tensors += pieces
            described["parameters"] = {"binary_data_size": size}
        else:
            described["data"] = to_json_data(output)
        outputs.append(described)
    head = {"model_name": answered.model, "model_version": answered.version, "id": answered.id, "outputs": outputs}
    return to_json(head), tensors


async def _packed(body: bytes, headers: dict[str, str], accept_encoding: bytes) -> Response:
    coding = choose_coding(accept_encoding) if len(body) >= WORTH_PACKING else None
    if coding is not None:
        pack = gzip.compress if coding == "gzip" else zlib.compress
        body = await asyncio.to_thread(pack, body, _LEVEL)
        headers |= {"content-encoding": coding}
    return Response(body, headers=headers | {"vary": "accept-encoding"})


def choose_coding(accept: bytes) -> str | None:
    """The coding to answer in (RFC 9110 section 12.5.3): gzip or deflate where it is named and not with q=0."""
    wanted: set[str] = set()
    for part in accept[:1024].decode("latin-1").lower().split(","):
        name, _, quality = part.partition(";")
        if not quality.replace(" ", "").startswith("q=0") or any(digit in "123456789" for digit in quality):
            wanted.add(name.strip())
    return next((coding for coding in ("gzip", "deflate") if coding in wanted), None)
