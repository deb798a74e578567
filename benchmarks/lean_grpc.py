"""A client for gRPC that does as little as it can: plain sockets, a call at a time on each, frames made in advance.

`grpc.aio` takes some 0.4 ms of the CPU for a picture, plain sockets that ask over HTTP/1.1 less than 0.1: on cores that
are shared with the service a comparison by it would be one of clients. This one knows of HTTP/2 what one server's
answers need (RFC 9113), and no HPACK: an answer without a message counts as an error.
"""

import struct

from app.bench.load import HOST, Connection, Crowd

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
"""Kinds of frames (RFC 9113 section 6)."""
END_STREAM, ACK, END_HEADERS = 1, 1, 4
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 4, 5
"""Settings (section 6.5.2)."""
_WINDOW = 2**30
"""What the server may send: more than a slice's answers."""


def frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    """One frame (section 4.1)."""
    return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content


def literal(name: bytes, value: bytes) -> bytes:
    """A header field (RFC 7541 section 6.2.2), neither indexed nor packed; both are shorter than 127 bytes."""
    return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value


def call(path: str) -> bytes:
    """The headers of a call of the method at `path`."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": HOST,
        "te": "trailers",
        "content-type": "application/grpc",
    }
    return b"".join(literal(name.encode(), value.encode()) for name, value in fields.items())


def message(content: bytes) -> bytes:
    """A message as gRPC frames it: not packed, its length, itself."""
    return struct.pack(">BI", 0, len(content)) + content


class GrpcConnection(Connection):
    """Asks `ModelInfer` with framed messages, within the windows that the server opens (section 5.2)."""

    HEAD = call("/inference.GRPCInferenceService/ModelInfer")

    def __init__(self, crowd: Crowd) -> None:
        super().__init__(crowd)
        self._received = bytearray()
        self._stream = -1
        self._unsent = memoryview(b"")
        self._frame = 16384
        self._first_window = self._room = self._stream_room = 65535
        self._told = False

    def greet(self) -> None:
        """Take answers of any length."""
        settings = struct.pack(">HI", INITIAL_WINDOW_SIZE, _WINDOW)
        self.write(PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW)))

    def ask(self, request: bytes) -> None:
        """Open a call with one framed message."""
        self._stream += 2
        self._stream_room, self._told = self._first_window, False
        self._unsent = memoryview(request)
        self.write(frame(HEADERS, END_HEADERS, self._stream, self.HEAD) + self._next_data())

    def data_received(self, data: bytes) -> None:
        """Read whole frames, and send on where they have made room."""
        self._received += data
        at = 0
        while len(self._received) - at >= 9:
            size = int.from_bytes(self._received[at : at + 3], "big")
            if len(self._received) - at < 9 + size:
                break
            kind, flags, stream = struct.unpack_from(">BBI", self._received, at + 3)
            self._read(kind, flags, stream, bytes(self._received[at + 9 : at + 9 + size]))
            at += 9 + size
        del self._received[:at]
        if content := self._next_data():
            self.write(content)

    def _read(self, kind: int, flags: int, stream: int, content: bytes) -> None:
        ours = stream == self._stream
        if kind == SETTINGS and not flags & ACK:
            self._obey(dict(struct.iter_unpack(">HI", content)))
        elif kind == PING and not flags & ACK:
            self.write(frame(PING, ACK, 0, content))
        elif kind == WINDOW_UPDATE and (ours or stream == 0):
            more = int.from_bytes(content, "big")
            self._room += 0 if ours else more
            self._stream_room += more if ours else 0
        elif kind == DATA and ours:
            self._told = self._told or len(content) > 5
        elif kind in (RST_STREAM, GOAWAY):
            self.abort(f"a frame of kind {kind}: {content[:100].hex()}")
        if ours and kind in (DATA, HEADERS) and flags & END_STREAM:
            self.answered(None if self._told else "a status without a message")

    def _obey(self, settings: dict[int, int]) -> None:
        window = settings.get(INITIAL_WINDOW_SIZE, self._first_window)
        self._stream_room += window - self._first_window
        self._first_window = window
        self._frame = settings.get(MAX_FRAME_SIZE, self._frame)
        self.write(frame(SETTINGS, ACK, 0, b""))

    def _next_data(self) -> bytes:
        """As much of the message as there is room for."""
        parts = []
        while self._unsent and (size := min(self._frame, self._room, self._stream_room, len(self._unsent))) > 0:
            part, self._unsent = self._unsent[:size], self._unsent[size:]
            self._room -= size
            self._stream_room -= size
            parts.append(frame(DATA, 0 if self._unsent else END_STREAM, self._stream, bytes(part)))
        return b"".join(parts)
