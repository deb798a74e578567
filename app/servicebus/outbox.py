"""Sends results, many at a time: while one sending is under way, what comes waits and is the next."""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from azure.core.exceptions import AzureError
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusSender
from azure.servicebus.exceptions import (
    MessageSizeExceededError,
    MessagingEntityNotFoundError,
    ServiceBusServerBusyError,
)

from app.errors import ReplyRefused, RequestError, ResultsUnavailable, ResultTooLarge

log = logging.getLogger(__name__)

_MOST_AT_ONCE = 32
_MOST_BYTES_AT_ONCE = 200_000
"""Below the 256 KB that a message of the Standard tier, and so a batch, may have."""
_TRIES = 4
_FIRST_PAUSE = 0.2
_IDLE_SECONDS = 300.0

OpenSender = Callable[[str], ServiceBusSender]


@dataclass(slots=True)
class _Parcel:
    message: ServiceBusMessage
    size: int
    sent: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def fail(self, error: RequestError) -> None:
        if not self.sent.done():
            self.sent.set_exception(error)

    def succeed(self) -> None:
        if not self.sent.done():
            self.sent.set_result(None)


class Outbox:
    """One destination and its sender."""

    def __init__(self, entity: str, open_sender: OpenSender) -> None:
        self._entity = entity
        self._open_sender = open_sender
        self._sender: ServiceBusSender | None = None
        self._parcels: deque[_Parcel] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self.ended = False
        """Whether it has closed itself, having had nothing to do."""
        self._task = asyncio.create_task(self._run(), name=f"outbox-{entity}")

    async def send(self, message: ServiceBusMessage, size: int) -> None:
        """Send a message of `size` bytes; returns once the broker has stored it.

        Raises `ReplyRefused` where there is no such queue or topic, `ResultTooLarge`, `ResultsUnavailable`.
        """
        if self.ended:
            raise ResultsUnavailable("The service is shutting down.")
        parcel = _Parcel(message, size)
        self._parcels.append(parcel)
        self._arrived.set()
        await parcel.sent

    async def close(self) -> None:
        """Stop; what is not sent yet fails."""
        self._closing = True  # a cancellation alone may be lost on its way through the SDK
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self._fail_waiting()  # a task that is cancelled before its first step does nothing at all

    async def _run(self) -> None:
        try:
            while not self._closing and await self._anything():
                while self._parcels and not self._closing:
                    await self._send(self._next_parcels())
                self._arrived.clear()
        finally:
            self._fail_waiting()
            await self._drop_sender()

    def _fail_waiting(self) -> None:
        self.ended = True
        while self._parcels:
            self._parcels.popleft().fail(ResultsUnavailable("The service is shutting down."))

    async def _anything(self) -> bool:
        """Wait for a parcel; False where none came for long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_IDLE_SECONDS):
                await self._arrived.wait()
        return bool(self._parcels)

    def _next_parcels(self) -> list[_Parcel]:
        """As many as fit into one sending; at least one."""
        parcels = [self._parcels.popleft()]
        size = parcels[0].size
        while self._parcels and len(parcels) < _MOST_AT_ONCE:
            size += self._parcels[0].size
            if size > _MOST_BYTES_AT_ONCE:
                break
            parcels.append(self._parcels.popleft())
        return parcels

    async def _send(self, parcels: list[_Parcel]) -> None:
        try:
            await self._try_to_send(parcels)
        except RequestError as error:
            for parcel in parcels:
                parcel.fail(error)
        except asyncio.CancelledError:
            for parcel in parcels:
                parcel.fail(ResultsUnavailable("The service is shutting down."))
            raise
        except Exception:  # whatever else goes wrong, who waits must hear of it
            log.exception("failed on sending to %s", self._entity)
            await self._drop_sender()
            for parcel in parcels:
                parcel.fail(ResultsUnavailable("The service failed on sending the result."))
        else:
            for parcel in parcels:
                parcel.succeed()

    async def _try_to_send(self, parcels: list[_Parcel]) -> None:
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(_FIRST_PAUSE * 2**attempt)
            if self._closing:
                raise ResultsUnavailable("The service is shutting down.")
            try:
                await self._send_once(parcels)
                return
            except MessageSizeExceededError:
                if len(parcels) == 1:
                    raise ResultTooLarge(f"The result of {parcels[0].size} bytes is too large for a message.") from None
                for parcel in parcels:  # together they were too large; alone each may fit
                    await self._send([parcel])
                return
            except MessagingEntityNotFoundError:
                await self._drop_sender()
                raise ReplyRefused(f"There is no queue or topic {self._entity!r} that takes results.") from None
            except ServiceBusServerBusyError:
                log.warning("%s is throttled", self._entity)
            except (AzureError, ValueError, OSError) as error:  # ValueError: the SDK's sender was shut down
                log.warning("could not send to %s: %s", self._entity, type(error).__name__)
                await self._drop_sender()
        raise ResultsUnavailable(f"The result could not be sent to {self._entity!r}; the broker does not take it.")

    async def _send_once(self, parcels: list[_Parcel]) -> None:
        if self._sender is None:
            self._sender = self._open_sender(self._entity)
        messages = [parcel.message for parcel in parcels]
        await self._sender.send_messages(messages if len(messages) > 1 else messages[0])

    async def _drop_sender(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            with contextlib.suppress(AzureError, ValueError, OSError):
                await sender.close()


class Outboxes:
    """The outbox of every destination, opened when first used."""

    def __init__(self, open_sender: OpenSender) -> None:
        self._open_sender = open_sender
        self._boxes: dict[str, Outbox] = {}
        self._closed = False

    async def send(self, entity: str, message: ServiceBusMessage, size: int) -> None:
        """See `Outbox.send`."""
        if self._closed:
            raise ResultsUnavailable("The service is shutting down.")
        box = self._boxes.get(entity)
        if box is None or box.ended:
            box = self._open(entity)
        await box.send(message, size)

    def _open(self, entity: str) -> Outbox:
        """A new outbox; those that have ended are forgotten, for senders may name ever other places."""
        self._boxes = {name: box for name, box in self._boxes.items() if not box.ended}
        box = self._boxes[entity] = Outbox(entity, self._open_sender)
        return box

    async def close(self) -> None:
        """Close them all; what waits in them, and whatever comes after, fails."""
        self._closed = True
        await asyncio.gather(*(box.close() for box in self._boxes.values()))
