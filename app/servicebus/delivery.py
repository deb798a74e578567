"""One message's life with us: answered while its lock is kept, then settled, whatever happens."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from azure.servicebus import ServiceBusReceivedMessage

from app.errors import Draining, EngineFailure, Overloaded, RequestError, ResultsUnavailable, StorageUnavailable
from app.servicebus import results, settlement
from app.servicebus.answering import Answering
from app.servicebus.breaker import Breaker
from app.servicebus.receiver import Received
from app.servicebus.settlement import Settlement, Verb
from app.servicebus.settler import Lock
from app.servicebus.trouble import Trouble
from app.telemetry import asked, logs, metrics, tracing

log = logging.getLogger(__name__)

_OVERLOADED_PAUSE = 0.5
_MOST_PATIENCE = 300.0
"""Seconds that are waited for at most where a destination asks for patience."""
_OPERATORS = (ResultsUnavailable, StorageUnavailable)
"""Errors that no message is to blame for."""
_LAST_SECONDS = 1.0
"""What is kept of the time to finish for giving back what could not be finished."""


class _NobodysFaultError(Exception):
    """A message is given back for an operator's fault. Decided where it failed: a moment later another message may have
    gone through, and this delivery would count.
    """

    def __init__(self, error: RequestError) -> None:
        super().__init__(str(error))
        self.error = error


class Locks(Protocol):
    """Keeps the locks of the messages that are held."""

    @property
    def period(self) -> float:
        """How long, in seconds, a fresh lock lasts; 0 before the first message."""

    @property
    def clock_ahead(self) -> float:
        """Seconds by which our clock is proven to be ahead of the broker's; negative where it is behind."""

    def hold(self, received: Received, on_loss: Callable[[], object]) -> AbstractContextManager[Lock]:
        """Keep the message's lock for the length of the block; `on_loss` is called where that fails."""


class Settling(Protocol):
    """Settles the messages that are held."""

    @property
    def connected(self) -> bool:
        """Whether there is a link to settle over."""

    def can_release(self, received: Received) -> bool:
        """Whether a message can be given back without using up a delivery."""

    async def settle(self, received: Received, decided: Settlement, lock: Lock) -> bool:
        """Settle for as long as the lock is held; False where it was lost first."""


