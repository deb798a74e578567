"""What decoding and drawing may take of memory at once: the lanes decide how many pictures are open, not how large."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

UNBOUNDED = 2**62
"""A limit for those who need none."""


class WorkingMemory:
    """Bytes that threads hold while they work on decoded pictures. Who finds none left waits, first come first served.

    Nobody may ask for more while it holds some: two who did could wait for each other.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = 0
        self._freed = threading.Condition()
        self._turn = threading.Lock()

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._held

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Hold so many bytes for the length of the `with` block; waits until there is room for them.

        What exceeds the limit by itself waits until nobody else holds any.
        """
        size = min(size, self.limit)
        with self._turn, self._freed:  # whoever waits has the turn: small ones must not overtake a large one for ever
            while self._held + size > self.limit:
                self._freed.wait()
            self._held += size
        try:
            yield
        finally:
            with self._freed:
                self._held -= size
                self._freed.notify_all()
