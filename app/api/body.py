"""A request's body, read within bounds of size, time and pace."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.types import Receive

from app.api.unpacking import PLAIN, STEP_BYTES, Unpacking
from app.core.admission import Permit
from app.errors import InvalidRequest, PayloadTooLarge, UploadTimeout

PACE_SECONDS = 5.0
"""How long a body may stand still at first; from then on its pace counts, from its beginning."""

Feed = Callable[[bytes], None]
Work = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """Bytes of a picture and of a body, pictures in it, seconds it may take to arrive, and bytes a second at least."""

    image_bytes: int
    body_bytes: int
    images: int
    seconds: float
    least_rate: int = 1


def content_length(declared: bytes) -> int:
    """What `Content-Length` says; 0 where it is no number. The server has refused those beyond 64 bits."""
    digits = declared.lstrip(b"0")
    return int(digits) if digits.isdigit() and len(digits) < 20 else 0


class Body:
    """What a request's headers say of its body, and the way to read it."""

    __slots__ = ("_receive", "arrived", "complete", "declared", "encoding")

    def __init__(self, receive: Receive, declared: int, encoding: bytes) -> None:
        """`declared` is its length by the header, 0 without one; `encoding` is `Content-Encoding`."""
        self._receive = receive
        self.declared = declared
        self.encoding = encoding
        self.arrived = 0
        self.complete = False

    async def read(self, feed: Feed, most: int, limits: UploadLimits) -> None:
        """Hand all of it to `feed`, as it arrives and as it is.

        Raises `PayloadTooLarge` for more than `most` bytes, by the header before the first is read; `UploadTimeout`,
        `InvalidRequest`, and whatever `feed` raises.
        """
        await self._read(most, limits, feed, None)

    async def read_in_turns(
        self, feed: Feed, most: int, limits: UploadLimits, permit: Permit, turns: asyncio.Lock
    ) -> None:
        """As `read`, unpacked, for a `feed` that has work to do: of all that share `turns` one does one step of work,
        then everything else has its turn. Raises `UnsupportedEncoding` for a `Content-Encoding` that is not known.
        """
        unpacking = None if self.encoding in PLAIN else Unpacking(self.encoding, most)

        async def work(data: bytes) -> None:
            permit.take_bytes(len(data))
            async with turns:
                for at in range(0, len(data), STEP_BYTES):
                    piece = data[at : at + STEP_BYTES]
                    for step in (piece,) if unpacking is None else unpacking.steps(piece):
                        feed(step)
                        await asyncio.sleep(0)
            permit.give_back_bytes(len(data))

        await self._read(most, limits, None, work)
        if unpacking is not None:
            unpacking.finish()

    async def _read(self, most: int, limits: UploadLimits, feed: Feed | None, work: Work | None) -> None:
        if self.declared > most:
            raise _too_large(most)
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
                    if not data:
                        continue
                    if feed is not None:
                        feed(data)
                    elif work is not None:
                        await work(data)
        except TimeoutError:
            if clock() >= ends:
                raise UploadTimeout(f"The request body did not arrive within {limits.seconds:g} seconds.") from None
            raise UploadTimeout(f"The request body arrives at less than {limits.least_rate} bytes a second.") from None


def _too_large(most: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The request body is larger than the {most} bytes that are taken.")
