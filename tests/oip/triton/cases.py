"""Requests over REST, good and bad, that a real Triton has answered (`recording.json`) and this service answers too.

Every model that they ask gives back what it gets: `identity_fp32` and its like, `x [batch, 3]` to `y [batch, 3]`.
"""

import gzip
import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

INFER = "/v2/models/identity_fp32/infer"
ROW = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
RAW = {"name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}
FLOATS = struct.pack("<3f", 1, 2, 3)
ELEMENTS = {
    "BOOL": [True, False, True],
    "UINT8": [0, 1, 255],
    "UINT16": [0, 1, 65535],
    "UINT32": [0, 1, 2**32 - 1],
    "UINT64": [0, 1, 2**64 - 1],
    "INT8": [-128, 0, 127],
    "INT16": [-(2**15), 0, 2**15 - 1],
    "INT32": [-(2**31), 0, 2**31 - 1],
    "INT64": [-(2**63), 0, 2**63 - 1],
    "FP64": [-0.5, 0, 1e300],
    "BYTES": ["", "é", "a b"],
}


@dataclass(frozen=True, slots=True)
class Case:
    """One request."""

    name: str
    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def cases() -> list[Case]:
    """All of them; names are unique."""
    return [*_descriptions(), *_tensors(), *_wishes(), *_wrong_requests(), *_wrong_tensors(), *_wrong_lengths()]


def _descriptions() -> Iterator[Case]:
    for name, path in {
        "server": "/v2",
        "live": "/v2/health/live",
        "ready": "/v2/health/ready",
        "model": "/v2/models/identity_fp32",
        "version of a model": "/v2/models/identity_fp32/versions/1",
        "model that is not there": "/v2/models/nobody",
        "version that is not there": "/v2/models/identity_fp32/versions/9",
        "version that is no number": "/v2/models/identity_fp32/versions/one",
        "model ready": "/v2/models/identity_fp32/ready",
        "version ready": "/v2/models/identity_fp32/versions/1/ready",
        "model that is not there ready": "/v2/models/nobody/ready",
        "configuration": "/v2/models/identity_fp32/config",
        "statistics": "/v2/models/identity_fp32/versions/1/stats",
        "statistics of a model that is not there": "/v2/models/nobody/stats",
        "no such endpoint": "/v2/nothing",
        "inference by GET": INFER,
    }.items():
        yield Case(name, "GET", path)
    yield Case("metadata by POST", "POST", "/v2/models/identity_fp32", b"{}")
    yield Case("repository index", "POST", "/v2/repository/index")
    yield Case("repository index of what is ready", "POST", "/v2/repository/index", b'{"ready":true}')


def _asked(name: str, tensor: Any, path: str = INFER, **more: Any) -> Case:
    return Case(name, "POST", path, json.dumps({"inputs": [tensor], **more}).encode())


def _binary(name: str, tensor: Any, content: bytes, size: str | None = None, path: str = INFER, **more: Any) -> Case:
    head = json.dumps({"inputs": [tensor], **more}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)) if size is None else size}
    return Case(name, "POST", path, head + content, headers)


def _tensors() -> Iterator[Case]:
    yield _asked("flat", ROW)
    yield _asked("nested", {**ROW, "shape": [2, 3], "data": [[1, 2, 3], [4, 5, 6]]})
    yield _asked("one version", ROW, "/v2/models/identity_fp32/versions/1/infer")
    yield _asked("no rows", {**ROW, "shape": [0, 3], "data": []})
    yield _asked("64 rows", {**ROW, "shape": [64, 3], "data": [0.5] * 192})
    for datatype, elements in ELEMENTS.items():
        tensor = {"name": "x", "shape": [1, 3], "datatype": datatype, "data": elements}
        yield _asked(datatype, tensor, f"/v2/models/identity_{datatype.lower()}/infer")
    half = {"name": "x", "shape": [1, 3], "datatype": "FP16", "data": [1, 2, 3]}
    yield _asked("FP16 in JSON", half, "/v2/models/identity_fp16/infer")
    halves = struct.pack("<3e", 1, 2, 3)
    raw_half = {**RAW, "datatype": "FP16", "parameters": {"binary_data_size": 6}}
    wanted = {"parameters": {"binary_data_output": True}}
    yield _binary("FP16", raw_half, halves, path="/v2/models/identity_fp16/infer", **wanted)
    yield _binary("FP16 answered in JSON", raw_half, halves, path="/v2/models/identity_fp16/infer")
    nul = b"\0\0\0\0" + b"\3\0\0\0a\0b" + b"\1\0\0\0\0"
    text = {"name": "x", "shape": [1, 3], "datatype": "BYTES", "parameters": {"binary_data_size": len(nul)}}
    yield _binary("BYTES with NUL", text, nul, path="/v2/models/identity_bytes/infer", **wanted)
    yield _binary("binary", RAW, FLOATS)
    yield _binary("binary both ways", RAW, FLOATS, **wanted)
    yield _asked("answered in binary", ROW, outputs=[{"name": "y", "parameters": {"binary_data": True}}])
    not_this = [{"name": "y", "parameters": {"binary_data": False}}]
    yield _binary("in binary but for one output", RAW, FLOATS, outputs=not_this, **wanted)
    yield _binary("numbers that are not finite", RAW, struct.pack("<3f", float("nan"), float("inf"), 0))
    body = json.dumps({"inputs": [ROW]}).encode()
    yield Case("gzip", "POST", INFER, gzip.compress(body), {"Content-Encoding": "gzip"})
    yield Case("deflate", "POST", INFER, zlib.compress(body), {"Content-Encoding": "deflate"})


