"""A picture's bytes as they arrive, put together once they are all there."""

from app.core.admission import Permit
from app.errors import PayloadTooLarge

PIECE_BYTES = 16 * 1024
"""Smaller pieces are collected, or each would cost more than it holds."""


class PictureBuffer:
    """Room is taken of the permit before anything is kept. What arrives in one piece is not copied.

    Pieces, not one buffer that grows: many that grow side by side leave more holes in the heap than they hold. While
    they are joined one picture is held twice, and never more than one, for that is the event loop's work.
    """

    __slots__ = ("_collected", "_most", "_permit", "_pieces", "size")

    def __init__(self, permit: Permit, most: int) -> None:
        """`most` bytes make a picture; one of more is too large."""
        self.size = 0
        self._permit = permit
        self._most = most
        self._pieces: list[bytes] = []
        self._collected = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        """Keep these too; raises `Overloaded`, and `PayloadTooLarge`, upon which nothing is kept any more."""
        size = self.size + len(data)
        if size > self._most:
            self.drop()
            raise PayloadTooLarge(f"The picture is larger than the {self._most} bytes that are taken.")
        self._permit.take_bytes(len(data))
        if not self.size or len(data) >= PIECE_BYTES:
            self._put_collected()
            self._pieces.append(bytes(data))
        else:
            self._collected += data
            if len(self._collected) >= PIECE_BYTES:
                self._put_collected()
        self.size = size

    def drop(self) -> None:
        """Forget what was kept, and give back its room."""
        self._permit.give_back_bytes(self.size)
        self.size = 0
        self._pieces, self._collected = [], bytearray()

    def content(self) -> bytes:
        """All of it."""
        self._put_collected()
        if len(self._pieces) != 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    def _put_collected(self) -> None:
        if self._collected:
            self._pieces.append(bytes(self._collected))
            self._collected = bytearray()
