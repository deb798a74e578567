"""The same over gRPC, in the messages of Triton's own client."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tritonclient.grpc import service_pb2

FLOATS = struct.pack("<3f", 1, 2, 3)


@dataclass(frozen=True, slots=True)
class Message:
    """One call."""

    name: str
    method: str
    request: Any


def messages() -> list[Message]:
    """All of them; names are unique, also among those over REST."""
    return [*_descriptions(), *_inferences()]


def _descriptions() -> Iterator[Message]:
    yield Message("gRPC live", "ServerLive", service_pb2.ServerLiveRequest())
    yield Message("gRPC ready", "ServerReady", service_pb2.ServerReadyRequest())
    yield Message("gRPC server", "ServerMetadata", service_pb2.ServerMetadataRequest())
    for name, model, version in (
        ("", "identity_fp32", ""),
        (" of a version", "identity_fp32", "1"),
        (" that is not there", "nobody", ""),
        (" of a version that is not there", "identity_fp32", "9"),
    ):
        named = {"name": model, "version": version}
        yield Message(f"gRPC model{name}", "ModelMetadata", service_pb2.ModelMetadataRequest(**named))
        yield Message(f"gRPC ready{name or ' model'}", "ModelReady", service_pb2.ModelReadyRequest(**named))
        yield Message(f"gRPC configuration{name}", "ModelConfig", service_pb2.ModelConfigRequest(**named))
    yield Message("gRPC index", "RepositoryIndex", service_pb2.RepositoryIndexRequest())


def _asked(title: str, *raw: bytes, model: str = "identity_fp32", **tensor: Any) -> Message:
    request = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=list(raw))
    request.inputs.add(**{"name": "x", "datatype": "FP32", "shape": [1, 3], **tensor})
    return Message(f"gRPC {title}", "ModelInfer", request)


def _inferences() -> Iterator[Message]:
    floats = service_pb2.InferTensorContents(fp32_contents=[1, 2, 3])
    yield _asked("raw", FLOATS)
    yield _asked("typed", contents=floats)
    yield _asked("BYTES", b"\0\0\0\0\1\0\0\0\0\1\0\0\0a", model="identity_bytes", datatype="BYTES")
    yield _asked("no rows", b"", shape=[0, 3])
    yield _asked("raw and typed", FLOATS, contents=floats)
    yield _asked("neither raw nor typed")
    yield _asked("too few bytes", FLOATS[:-1])
    yield _asked("too many contents", FLOATS, FLOATS)
    yield _asked("contents of another type", contents=service_pb2.InferTensorContents(int_contents=[1, 2, 3]))
    yield _asked("another datatype", FLOATS, datatype="INT32")
    yield _asked("no datatype", FLOATS, datatype="FP31")
    yield _asked("another side", FLOATS + FLOATS[:4], shape=[1, 4])
    yield _asked("a negative side", FLOATS, shape=[-1, 3])
    yield _asked("a model that is not there", FLOATS, model="nobody")
    yield _asked("an input that is not there", FLOATS, name="w")
    yield Message("gRPC no model", "ModelInfer", service_pb2.ModelInferRequest())
    yield Message("gRPC no inputs", "ModelInfer", service_pb2.ModelInferRequest(model_name="identity_fp32"))
    wrong = _asked("an output that is not there", FLOATS)
    wrong.request.outputs.add(name="z")
    yield wrong
    named = _asked("an id and classes", FLOATS)
    named.request.id = "mine"
    named.request.outputs.add(name="y").parameters["classification"].int64_param = 2
    yield named