class Deliveries:
    """The messages that are held; each has a task, and each task ends in one row of the settlement table."""

    def __init__(
        self,
        queue: str,
        answering: Answering,
        settler: Settling,
        locks: Locks,
        breaker: Breaker,
        on_end: Callable[[], object],
    ) -> None:
        self._queue = queue
        self._breaker = breaker
        self._answering = answering
        self._settler = settler
        self._locks = locks
        self._on_end = on_end
        self._tasks: dict[asyncio.Task[None], Received] = {}
        self._ending = asyncio.Event()
        self._trouble = Trouble(log, f"answering messages of {queue}")

    def __len__(self) -> int:
        return len(self._tasks)

    def oldest_age(self) -> float:
        """Seconds since the oldest of them was sent; 0 where there is none. May be asked from any thread."""
        return max((_age(received.message) for received in list(self._tasks.values())), default=0.0)

    def start(self, received: Received) -> asyncio.Task[None]:
        """Take a message on; the task ends when it is settled."""
        task = asyncio.create_task(self._deliver(received))
        self._tasks[task] = received
        task.add_done_callback(self._ended)
        return task

    def begin_end(self) -> None:
        """From now on nothing is begun or waited for: what is taken on, or rests, is given back.

        But for what came over a link that is lost: that can be given back at the price of a delivery only, and is
        finished, as far as the time goes.
        """
        self._ending.set()

    async def finish(self, seconds: float) -> None:
        """Let what is being answered end, give the rest back, all within `seconds`."""
        self.begin_end()
        await self._wait(seconds - _LAST_SECONDS)
        for task in self._tasks:
            task.cancel()
        await self._wait(_LAST_SECONDS)

    async def _wait(self, seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=max(0.0, seconds))

    def _ended(self, task: asyncio.Task[None]) -> None:
        received = self._tasks.pop(task, None)
        if received is not None:
            self._breaker.forget(self._id_of(received.message))
        self._on_end()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("a message was left to its lock by a defect", exc_info=error)

    async def _deliver(self, received: Received) -> None:
        started, message = time.monotonic(), received.message
        logs.request_id.set(results.request_id_of(message, self._queue))
        answered = asked.begin()
        with tracing.processing(self._queue, str(message.message_id), message.application_properties) as span:
            answering = asyncio.create_task(self._answer(received))
            with self._locks.hold(received, answering.cancel) as lock:
                decided = await self._decide(received, answering, lock)
                with tracing.settling(self._queue, decided.verb.value):
                    margin = lock.remaining()
                    settled = await self._settler.settle(received, decided, lock)
            if decided.verb is not Verb.COMPLETE or not settled:
                tracing.fail(span, decided.reason or decided.verb.value, decided.description)
            tracing.tell_model(span, answered)
            self._tell(message, decided if settled else settlement.LEAVE, time.monotonic() - started, margin, answered)

    def _tell(
        self,
        message: ServiceBusReceivedMessage,
        decided: Settlement,
        seconds: float,
        margin: float,
        answered: Mapping[str, str],
    ) -> None:
        """One count, one value each, one line."""
        queue = (self._queue,)
        trace = tracing.sampled_context()
        metrics.messages.add(1, (self._queue, decided.verb.value, decided.reason))
        metrics.message_seconds.record(seconds, queue, trace)
        metrics.message_age.record(_age(message), queue, trace)
        if decided.verb is Verb.LEAVE:
            metrics.locks_lost.add(1, queue)
        else:
            metrics.lock_margin.record(max(0.0, margin), queue)
        level = logging.WARNING if decided.verb in (Verb.DEAD_LETTER, Verb.LEAVE) else logging.INFO
        words = f": {decided.description}" if decided.description else ""
        fields: logs.Fields = {
            "queue": self._queue,
            "outcome": decided.verb.value,
            "duration_ms": round(seconds * 1e3, 2),
            **({"reason": decided.reason} if decided.reason else {}),
            **answered,
        }
        logs.tell(log, level, f"message {message.message_id}: {decided.verb.value}{words}", fields)

    async def _decide(self, received: Received, answering: asyncio.Task[None], lock: Lock) -> Settlement:
        """Wait for the answer and say what becomes of the message."""
        try:
            await answering
            self._trouble.over()
            return settlement.COMPLETE
        except RequestError as error:
            decided = settlement.settlement_for(error)
            if decided.verb is Verb.ABANDON:
                return await self._before_abandoning(received, error, decided)
            if decided.verb is Verb.DEAD_LETTER:
                with contextlib.suppress(asyncio.CancelledError):  # out of time: it is dead-lettered all the same
                    await self._answering.report(received.message, error)
            return decided
        except _NobodysFaultError as excused:
            return replace(settlement.settlement_for(excused.error), verb=Verb.RELEASE)
        except asyncio.CancelledError:
            return settlement.LEAVE if lock.lost else settlement.RELEASE
        except Exception:  # whatever else goes wrong, the message must be given back
            log.exception("failed on message %s", received.message.message_id)
            return settlement.settlement_for(EngineFailure("The service failed on this message."))

    async def _answer(self, received: Received) -> None:
        """Where all places are taken, or what every message needs is away, wait here: the lock is kept, and a new
        delivery would fare no better.
        """
        tries = 0
        while not self._is_given_back(received):
            try:
                return await self._answering.answer(received.message)
            except Draining:
                if not self._ending.is_set() or self._is_given_back(received):
                    raise
                await self._rest(_OVERLOADED_PAUSE)
            except Overloaded as error:
                await self._rest(error.retry_after or _OVERLOADED_PAUSE)
            except _OPERATORS as error:
                tries += 1
                if self._ending.is_set() or not self._keeps(received, tries):
                    if self._is_excused(error):
                        raise _NobodysFaultError(error) from error
                    raise
                if tries == 1:  # it may be kept for a quarter of an hour
                    self._trouble.again(f"kept and tried again: {error}")
                await self._rest(max(self._breaker.pause(tries), min(_MOST_PATIENCE, error.retry_after or 0.0)))
        raise Draining("The service is shutting down.")

    def _is_given_back(self, received: Received) -> bool:
        """Whether the end has come for a message that is not being computed."""
        return self._ending.is_set() and self._settler.can_release(received)

    def _keeps(self, received: Received, tries: int) -> bool:
        """Whether it stays here, and not only as a probe, where giving it back would use up a delivery.

        Without a link it could not even be given back, and when there is one again it will go through.
        """
        stays = self._breaker.is_open and not self._settler.can_release(received)
        return stays or not self._settler.connected or self._breaker.keeps(self._id_of(received.message), tries)

    async def _before_abandoning(self, received: Received, error: RequestError, decided: Settlement) -> Settlement:
        """Keep a failed message for a while; where no message is to blame, this delivery is not to count."""
        if not self._is_excused(error) and not self._ending.is_set():
            await self._rest(settlement.delay_before_abandoning(received.message.delivery_count or 0))
        return replace(decided, verb=Verb.RELEASE) if self._is_excused(error) else decided

    def _is_excused(self, error: RequestError) -> bool:
        return isinstance(error, _OPERATORS) and (self._breaker.is_open or self._ending.is_set())

    def _id_of(self, message: ServiceBusReceivedMessage) -> str:
        return results.request_id_of(message, self._queue)

    async def _rest(self, seconds: float) -> None:
        """Sleep, but not into the end; what stays after that sleeps on."""
        if self._ending.is_set():
            await asyncio.sleep(seconds)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)


def _age(message: ServiceBusReceivedMessage) -> float:
    """Seconds since it was sent, by our clock."""
    sent: datetime | None = message.enqueued_time_utc
    return 0.0 if sent is None else max(0.0, (datetime.now(UTC) - sent).total_seconds())
