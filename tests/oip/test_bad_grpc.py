"""Callers over gRPC that keep to no rules: bounded memory, and neighbours are answered."""

import socket
import struct
from collections.abc import Iterator

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.e2e.test_lifecycle import in_flight
from tests.fixtures.server import Server
from tests.fixtures.waiting import PATIENCE, until
from tests.oip.test_bad_requests import resident_bytes

INFER = "/inference.GRPCInferenceService/ModelInfer"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
"""Kinds of HTTP/2's frames (RFC 9113 section 6)."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
GRPC = "application/grpc"
ROWS = 8
MIB = 2**20


def request(rows: int = 1) -> service_pb2.ModelInferRequest:
    asked = service_pb2.ModelInferRequest(model_name="colour", raw_input_contents=[bytes(rows * 3 * 16 * 16 * 4)])
    asked.inputs.add(name="image", datatype="FP32", shape=[rows, 3, 16, 16])
    return asked


@pytest.fixture
def address(protocol_server: Server) -> str:
    return f"127.0.0.1:{protocol_server.grpc_port}"


def answered(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        return bool(service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request(), timeout=PATIENCE).id)


def test_a_stream_that_never_ends_and_never_listens(protocol_server: Server, address: str) -> None:
    sent = 0

    def messages() -> Iterator[service_pb2.ModelInferRequest]:
        nonlocal sent
        while True:
            sent += 1
            yield request(ROWS)

    before = resident_bytes(protocol_server.process.pid)
    options = [("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(address, options=options) as channel:
        stream = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(messages())
        until(lambda: sent > 16)
        assert all(answered(address) for _ in range(50))
        assert resident_bytes(protocol_server.process.pid) - before < 128 * MIB
        stream.cancel()
    assert answered(address)


def test_a_message_that_grows_when_it_is_unpacked(protocol_server: Server, address: str) -> None:
    before = resident_bytes(protocol_server.process.pid)
    bomb = service_pb2.ModelInferRequest(model_name="colour", raw_input_contents=[bytes(64 * MIB)])
    with grpc.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for _ in range(4):
            with pytest.raises(grpc.RpcError, match="larger than") as raised:
                stub.ModelInfer(bomb, compression=grpc.Compression.Gzip)
            assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert resident_bytes(protocol_server.process.pid) - before < 64 * MIB
    assert answered(address)


def literal(name: str, value: str) -> bytes:
    """A header field of HPACK (RFC 7541 section 6.2.2), neither indexed nor in Huffman's code."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content


def test_metadata_keys_in_capitals(protocol_server: Server, address: str) -> None:
    fields = {":method": "POST", ":scheme": "http", ":path": INFER, "content-type": GRPC, "X-Key": "a"}
    head = b"".join(literal(name, value) for name, value in fields.items())
    with socket.create_connection(("127.0.0.1", protocol_server.grpc_port), PATIENCE) as connection:
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0, b"") + frame(HEADERS, 4, 1, head))
        kinds = list(_frames(connection))
    assert kinds[-1] in (RST_STREAM, GOAWAY)
    assert answered(address)


def test_callers_who_go_before_they_have_read_are_no_error_of_the_service(
    protocol_server: Server, address: str
) -> None:
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": INFER,
        ":authority": "x",
        "content-type": GRPC,
        "te": "trailers",
    }
    head = b"".join(literal(name, value) for name, value in fields.items())
    content = request().SerializeToString()
    message = b"\0" + struct.pack(">I", len(content)) + content
    no_window = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, 0)) + frame(SETTINGS, 1, 0, b"")
    calls = b"".join(frame(HEADERS, 4, stream, head) + frame(DATA, 1, stream, message) for stream in (1, 3, 5, 7))
    told = protocol_server.log.count("gRPC ModelInfer OK")
    connections = [socket.create_connection(("127.0.0.1", protocol_server.grpc_port), PATIENCE) for _ in range(16)]
    for connection in connections:
        connection.sendall(PREFACE + no_window + calls)
    until(lambda: protocol_server.log.count("gRPC ModelInfer OK") >= told + 64)
    for connection in connections:
        connection.close()
    until(lambda: in_flight(protocol_server) == 0)
    assert answered(address)
    until(lambda: protocol_server.log.count("gRPC ModelInfer OK") > told + 64)  # so all before it is written
    assert '"level": "error"' not in protocol_server.log


def _frames(connection: socket.socket) -> Iterator[int]:
    """The kinds of the frames that come, until the stream or the connection has ended."""
    file = connection.makefile("rb")
    while head := file.read(9):
        file.read(int.from_bytes(head[:3], "big"))
        yield head[3]
        if head[3] in (RST_STREAM, GOAWAY):
            return
