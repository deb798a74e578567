"""A request's body, read within bounds of size, time and pace, and unpacked where it is compressed."""

import asyncio
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Receive

from app.errors import InvalidRequest, PayloadTooLarge, UnsupportedImage, UploadTimeout

PACE_SECONDS = 5.0
"""How long a body may stand still at first; from then on its pace counts, from its beginning."""
STEP_BYTES = 256 * 1024
"""Of a compressed body so much is unpacked before others have their turn."""
THROWN_AWAY = 4 * 1024 * 1024
"""Largest rest of a refused body that is received and thrown away, so that the connection can be used again."""

Feed = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Bytes of a picture and of a body, pictures in it, seconds it may take to arrive, and bytes a second at least."""

    image_bytes: int
    body_bytes: int
    images: int
    seconds: float
    least_rate: int = 1


class Body:
    """What a request's headers say of its body, and the way to read it."""

    __slots__ = ("_receive", "arrived", "chunked", "complete", "declared", "encoding")

    def __init__(self, receive: Receive, declared: int, encoding: bytes, *, chunked: bool) -> None:
        """`declared` is its length by the header, 0 without one; `encoding` is `Content-Encoding`."""
        self._receive = receive
        self.declared = declared
        self.encoding = encoding
        self.chunked = chunked
        self.arrived = 0
        self.complete = False

    @property
    def much_is_left(self) -> bool:
        """Whether more is still to come than is worth receiving after the request was refused."""
        return not self.complete and (self.chunked or self.declared - self.arrived > THROWN_AWAY)

    async def read(self, feed: Feed, most: int, limits: UploadLimits) -> None:
        """Hand all of it to `feed` piece by piece, unpacked.

        Raises `PayloadTooLarge` for more than `most` bytes, packed or unpacked, and by the header before the first is
        read; `UploadTimeout`, `InvalidRequest`, `UnsupportedImage`, and whatever `feed` raises.
        """
        if self.declared > most:
            raise _too_large(most)
        if self.encoding in (b"", b"identity"):
            await self._read(feed, most, limits)
            return
        unpacking = _Unpacking(self.encoding, most)
        await self._read(None, most, limits, unpacking, feed)
        unpacking.finish()

    async def _read(
        self,
        feed: Feed | None,
        most: int,
        limits: UploadLimits,
        unpacking: "_Unpacking | None" = None,
        unpacked: Feed | None = None,
    ) -> None:
        clock = asyncio.get_running_loop().time
        started = clock()
        ends, paced = started + limits.seconds, started + PACE_SECONDS
        try:
            async with asyncio.timeout_at(min(ends, paced)) as timeout:
                while not self.complete:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise InvalidRequest("The connection closed before the whole request body had arrived.")
                    data = message.get("body", b"")
                    self.complete = not message.get("more_body", False)
                    self.arrived += len(data)
                    if self.arrived > most:
                        raise _too_large(most)
                    if not self.complete:
                        timeout.reschedule(min(ends, paced + self.arrived / limits.least_rate))
                    if feed is not None:
                        if data:
                            feed(data)
                    elif unpacking is not None and unpacked is not None:
                        await unpacking.feed(data, unpacked)
        except TimeoutError:
            if clock() >= ends:
                raise UploadTimeout(f"The request body did not arrive within {limits.seconds:g} seconds.") from None
            raise UploadTimeout(f"The request body arrives at less than {limits.least_rate} bytes a second.") from None


class _Unpacking:
    """`gzip` and `deflate` (RFC 9110 section 8.4.1), step by step: a small body may hold very much."""

    def __init__(self, encoding: bytes, most: int) -> None:
        if encoding not in (b"gzip", b"x-gzip", b"deflate"):
            raise UnsupportedImage(
                f"A body in Content-Encoding {encoding[:50].decode('latin-1')!r} is not taken. Send it as it is, or as "
                "gzip or deflate."
            )
        self._bits = 15 if encoding == b"deflate" else 31
        self._most = most
        self._length = 0
        self._stream = zlib.decompressobj(self._bits)

    async def feed(self, data: bytes, feed: Feed) -> None:
        while data:
            if self._stream.eof:  # gzip files may be put one behind the other (RFC 1952 section 2.2)
                self._stream = zlib.decompressobj(self._bits)
            try:
                out = self._stream.decompress(data, STEP_BYTES)
            except zlib.error:
                raise InvalidRequest("The body cannot be unpacked: it is not what Content-Encoding says.") from None
            self._length += len(out)
            if self._length > self._most:
                raise PayloadTooLarge(f"The request body, unpacked, is larger than the {self._most} bytes taken.")
            if out:
                feed(out)
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            if data:
                await asyncio.sleep(0)

    def finish(self) -> None:
        if not self._stream.eof:
            raise InvalidRequest("The body cannot be unpacked: it ends before its Content-Encoding does.")


def _too_large(most: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The request body is larger than the {most} bytes that are taken.")
