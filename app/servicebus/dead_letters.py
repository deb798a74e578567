"""The dead letters of a queue or a subscription, for an operator: look at them, send them again, or drop them.

Service Bus hands dead letters out in their order only, so those that stand before a wanted one are held under their
locks meanwhile and released at the end. Nothing is lost whenever the program ends: a letter is removed after its copy
is stored, and not before.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from azure.core.exceptions import AzureError
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusSender
from azure.servicebus.exceptions import MessageLockLostError, MessagingEntityNotFoundError, ServiceBusError

from app.errors import StartupError
from app.queue_source import QueueSource, hint_where_missing
from app.servicebus.connection import Connection
from app.servicebus.letter import DeadLetter, copy_of, letter_of, unsendable
from app.servicebus.link_errors import LinkLost, speaking, words
from app.servicebus.peeking import Peeking
from app.servicebus.receiver import Received, Receiver
from app.servicebus.sending import SEND_SECONDS
from app.servicebus.settlement import COMPLETE, RELEASE

PAGE = 250
"""Letters that are looked at together, bodies and all."""
_AT_ONCE = 16
"""Letters that are worked on together; what they hold is under a lock only so long."""
_PATIENCE = 5.0
"""Seconds without a letter not seen before, after which those that are missing are somebody else's."""

_Treat = Callable[[list[Received]], Awaitable[dict[int, str]]]


def too_young(letter: DeadLetter, window: float) -> str:
    """Why a copy would be dropped by a queue that remembers ids for `window` seconds; empty where it would not."""
    if window == 0 or (letter.age or 0.0) > window:
        return ""
    return f"it was sent less than {window:.0f} s ago: the queue would drop its copy as a duplicate. Wait"


@dataclass(frozen=True, slots=True)
class Step:
    """What became of one letter: it is gone from here, or there is a `trouble` because of which it stays."""

    sequence_number: int
    trouble: str = ""


class DeadLetters:
    """Those of one queue. Methods raise `StartupError` where the broker cannot be reached, or says no."""

    def __init__(self, connection: Connection, queue: str) -> None:
        """The connection is closed at the end of the `with` block, where there is one."""
        self._connection = connection
        self._queue = queue
        self._source = QueueSource.of(queue)
        self._peeking = Peeking(connection, queue)

    @property
    def topic(self) -> str | None:
        """Of a subscription the topic, to which copies are sent; None for a queue."""
        return self._source.name if self._source.subscription is not None else None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
        await self._connection.close()

    async def close(self) -> None:
        """Close what was opened for looking; the connection is another's."""
        await self._peeking.close()

    async def peek(self, start: int = 0, at_once: int = PAGE) -> AsyncGenerator[DeadLetter]:
        """Look at all from the number `start` on, the oldest first, so many `at_once`; nothing is locked."""
        async for message in self.messages(start, at_once):
            yield letter_of(message)

    async def messages(self, start: int = 0, at_once: int = PAGE) -> AsyncGenerator[ServiceBusReceivedMessage]:
        """As `peek`, with all that the broker gives."""
        next_number = start
        try:
            while page := await self._peeking.peek(at_once, next_number):
                for message in page:
                    yield message
                next_number = int(page[-1].sequence_number or 0) + 1
        except AzureError as error:
            raise self._failed("cannot be read", error, "Nothing was changed.") from None

    async def duplicate_window(self) -> float | None:
        """Seconds for which the queue remembers ids; 0 where it drops no duplicates, None where it cannot be read."""
        client = self._connection.administration()
        if client is None:
            return None
        try:
            async with client:
                of_topic = self.topic is not None
                found: Any = await (client.get_topic if of_topic else client.get_queue)(self._source.name)
        except (AzureError, OSError, ValueError):
            return None
        window: Any = found.duplicate_detection_history_time_window
        return float(window.total_seconds()) if found.requires_duplicate_detection else 0.0

    async def resubmit(self, numbers: Collection[int], changes: Mapping[str, Any] | None = None) -> AsyncIterator[Step]:
        """Put copies of these letters on the queue, and remove each letter once its copy is stored. `changes` are
        options that the copies ask for instead.

        Those of a subscription can be sent to its topic only, and so to every subscription of it whose rules match.

        A program that ends in between leaves a letter here and a copy there. Copies keep their ids: results are the
        same, and duplicate detection drops a second copy.
        """
        sender = self._connection.sender(self._source.name)

        async def send(batch: list[Received]) -> dict[int, str]:
            return await _send(sender, batch, changes)

        try:
            async for step in self._work_off(numbers, send):
                yield step
        finally:
            await sender.close()

    async def drop(self, numbers: Collection[int]) -> AsyncIterator[Step]:
        """Remove these letters for good."""

        async def nothing(_: list[Received]) -> dict[int, str]:
            return {}

        async for step in self._work_off(numbers, nothing):
            yield step

    async def _work_off(self, numbers: Collection[int], treat: _Treat) -> AsyncIterator[Step]:
        """`treat` says which letters are to stay, and why; the others are removed. Those not found have a step too."""
        link = self._connection.receiver(self._queue, dead_letters=True)
        wanted, others = set(numbers), dict[int, Received]()
        try:
            await link.open()
            heard = time.monotonic()
            while wanted and time.monotonic() - heard < _PATIENCE:
                if link.credit < _AT_ONCE // 2:
                    await link.grant(_AT_ONCE)
                found = {int(item.message.sequence_number or 0): item for item in await link.read()}
                if found.keys() - others.keys():
                    heard = time.monotonic()
                others |= found
                for number in found.keys() - wanted:
                    found[number].let_body_go()
                for step in await _treat(link, [item for number, item in found.items() if number in wanted], treat):
                    wanted.discard(step.sequence_number)
                    del others[step.sequence_number]
                    yield step
            for number in sorted(wanted):
                yield Step(number, "it is not there any more, or somebody else has locked it")
        except (LinkLost, AzureError) as error:
            raise self._failed("could not be worked off", error, "None is lost; run it again.") from None
        finally:
            await _give_back(link, others.values())

    def _failed(self, what: str, error: Exception, after: str) -> StartupError:
        if isinstance(error, MessagingEntityNotFoundError):
            hint = hint_where_missing(self._queue)
            return StartupError(f"There is no queue or subscription {self._queue!r} in the namespace.{hint}")
        said = str(error) if isinstance(error, LinkLost) else words(error)
        return StartupError(f"The dead letters of {self._queue!r} {what}: {said.rstrip('.')}. {after}")


