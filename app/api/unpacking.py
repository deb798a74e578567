"""Compressed bodies, `gzip` and `deflate` (RFC 9110 section 8.4.1), step by step: a small one may hold very much."""

import zlib
from collections.abc import Iterator

from app.errors import InvalidRequest, PayloadTooLarge, UnsupportedEncoding

PLAIN = (b"", b"identity")
STEP_BYTES = 64 * 1024
"""So much is worked on before others have their turn."""
MOST_MEMBERS = 64
"""Files in gzip may be put one behind the other (RFC 1952 section 2.2); empty ones are work without end."""


class Unpacking:
    """Of one body."""

    def __init__(self, encoding: bytes, most: int) -> None:
        """`most` bytes may come out. Raises `UnsupportedEncoding` for an encoding that is not known."""
        if encoding not in (b"gzip", b"x-gzip", b"deflate"):
            raise UnsupportedEncoding(
                f"A body in Content-Encoding {encoding[:50].decode('latin-1')!r} is not taken. Send it as it is, or as "
                "gzip or deflate."
            )
        self._bits = 15 if encoding == b"deflate" else 31
        self._most = most
        self._length = self._members = 0
        self._stream = zlib.decompressobj(self._bits)

    def steps(self, data: bytes) -> Iterator[bytes]:
        """What is in these, in pieces of at most `STEP_BYTES`; raises `InvalidRequest`, `PayloadTooLarge`."""
        while data:
            if self._stream.eof:
                self._members += 1
                self._stream = zlib.decompressobj(self._bits)
            try:
                out = self._stream.decompress(data, STEP_BYTES)
            except zlib.error:
                raise InvalidRequest("The body cannot be unpacked: it is not what Content-Encoding says.") from None
            self._length += len(out)
            if self._length > self._most:
                raise PayloadTooLarge(f"The request body, unpacked, is larger than the {self._most} bytes taken.")
            if self._members > MOST_MEMBERS:
                raise InvalidRequest(f"The body cannot be unpacked: it is made of more than {MOST_MEMBERS} files.")
            yield out
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail

    def finish(self) -> None:
        """Raises `InvalidRequest` where more should have come."""
        if not self._stream.eof:
            raise InvalidRequest("The body cannot be unpacked: it ends before its Content-Encoding does.")
