"""How answers leave the lanes: several at once where many pictures wait.

Each answer wakes the event loop, beside lanes whose models have just evicted its memory from the core's caches. Where
everybody waits for a long queue anyway, waking it once for a few answers, which bring their callers' next requests
together too, costs the core half of what waking it for each does (measured: 0.66 ms a picture instead of 1.12).
"""

import threading
from concurrent.futures import Future
from typing import Generic, TypeVar

R = TypeVar("R")

COMPANY = 8
"""An answer waits for more only while this many pictures wait for a lane for each answer that is held: what it waits is
then at most about an eighth of what its picture waited before.
"""


class ResultCoalescer(Generic[R]):
    """Results on their way to their waiters. Safe to use from any number of threads."""

    def __init__(self) -> None:
        self._held: list[tuple[Future[R], R]] = []
        self._lock = threading.Lock()

    def give(self, future: "Future[R]", result: R, waiting: int) -> None:
        """Set `result`, at once or together with the next ones, given that so many pictures wait for a lane.

        Whoever gives must release before it sleeps.
        """
        with self._lock:
            self._held.append((future, result))
            if len(self._held) * COMPANY <= waiting:
                return
        self.release()

    def release(self) -> None:
        """Set every result that is held."""
        with self._lock:
            released, self._held = self._held, []
        for future, result in released:
            future.set_result(result)