async def _treat(link: Receiver, batch: list[Received], treat: _Treat) -> list[Step]:
    if not batch:
        return []
    troubles = await treat(batch)
    return await asyncio.gather(*(_end(link, item, troubles) for item in batch))


async def _end(link: Receiver, item: Received, troubles: dict[int, str]) -> Step:
    """Remove a letter, or give it back where there is a trouble with it."""
    number = int(item.message.sequence_number or 0)
    trouble = troubles.get(number, "")
    try:
        await link.settle(item, RELEASE if trouble else COMPLETE)
    except MessageLockLostError:
        trouble = trouble or "its lock was lost meanwhile: it may still be here, too"
    return Step(number, trouble)


async def _give_back(link: Receiver, others: Collection[Received]) -> None:
    """The locks of what cannot be released end by themselves."""
    for item in others:
        try:
            await link.settle(item, RELEASE)
        except MessageLockLostError:
            continue
        except (LinkLost, AzureError):
            break
    await link.close()


async def _send(sender: ServiceBusSender, batch: list[Received], changes: Mapping[str, Any] | None) -> dict[int, str]:
    """Send copies, together where the broker takes them so; returns what it refuses, with its words.

    Raises `LinkLost`, and the broker's answer where it takes none of several.
    """
    letters = {int(item.message.sequence_number or 0): item.message for item in batch}
    refused = {number: why for number, letter in letters.items() if (why := unsendable(letter))}
    copies = {number: copy_of(letter, changes) for number, letter in letters.items() if number not in refused}
    if not copies or await _is_stored(sender, list(copies.values())) is None:
        return refused
    last: ServiceBusError | None = None
    taken = 0
    for number, copy in copies.items():
        if (error := await _is_stored(sender, [copy])) is not None:
            last, refused[number] = error, f"the queue does not take it: {words(error)}"
        else:
            taken += 1
    if last is not None and not taken and len(copies) > 1:
        raise last
    return refused


async def _is_stored(sender: ServiceBusSender, copies: list[Any]) -> ServiceBusError | None:
    """None where they are; else the broker's answer."""
    try:
        with speaking():
            await sender.send_messages(copies if len(copies) > 1 else copies[0], timeout=SEND_SECONDS)
    except ServiceBusError as error:
        return error  # an answer: what is none is `LinkLost`
    return None
