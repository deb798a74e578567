"""Waiting on the event loop for what lanes answer."""

import asyncio
from collections.abc import Iterator, Sequence

from app.core.executor import PictureBatcher
from app.core.model import Model
from app.core.request import EVEN, Answer, Deadline, Flow, Item, Priority
from app.errors import DeadlineExceeded, RequestError

HELD_SECONDS = 0.1
"""Longest time that an answer waits for others, even where every lane is stuck."""


class Asking:
    """Gives items to the batcher and waits for their answers. Belongs to an event loop.

    Whoever is cancelled, or late, leaves nothing behind in the queue.
    """

    def __init__(self, batcher: PictureBatcher) -> None:
        self._batcher = batcher
        self._releasing: asyncio.TimerHandle | None = None

    async def all(
        self, items: Sequence[Item], priority: Priority, model: Model, deadline: Deadline, flow: Flow = EVEN
    ) -> list[Answer]:
        """Everybody's answer, or the first error; then nobody else's is computed any more."""
        waiting: list[asyncio.Future[Answer]] = []
        try:
            async with asyncio.timeout(max(0.0, deadline.remaining())):
                waiting.extend(self._submit(item, priority, model, deadline, flow) for item in items)
                return await asyncio.gather(*waiting) if len(waiting) != 1 else [await waiting[0]]
        except TimeoutError:
            raise _late() from None
        finally:
            while waiting:  # an error holds this frame, which must not hold the future that holds the error
                waiting.pop().cancel()

    async def each(
        self, items: Sequence[Item], at_once: int, priority: Priority, model: Model, deadline: Deadline, flow: Flow
    ) -> list[Answer | RequestError]:
        """An answer or an error for each, in the items' order, of which at most `at_once` wait for a lane.

        So whoever comes meanwhile is behind no more of them than that. Raises `DeadlineExceeded` for all.
        """
        found: dict[int, Answer | RequestError] = {}
        upcoming = iter(enumerate(items))

        async def ask(upcoming: Iterator[tuple[int, Item]]) -> None:
            for place, item in upcoming:
                try:
                    found[place] = await self._submit(item, priority, model, deadline, flow)
                except RequestError as error:
                    found[place] = error.with_traceback(None)  # it leads to a frame that holds what holds the error

        try:
            async with asyncio.timeout(max(0.0, deadline.remaining())), asyncio.TaskGroup() as group:
                for _ in range(min(at_once, len(items))):
                    group.create_task(ask(upcoming))
        except TimeoutError:
            raise _late() from None
        if any(isinstance(answer, DeadlineExceeded) for answer in found.values()):
            raise _late()
        return [found[place] for place in range(len(items))]

    def _submit(
        self, item: Item, priority: Priority, model: Model, deadline: Deadline, flow: Flow
    ) -> asyncio.Future[Answer]:
        future = asyncio.wrap_future(self._batcher.submit(model, item, priority, deadline, flow))
        if self._releasing is None:
            self._releasing = asyncio.get_running_loop().call_later(HELD_SECONDS, self._release)
        return future

    def _release(self) -> None:
        """Lanes release what they hold; here for the answer whose lane is stuck. Runs only while pictures wait."""
        self._batcher.release_answers()
        self._batcher.relieve(HELD_SECONDS)
        waiting = self._batcher.waiting()
        self._releasing = asyncio.get_running_loop().call_later(HELD_SECONDS, self._release) if waiting else None


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("The deadline passed before the answer was there.")
