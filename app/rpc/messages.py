"""The protocol's messages, made from what the build has compiled of `inference.proto`.

They live in a pool of descriptors of their own: a program that has another copy of the protocol in the default one, as
every client library does, could otherwise not load both.
"""

from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, message_factory
from google.protobuf.descriptor_pool import DescriptorPool

from app.errors import InvalidRequest, StartupError

SERVICE = "inference.GRPCInferenceService"
_FILE = Path(__file__).with_name("inference.binpb")


@cache
def pool() -> DescriptorPool:
    """Descriptors of the protocol; raises `StartupError` where the build has not made them."""
    try:
        compiled = _FILE.read_bytes()
    except OSError as error:
        raise StartupError(f"{_FILE} is not there: install the project again (pip install -e .).") from error
    found = DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(compiled).file:
        found.Add(file)
    return found


@cache
def message(name: str) -> Any:
    """The class of a message of the protocol, as `ModelInferRequest`."""
    return message_factory.GetMessageClass(pool().FindMessageTypeByName(f"inference.{name}"))


def parse(kind: Any, content: bytes) -> Any:
    """The message of the class `kind` that these bytes are; raises `InvalidRequest` where they are none."""
    try:
        return kind.FromString(content)
    except Exception as error:  # protobuf's own class, which differs between its implementations
        raise InvalidRequest(f"The message is no {kind.DESCRIPTOR.name}.") from error
