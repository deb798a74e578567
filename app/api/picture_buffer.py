"""A picture's bytes as they arrive, in one piece of memory."""

from io import BytesIO

from app.core.admission import Permit
from app.errors import PayloadTooLarge

GROWTH_SHARE = 8
GROWTH_BYTES = 128
"""What grows is given that share of its size, and so many bytes, more than it needs."""


class PictureBuffer:
    """Room is taken of the permit before anything is kept. What arrives in one piece is not copied.

    A `BytesIO` gives its own bytes away without a copy, and once it is large it grows in place and goes back to the
    kernel at its end. (Pieces that are joined when all are there leave as much again in the heap.) Until then it may
    hold an eighth more than was written; that is counted too.
    """

    __slots__ = ("_first", "_more", "_most", "_permit", "_room", "size")

    def __init__(self, permit: Permit, most: int) -> None:
        """`most` bytes make a picture; one of more is too large."""
        self.size = 0
        self._room = 0
        self._permit = permit
        self._most = most
        self._first = b""
        self._more: BytesIO | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Keep these too; raises `Overloaded`, and `PayloadTooLarge`, upon which nothing is kept any more."""
        size = self.size + len(data)
        if size > self._most:
            self.drop()
            raise PayloadTooLarge(f"The picture is larger than the {self._most} bytes that are taken.")
        self._take_room(size)
        self.size = size
        if self._more is not None:
            self._more.write(data)
        elif not self._first:
            self._first = bytes(data)
        else:
            self._more = BytesIO()
            self._more.write(self._first)
            self._more.write(data)
            self._first = b""

    def _take_room(self, size: int) -> None:
        """For what that many bytes may allocate: what comes first as much, what grows an eighth more."""
        room = size if not self.size else size + size // GROWTH_SHARE + GROWTH_BYTES
        self._permit.take_bytes(room - self._room)
        self._room = room

    def drop(self) -> None:
        """Forget what was kept, and give back its room."""
        self._permit.give_back_bytes(self._room)
        self.size = self._room = 0
        self._first, self._more = b"", None

    def content(self) -> bytes:
        """All of it, and nothing more is held."""
        found = self._first if self._more is None else self._more.getvalue()
        self._permit.give_back_bytes(self._room - self.size)
        self._room = self.size
        return found
