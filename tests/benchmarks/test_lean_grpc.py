"""The lean client asks a real service over gRPC."""

from pathlib import Path

import pytest

from app.bench import load
from app.rpc.messages import message
from benchmarks.lean_grpc import GrpcConnection
from benchmarks.lean_grpc import message as framed
from tests.fixtures.models import add_identity_model
from tests.fixtures.server import Server, serving


def request(model: str, element: bytes) -> bytes:
    """Three elements of BYTES."""
    asked = message("ModelInferRequest")(model_name=model)
    asked.raw_input_contents.append((len(element).to_bytes(4, "little") + element) * 3)
    asked.inputs.add(name="x", datatype="BYTES", shape=[1, 3])
    return framed(asked.SerializeToString())


def press(server: Server, *requests: bytes) -> tuple[int, int, str | None]:
    target = load.Target(server.grpc_port, lambda: 0.0)
    found = load.press(target, requests, 3, 0.1, 0.5, GrpcConnection)
    return found.pictures, found.errors, found.first_error


@pytest.fixture
def models(tmp_path: Path) -> Path:
    add_identity_model(tmp_path, "BYTES")
    return tmp_path


def test_small_and_large_messages_are_answered(models: Path) -> None:
    # The large ones need many windows' room, each way.
    with serving(models, default_model="identity_bytes", grpc_port=0) as server:
        small, large = request("identity_bytes", b"a"), request("identity_bytes", b"a" * 300_000)
        answered, errors, first = press(server, small, large)
    assert answered > 0
    assert (errors, first) == (0, None)


def test_an_error_is_none_of_the_answers(models: Path) -> None:
    with serving(models, default_model="identity_bytes", grpc_port=0) as server:
        answered, errors, first = press(server, request("nobody", b"a"))
    assert (answered, first) == (0, "a status without a message")
    assert errors > 0
