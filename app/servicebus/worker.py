"""The queue front: receives what the core can finish in time, and outlives whatever the broker does."""

import asyncio
import contextlib
import logging
import random
import time
from dataclasses import dataclass
from enum import Enum

from azure.core.exceptions import AzureError

from app.core.request import Priority
from app.core.service import InferenceService
from app.errors import StartupError
from app.servicebus.answering import SOURCE, Answering
from app.servicebus.connection import Connection, Receiver
from app.servicebus.delivery import Deliveries
from app.servicebus.depth import QueueDepth
from app.servicebus.locks import LockKeeper
from app.servicebus.settler import Settler

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between attempts to connect: doubled after each that fails, with jitter, for ever."""
_RECHECK_SECONDS = 0.25
_ROUNDS = 4
"""A round of reading is this part of the messages that may be held: while one is computed, the next arrives."""
_LOCK_SHARE = 0.5
"""Of a lock's period, how much may be planned with."""
_LINK_ERRORS = (AzureError, ValueError, OSError, StopAsyncIteration)
"""What a lost connection looks like from the SDK; ValueError where it has shut its receiver down."""


class LinkState(Enum):
    """How the worker and the broker stand."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    STOPPED = "stopped"


@dataclass(slots=True)
class QueueStatus:
    """What readiness and metrics tell of the queue. `credit` is how many messages more would be taken now."""

    queue: str
    state: LinkState = LinkState.CONNECTING
    reason: str = ""
    credit: int = 0

    @property
    def connected(self) -> bool:
        """Whether there is a link that messages come over."""
        return self.state is LinkState.CONNECTED

    def __str__(self) -> str:
        words = f"{self.queue}: {self.state.value}"
        return f"{words} ({self.reason})" if self.reason else words


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
        self._round = max(2, most_held // _ROUNDS)
        self._settler = Settler()
        self._locks = LockKeeper(self._settler.renew)
        self._freed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._closing: set[asyncio.Task[None]] = set()
        self._deliveries = Deliveries(queue, answering, self._settler, self._locks, self._freed.set)

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
        """Receive until `stop`, connecting again for ever."""
        aside = [asyncio.create_task(self._locks.run(), name="lock-keeper")]
        if self._depth:
            aside.append(asyncio.create_task(self._depth.run(), name="queue-depth"))
        pause = FIRST_PAUSE
        try:
            while not self._stopping.is_set():
                if await self._receive_until_lost():
                    pause = FIRST_PAUSE
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pause * random.uniform(0.5, 1))
                pause = min(LONGEST_PAUSE, pause * 2)
        finally:
            for task in aside:
                task.cancel()

    async def stop(self, seconds: float) -> None:
        """Take nothing more, finish and settle what is computing, give back the rest; within `seconds`.

        The receiver must still be open for that: `run` goes on until `close`.
        """
        self._stopping.set()
        self._freed.set()
        until = time.monotonic() + seconds
        self._deliveries.begin_end()
        self._service.refuse_waiting(SOURCE)
        await self._stop_reading()
        await self._deliveries.finish(until - time.monotonic())
        self.status.state, self.status.reason = LinkState.STOPPED, ""

    async def close(self) -> None:
        """Disconnect; for after `stop`."""
        if self._settler.receiver is not None:
            self._close_aside(self._settler.receiver)
        if self._closing:
            await asyncio.wait(self._closing)
        await self._answering.close()
        await self._connection.close()

    async def _stop_reading(self) -> None:
        """Close the link that reads, and settle over another: while it is open, the broker goes on sending what it was
        promised credit for, and what is given back would come straight back.
        """
        reading = self._settler.receiver
        if reading is None:
            return
        settling = self._connection.receiver(self.status.queue, 1)
        try:
            await settling.open()
        except _LINK_ERRORS:
            self._close_aside(settling)
        else:
            self._settler.receiver = settling
            self._close_aside(reading)

    async def _receive_until_lost(self) -> bool:
        """One receiver, from its opening to its failure; False where it could not be opened at all."""
        receiver = self._connection.receiver(self.status.queue, self._round)
        try:
            await receiver.open()
        except _LINK_ERRORS as error:
            self._lost(error)
            self._close_aside(receiver)
            if "session" in str(error).lower():
                raise StartupError(
                    f"ROO_QUEUE={self.queue} requires sessions, which are not supported. Name one without them."
                ) from None
            return False
        previous, self._settler.receiver = self._settler.receiver, receiver
        self.status.state, self.status.reason = LinkState.CONNECTED, ""
        log.info("receiving from %s", self.status.queue)
        if previous is not None:
            self._close_aside(previous)
        try:
            await self._receive(receiver)
        except _LINK_ERRORS as error:
            self._lost(error)
        return True

    async def _receive(self, receiver: Receiver) -> None:
        """Read in rounds: the broker is asked for the next only when there is room for all of it.

        Within a round nothing is waited for: its messages are under way, and their locks are running, already.
        """
        while not self._stopping.is_set():
            await self._room_for_a_round()
            for _ in range(self._round):
                if self._stopping.is_set():
                    return
                self._deliveries.start(await receiver.next())

    async def _room_for_a_round(self) -> None:
        while not self._stopping.is_set():
            self.status.credit = self._credit()
            if self.status.credit >= self._round or not self._deliveries:
                return
            self._freed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._freed.wait(), _RECHECK_SECONDS)

    def _credit(self) -> int:
        """How many more messages the core can finish inside their locks, and has permits for."""
        held = len(self._deliveries)
        inside_locks = self._service.capacity.credit(None, _LOCK_SHARE * self._locks.period)
        return min(self._most_held - held, inside_locks, self._service.admission.free(Priority.BULK))

    def _close_aside(self, receiver: Receiver) -> None:
        """Closing takes a second and more, which nobody need wait for."""
        closing = asyncio.create_task(_close(receiver))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def _lost(self, error: BaseException) -> None:
        reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:160]}"
        if self._stopping.is_set():
            return
        if (self.status.state, self.status.reason) != (LinkState.DISCONNECTED, reason):
            log.warning("disconnected from %s: %s", self.status.queue, reason)
        self.status.state, self.status.reason = LinkState.DISCONNECTED, reason


async def _close(receiver: Receiver) -> None:
    try:
        await receiver.close()
    except _LINK_ERRORS as error:
        log.debug("closing a receiver: %s", type(error).__name__)
