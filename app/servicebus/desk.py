"""What operators see of the queues of a running service, and do with their dead letters."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any

from azure.servicebus import ServiceBusReceivedMessage

from app.errors import (
    InvalidRequest,
    LetterNotFound,
    MessageError,
    NoPicture,
    PayloadTooLarge,
    QueueUnavailable,
    StartupError,
)
from app.servicebus.claimcheck import BlobStore, Reserve
from app.servicebus.connection import Connection
from app.servicebus.dead_letters import DeadLetters, Step, too_young
from app.servicebus.letter import DeadLetter, letter_of, masked
from app.servicebus.message import read_job
from app.servicebus.worker import QueueWorker
from app.wire.dead_letters import (
    DeadLetterDetails,
    DeadLetterFilter,
    DeadLetterPage,
    DeadLetterRow,
    QueueState,
    Removal,
    Resubmission,
    Worked,
)

AT_ONCE = 50
"""Letters that are peeked at together: their bodies come along, and may have some megabytes each."""
MOST_LOOKED_AT = 2_000
"""Of one page: where few fit the filter, whoever asks goes on from there."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Letters that are to be worked off, and those that stay, which are told at once."""

    numbers: set[int]
    stay: list[Step]


class Desk:
    """All queues of one front. Methods raise `QueueUnavailable` where the broker cannot be reached, or says no."""

    def __init__(
        self, connection: Connection, workers: Sequence[QueueWorker], blobs: BlobStore, most_bytes: int
    ) -> None:
        """Pictures of at most `most_bytes` are fetched. What is given is closed by whoever gave it."""
        self._workers = {worker.queue: worker for worker in workers}
        self._letters = {queue: DeadLetters(connection, queue) for queue in self._workers}
        self._blobs = blobs
        self._most_bytes = most_bytes
        # Two who work one queue off at the same time would hold each other's letters under their locks.
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def close(self) -> None:
        """Close what was opened for looking."""
        await asyncio.gather(*(letters.close() for letters in self._letters.values()))

    def states(self) -> list[QueueState]:
        """How each queue stands."""
        return [
            QueueState(
                queue=queue,
                state=worker.status.state.value,
                reason=masked(worker.status.reason),
                halted=worker.status.halted,
                credit=worker.status.credit,
                held=worker.held,
                oldest_age_seconds=round(worker.oldest_age(), 3),
                depth=dict(worker.depth()),
                topic=self._letters[queue].topic,
            )
            for queue, worker in self._workers.items()
        ]

    async def page(self, queue: str, wanted: DeadLetterFilter, start: int, limit: int) -> DeadLetterPage:
        """At most `limit` letters that fit, from the number `start` on. Raises `LetterNotFound` for another queue."""
        found: list[DeadLetterRow] = []
        seen = 0
        letters = self._of(queue).peek(start, AT_ONCE)
        async with aclosing(letters):
            with _asking():
                async for letter in letters:
                    if len(found) == limit or seen == MOST_LOOKED_AT:
                        return DeadLetterPage(letters=found, next=str(letter.sequence_number))
                    seen += 1
                    if fits(letter, wanted):
                        found.append(DeadLetterRow(**_row(letter)))
        return DeadLetterPage(letters=found, next=None)

    async def letter(self, queue: str, number: int) -> DeadLetterDetails:
        """All of one letter but its body. Raises `LetterNotFound`."""
        return _details(letter_of(await self._message(queue, number)))

    async def picture(self, queue: str, number: int, reserve: Reserve) -> bytes:
        """The letter's picture as it was sent, from the message or from its blob; `reserve` is asked for its room.

        Raises `LetterNotFound`, `NoPicture` where there is none or it may not be fetched, and what `reserve` raises.
        """
        message = await self._message(queue, number)
        reserve(len(letter_of(message).body))
        try:
            job = read_job(message, self._most_bytes)
            if job.image is not None:
                return job.image
            return await self._blobs.fetch(str(job.image_url), self._most_bytes, reserve)
        except (MessageError, PayloadTooLarge) as error:
            raise NoPicture(str(error)) from None

    async def resubmit(self, order: Resubmission) -> AsyncIterator[Worked]:
        """Send copies, in this order: how many letters are meant, then each as it is worked off.

        Who comes while others are at work on that queue waits for them, and finds what they left.
        """
        letters = self._of(order.queue)
        if letters.topic is not None and not order.to_topic:
            raise InvalidRequest(
                f"Copies can only be sent to the topic {letters.topic!r}, and every subscription of it whose rules "
                "match gets them. Say `to_topic` to do that."
            )
        with _asking():
            async with self._turns[order.queue]:
                window = await _window(letters, order.duplicate_window)
                chosen = await _choose(letters, order, lambda letter: too_young(letter, window))
                async for line in _told(chosen, letters.resubmit(chosen.numbers, order.options.changes())):
                    yield line

    async def drop(self, order: Removal) -> AsyncIterator[Worked]:
        """Remove letters for good; told as by `resubmit`."""
        letters = self._of(order.queue)
        with _asking():
            async with self._turns[order.queue]:
                chosen = await _choose(letters, order, lambda _: "")
                async for line in _told(chosen, letters.drop(chosen.numbers)):
                    yield line

    async def _message(self, queue: str, number: int) -> ServiceBusReceivedMessage:
        with _asking():
            async with aclosing(self._of(queue).messages(number, at_once=1)) as messages:
                async for message in messages:
                    if int(message.sequence_number or 0) == number:
                        return message
                    break
        raise LetterNotFound(f"There is no dead letter {number}, or not any more.")

    def _of(self, queue: str) -> DeadLetters:
        if queue not in self._letters:
            raise LetterNotFound(f"No queue {queue!r} is received from here, but {', '.join(self._letters)}.")
        return self._letters[queue]


