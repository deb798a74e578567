"""The other end of the queue: what a robot does. For demonstrations and benchmarks; a robot needs the SDK alone."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from azure.core.exceptions import AzureError
from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage, ServiceBusSubQueue
from azure.servicebus.aio import ServiceBusReceiver
from azure.servicebus.exceptions import MessageSizeExceededError, MessagingEntityNotFoundError

from app.errors import StartupError
from app.queue_source import QueueSource, hint_where_missing
from app.servicebus.connection import Access, Connection

_AT_ONCE = 16
_PEEKED = 250


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture on its way; `properties` are the message's options.

    `reply_to` and `reply_to_session` say where the result goes; left out, to the robot's own queue of results.
    """

    message_id: str
    content: bytes
    properties: Mapping[str, Any]
    reply_to: str | None = None
    reply_to_session: str | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A result, and the id of the message that it is for; `result_id` is its own."""

    message_id: str
    result_id: str
    body: dict[str, Any]


class Robot:
    """Sends to `queue` (of a subscription to its topic), and reads what comes back on `results_queue`, if there is one.

    All its messages belong to `session`, where that is named. With `own_only`, results of others' messages stay on
    their queue.
    """

    def __init__(
        self,
        access: Access,
        queue: str,
        results_queue: str | None,
        session: str | None = None,
        *,
        own_only: bool = False,
    ) -> None:
        self._session = session
        self._own_only = own_only
        self._connection = Connection(access)
        self._queue = queue
        self._results_queue = results_queue
        self._receiver: ServiceBusReceiver | None = None
        self.sent_at: dict[str, float] = {}
        """When each message was sent, on `time.monotonic`'s clock."""

    async def __aenter__(self) -> Self:
        if self._results_queue is not None:
            self._receiver = self._connection.reader(self._results_queue)
            try:
                await self._receiver.__aenter__()
                found = self._own_only and await self._receiver.peek_messages(1)
            except AzureError as error:
                await self.__aexit__(None, None, None)
                raise self._no_results(error) from None
            if found:
                await self.__aexit__(None, None, None)
                raise self._others()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._receiver is not None:
            with contextlib.suppress(AzureError):
                await self._receiver.close()
        await self._connection.close()

    async def send(self, pictures: Iterable[Picture], per_second: float | None = None) -> AsyncIterator[Picture]:
        """Send them one after the other, at a steady rate where one is given; yields each once it is on the queue.

        Raises `StartupError` where the queue does not take them.
        """
        began = time.monotonic()
        try:
            async with self._connection.sender(QueueSource.of(self._queue).name) as sender:
                for number, picture in enumerate(pictures):
                    if per_second is not None:
                        await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
                    self.sent_at[picture.message_id] = time.monotonic()
                    try:
                        await sender.send_messages(self._message(picture))
                    except MessageSizeExceededError as error:
                        raise self._too_large(picture, error) from None
                    yield picture
        except AzureError as error:
            raise self._refused(error) from None

    async def replies(self) -> AsyncIterator[Reply]:
        """Every result that comes, for ever; each is taken off its queue.

        Raises `StartupError`, with `own_only` also where somebody else's comes, which is given back.
        """
        assert self._receiver is not None
        try:
            while True:
                messages = await self._receiver.receive_messages(_AT_ONCE, max_wait_time=5)
                for index, message in enumerate(messages):
                    if self._own_only and str(message.correlation_id) not in self.sent_at:
                        await self._give_back(messages[index:])
                        raise self._others()
                    await self._receiver.complete_message(message)
                    yield Reply(str(message.correlation_id), str(message.message_id), json.loads(str(message)))
        except AzureError as error:
            raise self._no_results(error) from None

    async def dead_letters(self) -> dict[str, str]:
        """Why messages of ours were dead-lettered, by their id. They stay where they are."""
        found: dict[str, str] = {}
        async with self._connection.reader(self._queue, ServiceBusSubQueue.DEAD_LETTER) as receiver:
            messages = await receiver.peek_messages(_PEEKED)
            while messages:
                for message in messages:
                    if (message_id := str(message.message_id)) in self.sent_at:
                        found[message_id] = f"{message.dead_letter_reason}: {message.dead_letter_error_description}"
                following = (messages[-1].sequence_number or 0) + 1
                messages = await receiver.peek_messages(_PEEKED, sequence_number=following)
        return found

    async def _give_back(self, messages: Iterable[ServiceBusReceivedMessage]) -> None:
        assert self._receiver is not None
        for message in messages:
            await self._receiver.abandon_message(message)

    def _refused(self, error: AzureError) -> StartupError:
        if self._session is None and "SessionId was not set" in str(error):
            return StartupError(
                f"{self._queue!r} requires sessions: say with --session which one the pictures belong to, a robot's "
                "name for one."
            )
        hint = hint_where_missing(self._queue) if isinstance(error, MessagingEntityNotFoundError) else ""
        return StartupError(f"The queue {self._queue!r} does not take messages: {_first_line(error)}{hint}")

    def _too_large(self, picture: Picture, error: AzureError) -> StartupError:
        return StartupError(
            f"{picture.message_id}: its {len(picture.content)} bytes are more than a message of {self._queue!r} may "
            f"have ({_first_line(error)}). Store it as a blob and send its address (image_url, see docs/queue.md), or "
            "raise the queue's largest message (Premium). What came before it was sent."
        )

    def _no_results(self, error: AzureError) -> StartupError:
        return StartupError(f"No results come from {self._results_queue!r}: {_first_line(error)}")

    def _others(self) -> StartupError:
        return StartupError(
            f"{self._results_queue} holds results of other messages, which stay there. Name a queue that nobody else "
            "reads or is answered on (--results), or say --take-all to take them off it, too."
        )

    def _message(self, picture: Picture) -> ServiceBusMessage:
        properties: dict[str | bytes, Any] = dict(picture.properties.items())
        return ServiceBusMessage(
            picture.content,
            message_id=picture.message_id,
            content_type="application/octet-stream",
            reply_to=picture.reply_to or self._results_queue,
            reply_to_session_id=picture.reply_to_session,
            session_id=self._session,
            application_properties=properties,
        )


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:300]}"
