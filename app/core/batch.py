"""What is computed together: who waits, and the batch that a lane takes."""

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from app.core.request import Deadline, Flow, Priority
from app.errors import EngineFailure


class BatchKey(Hashable, Protocol):
    """What items must share to be computed together; in the service, a model."""

    @property
    def max_batch_size(self) -> int:
        """Most items in one batch."""


K = TypeVar("K", bound=BatchKey)
T = TypeVar("T")
R = TypeVar("R")


class Entry(Generic[K, T, R]):
    """One waiter: its item and the future through which it is answered, exactly once."""

    __slots__ = (
        "__weakref__",
        "_answered",
        "_deliver",
        "deadline",
        "enqueued_at",
        "flow",
        "future",
        "item",
        "key",
        "priority",
    )

    def __init__(
        self,
        deliver: "Callable[[Entry[K, T, R], R], None]",
        key: K,
        item: T,
        priority: Priority,
        deadline: Deadline | None,
        enqueued_at: float,
        flow: Flow,
    ) -> None:
        self._deliver = deliver
        self._answered = False
        self.key = key
        self.item = item
        self.priority = priority
        self.deadline = deadline
        self.enqueued_at = enqueued_at
        self.flow = flow
        self.future: Future[R] = Future()

    def answer(self, result: R) -> None:
        """Give the waiter its result; a second answer is dropped."""
        if not self._answered:
            self._answered = True
            self._deliver(self, result)

    def fail(self, error: BaseException) -> None:
        """Give the waiter its error; a second answer is dropped."""
        if not self._answered:
            self._answered = True
            self.future.set_exception(error)


class Batch(Generic[K, T, R]):
    """Items taken together. Leaving its `with` block answers whoever is still waiting, whatever happened inside, and
    tells `ended`.
    """

    def __init__(self, key: K, entries: list[Entry[K, T, R]], taken_at: float, ended: Callable[[K], None]) -> None:
        self.key = key
        self.entries = entries
        self.taken_at = taken_at
        self._ended = ended

    def __enter__(self) -> "Batch[K, T, R]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for entry in self.entries:
            entry.fail(EngineFailure("The model could not answer this request. Trying again may help."))
        self._ended(self.key)

    def __len__(self) -> int:
        return len(self.entries)