def _wishes() -> Iterator[Case]:
    yield _asked("an id", ROW, id="mine")
    yield _asked("an id that is a number", ROW, id=7)
    yield _asked("an output", ROW, outputs=[{"name": "y"}])
    yield _asked("an output that is not there", ROW, outputs=[{"name": "z"}])
    yield _asked("an output twice", ROW, outputs=[{"name": "y"}, {"name": "y"}])
    yield _asked("the best classes", ROW, outputs=[{"name": "y", "parameters": {"classification": 2}}])
    yield _asked("more classes than there are", ROW, outputs=[{"name": "y", "parameters": {"classification": 9}}])
    yield _asked("priority", ROW, parameters={"priority": 1})
    yield _asked("timeout", ROW, parameters={"timeout": 60_000_000})
    yield _asked("no sequence", ROW, parameters={"sequence_id": 0, "sequence_start": False})
    yield _asked("a parameter of no meaning", ROW, parameters={"colour": "red"})
    yield _asked("a member of no meaning", ROW, colour="red")
    yield _asked("a member of no meaning in an input", {**ROW, "colour": "red"})


def _wrong_requests() -> Iterator[Case]:
    yield Case("no body", "POST", INFER)
    yield Case("no JSON", "POST", INFER, b"{")
    yield Case("a list", "POST", INFER, b"[]")
    yield Case("nothing said", "POST", INFER, b"{}")
    yield Case("no inputs", "POST", INFER, b'{"inputs":[]}')
    yield Case("no gzip", "POST", INFER, b"none", {"Content-Encoding": "gzip"})
    yield Case("another coding", "POST", INFER, b"none", {"Content-Encoding": "br"})
    yield _asked("a model that is not there", ROW, "/v2/models/nobody/infer")
    yield _asked("a version that is not there", ROW, "/v2/models/identity_fp32/versions/9/infer")
    yield _asked("an input that is not there", {**ROW, "name": "w"})
    twice = json.dumps({"inputs": [ROW, ROW]}).encode()
    yield Case("an input twice", "POST", INFER, twice)
    more = json.dumps({"inputs": [ROW, {**ROW, "name": "w"}]}).encode()
    yield Case("an input more", "POST", INFER, more)
    for member in ("name", "shape", "datatype", "data"):
        yield _asked(f"an input without {member}", {key: value for key, value in ROW.items() if key != member})
    yield _asked("shared memory", {**ROW, "parameters": {"shared_memory_region": "a", "shared_memory_byte_size": 12}})


def _wrong_tensors() -> Iterator[Case]:
    yield _asked("another datatype", {**ROW, "datatype": "INT32"})
    yield _asked("no datatype", {**ROW, "datatype": "FP31"})
    yield _asked("another side", {**ROW, "shape": [1, 4], "data": [1, 2, 3, 4]})
    yield _asked("another number of sides", {**ROW, "shape": [3]})
    yield _asked("a negative side", {**ROW, "shape": [-1, 3]})
    yield _asked("a side of 2^62", {**ROW, "shape": [2**62, 3]})
    yield _asked("a side that is a fraction", {**ROW, "shape": [1.0, 3]})
    yield _asked("too few elements", {**ROW, "data": [1, 2]})
    yield _asked("too many elements", {**ROW, "data": [1, 2, 3, 4]})
    yield _asked("a string among numbers", {**ROW, "data": [1, 2, "3"]})
    yield _asked("a null among numbers", {**ROW, "data": [1, 2, None]})
    yield _asked("data that is no list", {**ROW, "data": 1})
    eight = {"name": "x", "shape": [1, 3], "datatype": "UINT8", "data": [256, 0, 0]}
    yield _asked("a number too large for UINT8", eight, "/v2/models/identity_uint8/infer")
    whole = {"name": "x", "shape": [1, 3], "datatype": "INT32", "data": [1.5, 0, 0]}
    yield _asked("a fraction for INT32", whole, "/v2/models/identity_int32/infer")
    yield _asked("300 rows", {**ROW, "shape": [300, 3], "data": [0] * 900})


def _wrong_lengths() -> Iterator[Case]:
    yield _binary("too few bytes", RAW, FLOATS[:-1])
    yield _binary("too many bytes", RAW, FLOATS + b"\0")
    yield _binary("another size", {**RAW, "parameters": {"binary_data_size": 8}}, FLOATS[:8])
    yield _binary("a negative size", {**RAW, "parameters": {"binary_data_size": -1}}, b"")
    yield _binary("a size of text", {**RAW, "parameters": {"binary_data_size": "12"}}, FLOATS)
    yield _binary("JSON longer than the body", RAW, FLOATS, "100000")
    yield _binary("a length that is no number", RAW, FLOATS, "many")
    yield _binary("a negative length", RAW, FLOATS, "-5")
    yield _binary("both data and a size", {**RAW, "data": [1, 2, 3]}, FLOATS)
    text = {"name": "x", "shape": [1, 3], "datatype": "BYTES", "parameters": {"binary_data_size": 12}}
    yield _binary("BYTES beyond their end", text, b"\xff" * 12, path="/v2/models/identity_bytes/infer")
