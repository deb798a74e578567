"""The queue front: receives what the core can finish in time, and outlives whatever the broker does."""

import asyncio
import contextlib
import logging
import math
import random
import time

from azure.servicebus.exceptions import MessageLockLostError

from app.core.request import Priority
from app.core.service import InferenceService
from app.errors import ResultsUnavailable, StartupError
from app.servicebus.answering import SOURCE, Answering
from app.servicebus.connection import Connection
from app.servicebus.delivery import Deliveries
from app.servicebus.depth import QueueDepth
from app.servicebus.link_errors import LinkLost, words
from app.servicebus.locks import LockKeeper
from app.servicebus.queue_status import LinkState, QueueStatus
from app.servicebus.receiver import Received, Receiver
from app.servicebus.settlement import RELEASE
from app.servicebus.settler import Settler
from app.servicebus.supervision import supervised
from app.servicebus.trouble import Trouble

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between attempts to connect: doubled after each that fails, with jitter, for ever."""
_LOCK_SHARE = 0.5
"""Of a lock's period, how much may be planned with."""
_FOR_EVER = 86_400.0
IDLE_LINK_SECONDS = 600.0
"""A link over which nothing has come for so long is opened anew: credit that was lost on it would never come back."""
REFRESH_SECONDS = 10.0
"""Credit that was granted so long ago is granted again: were the broker not to know of it, nothing would ever come."""
_LOOK_SECONDS = 0.05
"""How long the room that people have taken or left may go unnoticed."""
_STEP = 8
"""Credit is granted in steps of this part of what is held, so that not every message costs a frame."""