def fits(letter: DeadLetter, wanted: DeadLetterFilter) -> bool:
    """Whether a letter is one of those that are wanted; one without a time fits no filter by time."""
    if wanted.reason is not None and letter.reason != wanted.reason:
        return False
    if wanted.robot_id is not None and letter.robot_id != wanted.robot_id:
        return False
    if wanted.sent_after is None and wanted.sent_before is None:
        return True
    if letter.sent_at is None:
        return False
    return not (
        (wanted.sent_after is not None and letter.sent_at < wanted.sent_after)
        or (wanted.sent_before is not None and letter.sent_at >= wanted.sent_before)
    )


async def _window(letters: DeadLetters, said: float | None) -> float:
    """Seconds for which the queue remembers ids."""
    window = said if said is not None else await letters.duplicate_window()
    if window is None:
        raise InvalidRequest(
            "Whether the queue detects duplicates cannot be read here, and it would drop copies whose ids it still "
            "remembers. Say `duplicate_window`: 0 where it detects none, or else its window in seconds, such as 600."
        )
    return window


async def _choose(
    letters: DeadLetters, order: Resubmission | Removal, objection: Callable[[DeadLetter], str]
) -> _Chosen:
    """What of an order is there; a letter to which there is an `objection` stays."""
    named = None if order.numbers is None else {int(number) for number in order.numbers}
    last = int(order.up_to) if order.up_to is not None else None if named is None else max(named)
    numbers, stay = set[int](), list[Step]()
    async for letter in letters.peek(0 if named is None else min(named), AT_ONCE):
        number = letter.sequence_number
        if last is not None and number > last:
            break
        meant = number in named if named is not None else fits(letter, order.matching or DeadLetterFilter())
        if meant and (why := objection(letter)):
            stay.append(Step(number, why))
        elif meant:
            numbers.add(number)
    if named is not None:
        gone = named - numbers - {step.sequence_number for step in stay}
        stay += [Step(number, "it is not there any more") for number in sorted(gone)]
    return _Chosen(numbers, stay)


async def _told(chosen: _Chosen, steps: AsyncIterator[Step]) -> AsyncIterator[Worked]:
    done, troubles = 0, list(chosen.stay)
    yield Worked(total=len(chosen.numbers) + len(chosen.stay))
    for step in chosen.stay:
        yield Worked(sequence_number=str(step.sequence_number), trouble=step.trouble)
    if chosen.numbers:
        async for step in steps:
            if step.trouble:
                troubles.append(step)
            else:
                done += 1
            yield Worked(sequence_number=str(step.sequence_number), trouble=step.trouble or None)
    yield Worked(done=done, stay=len(troubles))


@contextmanager
def _asking() -> Iterator[None]:
    """What an operator's command would end with, in the words of a service that goes on."""
    try:
        yield
    except StartupError as error:
        raise QueueUnavailable(str(error)) from None


def _row(letter: DeadLetter) -> dict[str, Any]:
    return {
        "sequence_number": str(letter.sequence_number),
        "message_id": letter.message_id,
        "reason": letter.reason,
        "description": masked(letter.description),
        "delivery_count": letter.delivery_count,
        "sent_at": letter.sent_at,
        "robot_id": letter.robot_id,
        "body_bytes": len(letter.body),
    }


def _details(letter: DeadLetter) -> DeadLetterDetails:
    return DeadLetterDetails(
        **_row(letter),
        content_type=letter.content_type,
        correlation_id=_text(letter.correlation_id),
        reply_to=_text(letter.reply_to),
        session_id=_text(letter.session_id),
        properties={str(name): masked(str(value)) for name, value in letter.properties.items()},
    )


def _text(value: object) -> str | None:
    """A sender may have used another of AMQP's types."""
    return None if value is None else str(value)
