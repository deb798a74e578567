"""Where the service is that `python -m tests.clients` has started; without one nothing here is collected."""

import os
import struct
import zlib

import pytest

collect_ignore_glob = [] if "CLIENTS_HTTP" in os.environ else ["test_*.py"]

Colour = tuple[int, int, int]


@pytest.fixture(scope="session")
def http() -> str:
    """`host:port` of the service."""
    return os.environ["CLIENTS_HTTP"]


@pytest.fixture(scope="session")
def grpc() -> str:
    """`host:port` of the service's gRPC."""
    return os.environ["CLIENTS_GRPC"]


def png(colour: Colour, side: int = 16) -> bytes:
    """A picture of one colour, without a library that a client's environment may not have."""
    rows = (b"\0" + bytes(colour) * side) * side

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
