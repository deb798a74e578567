"""The queue front: receives what the core can finish in time, and outlives whatever the broker does."""

import asyncio
import contextlib
import time

from app.core.service import InferenceService
from app.servicebus.answering import SOURCE, Answering
from app.servicebus.breaker import Breaker
from app.servicebus.credit import Credit
from app.servicebus.delivery import Deliveries
from app.servicebus.depth import QueueDepth
from app.servicebus.intake import Intake
from app.servicebus.queue_status import QueueStatus
from app.servicebus.supervision import supervised

DRAIN_SECONDS = 2.0
"""How long at the end messages are waited for that the broker had sent already: left alone, each costs a delivery."""
_END_SECONDS = 2.0
"""How long `close` waits for what receives to end: a cancellation may be lost on its way through the SDK."""


class QueueWorker:
    """Works off one queue until stopped."""

    def __init__(
        self,
        service: InferenceService,
        answering: Answering,
        intake: Intake,
        credit: Credit,
        status: QueueStatus,
        depth: QueueDepth | None = None,
    ) -> None:
        """`intake` brings the messages, as many as `credit` allows; `depth` counts those on the queue."""
        self.status = status
        self._breaker = answering.breaker
        self._breaker.changed = self._breaker_changed
        self._service = service
        self._answering = answering
        self._intake = intake
        self._credit = credit
        self._depth = depth
        answering.clock_ahead = lambda: intake.locks.clock_ahead
        self._closed = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self._deliveries = Deliveries(self.queue, answering, intake.settler, intake.locks, self._breaker, credit.freed)

    @property
    def queue(self) -> str:
        """The queue's name."""
        return self.status.queue

    @property
    def breaker(self) -> Breaker:
        """Whether anything but probes is to be taken."""
        return self._breaker

    @property
    def held(self) -> int:
        """Messages received and not yet settled."""
        return len(self._deliveries) + self._intake.arrived

    @property
    def begun(self) -> int:
        """Those of them whose pictures the core has been asked about."""
        return self._answering.begun

    @property
    def promised(self) -> int:
        """Messages that the broker may still send."""
        return self._intake.promised

    @property
    def lock_period(self) -> float:
        """How long, in seconds, a fresh lock lasts; 0 before the first message."""
        return self._intake.locks.period

    def nudge(self) -> None:
        """There may be room for more."""
        self._intake.nudge()

    def oldest_age(self) -> float:
        """Seconds since the oldest message that is held was sent; 0 where none is."""
        return self._deliveries.oldest_age()

    def depth(self) -> dict[str, int]:
        """Messages on the queue by their state, as the broker last counted them; empty where it does not tell."""
        return self._depth.counts if self._depth else {}

    async def run(self) -> None:
        """Receive until `close`, connecting again for ever. Raises `StartupError` where the queue cannot be received.

        After `stop` nothing more is taken, but the link is kept: locks are renewed and messages settled over it.
        """
        self._ended.clear()
        tasks = [asyncio.create_task(supervised("the queue's receiver", self._receive), name="queue-receiver")]
        if self._depth:
            tasks.append(asyncio.create_task(supervised("the queue's depth", self._depth.run), name="queue-depth"))
        tasks.append(asyncio.create_task(supervised("the check of the results queue", self._check_results)))
        closed = asyncio.create_task(self._closed.wait())
        try:
            await asyncio.wait([closed, tasks[0]], return_when=asyncio.FIRST_COMPLETED)
            if tasks[0].done():
                tasks[0].result()
        finally:
            for task in (*tasks, closed):
                task.cancel()
            await asyncio.wait([*tasks, closed])
            self._ended.set()

    async def stop(self, seconds: float) -> None:
        """Take nothing more, finish and settle what is computing, release the rest; within `seconds`."""
        self.status.begin_stop()
        until = time.monotonic() + seconds
        self._deliveries.begin_end()
        self._service.refuse_waiting(SOURCE)
        self._intake.stop()
        await self._deliveries.finish(until - time.monotonic())
        await self._intake.finish(max(0.0, min(DRAIN_SECONDS, until - time.monotonic())))
        self.status.stop()

    async def close(self) -> None:
        """Disconnect; for after `stop`."""
        self._closed.set()
        await self._intake.close()
        with contextlib.suppress(TimeoutError):  # a link that is being opened is not to lose its connection under it
            await asyncio.wait_for(self._ended.wait(), _END_SECONDS)
        self._answering.close()

    async def _receive(self) -> None:
        await self._intake.run(self._deliveries.start, lambda: self._credit.of(self))

    def _breaker_changed(self) -> None:
        self.status.halted = self._breaker.reason
        self._intake.nudge()

    async def _check_results(self) -> None:
        """Say at the start, and not with the first message, that results have nowhere to go."""
        await self.status.opened.wait()
        await self._answering.check_results()