class QueueWorker:
    """Works off one queue until stopped."""

    def __init__(
        self,
        service: InferenceService,
        connection: Connection,
        answering: Answering,
        queue: str,
        most_held: int,
        depth: QueueDepth | None = None,
    ) -> None:
        """`most_held` is the most messages that are held at once; `depth` counts those on the queue."""
        self.status = QueueStatus(queue)
        self._service = service
        self._connection = connection
        self._answering = answering
        self._most_held = most_held
        self._depth = depth
        self._link: Receiver | None = None
        self._settler = Settler(queue)
        self._locks = LockKeeper(queue, self._settler.renew)
        answering.clock_ahead = lambda: self._locks.clock_ahead
        self._stopping = asyncio.Event()
        self._closed = asyncio.Event()
        self._first_link = asyncio.Event()
        self._granted_at = 0.0
        self._changed = True
        """Whether messages have come or gone since the room was last reckoned."""
        self._closing: set[asyncio.Task[None]] = set()
        self._trouble = Trouble(log, f"receiving from {queue}")
        self._breaker = answering.breaker
        self._breaker.changed = self._breaker_changed
        self._deliveries = Deliveries(queue, answering, self._settler, self._locks, self._breaker, self._nudge)

    @property
    def queue(self) -> str:
        """The queue's name."""
        return self.status.queue

    @property
    def held(self) -> int:
        """Messages received and not yet settled."""
        return len(self._deliveries)

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
        tasks = [asyncio.create_task(supervised("the queue's receiver", self._receive_for_ever), name="queue-receiver")]
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

    async def stop(self, seconds: float) -> None:
        """Take nothing more, finish and settle what is computing, release the rest; within `seconds`."""
        self._stopping.set()
        until = time.monotonic() + seconds
        self._deliveries.begin_end()
        self._service.refuse_waiting(SOURCE)
        self._nudge()
        await self._deliveries.finish(until - time.monotonic())
        self.status.state, self.status.reason, self.status.credit = LinkState.STOPPED, "", 0

    async def close(self) -> None:
        """Disconnect; for after `stop`."""
        self._closed.set()
        if self._link is not None:
            self._close_aside(self._link)
        await self._locks.close()
        if self._closing:
            await asyncio.wait(self._closing)
        await self._answering.close()
        await self._connection.close()

    async def _receive_for_ever(self) -> None:
        pause = FIRST_PAUSE
        while not self._closed.is_set():
            if await self._receive_until_lost():
                pause = FIRST_PAUSE
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), pause * random.uniform(0.5, 1))
            pause = min(LONGEST_PAUSE, pause * 2)

    async def _receive_until_lost(self) -> bool:
        """One link, from its opening to its loss; False where it could not be opened at all."""
        link = self._connection.receiver(self.status.queue)
        try:
            await link.open()
        except Exception as error:
            self._close_aside(link)
            self._check_start(error)
            self._disconnected(words(error))
            return False
        previous, self._link, self._changed = self._link, link, True
        self._settler.use(link)
        self._connected()
        if previous is not None:
            self._close_aside(previous)
        try:
            await self._receive(link)
        except LinkLost as error:
            for received in link.take_arrived():  # left alone, it would be locked for nobody
                self._deliveries.start(received)
            self._disconnected(str(error))
        except Exception as error:
            self._disconnected(words(error))
            raise
        return True

    async def _receive(self, link: Receiver) -> None:
        """Read without end, whatever is held: so a loss is noticed at once. Credit is what room there is."""
        heard = looked = time.monotonic()
        while not self._stopping.is_set():
            # Most of what comes over a link confirms settlements, and says nothing of how much room there is.
            if self._changed or time.monotonic() - looked > _LOOK_SECONDS:
                self._changed, looked = False, time.monotonic()
                await self._grant(link)
            for received in await link.read():
                self._deliveries.start(received)
                heard, self._changed = time.monotonic(), True
            if link.credit and time.monotonic() - heard > IDLE_LINK_SECONDS:
                return
        await link.drain()
        while not self._closed.is_set():  # what was under way still comes
            for received in await link.read():
                await self._give_back(link, received)

    async def _give_back(self, link: Receiver, received: Received) -> None:
        """Release what came too late."""
        with contextlib.suppress(MessageLockLostError):
            await link.settle(received, RELEASE)

    async def _grant(self, link: Receiver) -> None:
        """Let the broker send what there is room for, and no more: what it was promised before is taken back."""
        room, promised = self._room(), link.credit
        self.status.credit = room
        step = max(1, (len(self._deliveries) + promised) // _STEP)
        stale = promised > 0 and time.monotonic() - self._granted_at > REFRESH_SECONDS
        if room < promised or room >= promised + step or stale:
            self._granted_at = time.monotonic()
            await link.grant(room)

    def _room(self) -> int:
        """How many messages more the core can finish inside their locks, and has permits for."""
        held, capacity = len(self._deliveries), self._service.capacity
        early = held - self._answering.begun  # their pictures still come, and neither wait nor have a permit yet
        if self._breaker.is_open and held >= self._breaker.places:
            return 0
        room = self._inside_locks() - early
        if not held:
            # One is always taken where anything is computed at all: its lock tells how long they last here, and the
            # locks of a model that is slower than them are renewed.
            room = max(min(1, capacity.credit(None, _FOR_EVER)), room)
        most = self._breaker.places if self._breaker.is_open else self._most_held
        return max(0, min(most - held, room, self._permits() - (0 if self._breaker.is_open else early)))

    def _permits(self) -> int:
        """How many pictures of bulk would be admitted; where nothing is in flight, one always is."""
        admission = self._service.admission
        return admission.free(Priority.BULK) or (0 if admission.used.pictures else 1)

    def _inside_locks(self) -> int:
        """How many pictures beside those in the core can be finished inside a lock; 0 before a lock was seen."""
        seconds = _LOCK_SHARE * math.ceil(self._locks.period)  # whole seconds, that arrive a bit shorter
        return self._service.capacity.credit(None, seconds) if seconds else 0

    def _breaker_changed(self) -> None:
        self.status.halted = self._breaker.reason
        self._nudge()

    async def _check_results(self) -> None:
        """Say at the start, and not with the first message, that results have nowhere to go."""
        await self._first_link.wait()
        try:
            await self._answering.check_results()
        except ResultsUnavailable as error:
            self._breaker.trip(str(error))

    def _nudge(self) -> None:
        """Something has changed that the receiver should know now."""
        self._changed = True
        if self._link is not None:
            self._link.nudge()

    def _close_aside(self, link: Receiver) -> None:
        """Closing takes a second and more, which nobody need wait for."""
        closing = asyncio.create_task(link.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _connected(self) -> None:
        if not self._stopping.is_set():
            self.status.state, self.status.reason = LinkState.CONNECTED, ""
        self._first_link.set()
        self._trouble.over()
        log.info("receiving from %s", self.queue)

    def _disconnected(self, reason: str) -> None:
        if self._closed.is_set():
            return
        if not self._stopping.is_set():
            self.status.state, self.status.reason, self.status.credit = LinkState.DISCONNECTED, reason, 0
        self._trouble.again(reason)

    def _check_start(self, error: Exception) -> None:
        """Where a queue can never be received, the start is what fails; a queue that was received may be so again."""
        said = str(error).lower()
        if self._link is None and "amqp:not-allowed" in said and "requires sessions" in said:
            raise StartupError(
                f"ROO_QUEUE={self.queue} requires sessions, which are not supported. Name one without them."
            ) from None
