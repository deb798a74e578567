"""Sends results, many at a time: while one sending is under way, what comes waits and is the next."""

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import dataclass, field

from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import (
    MessageSizeExceededError,
    MessagingEntityNotFoundError,
    ServiceBusError,
    ServiceBusServerBusyError,
)

from app.errors import ReplyRefused, RequestError, ResultsUnavailable, ResultTooLarge
from app.servicebus.link_errors import LinkLost, is_answer, words
from app.servicebus.sending import Sender, Senders
from app.servicebus.trouble import Trouble

log = logging.getLogger(__name__)

_MOST_AT_ONCE = 32
_MOST_BYTES_AT_ONCE = 200_000
"""Below the 256 KB that a message of the Standard tier, and so a batch, may have."""
_TRIES = 4
_FIRST_PAUSE = 0.2
_IDLE_SECONDS = 300.0


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

    def __init__(self, entity: str, connection: Senders, *, is_default: bool = False) -> None:
        """`is_default` is where the operator has results sent to: no message is to blame if that is missing."""
        self._entity = entity
        self._is_default = is_default
        self._connection = connection
        self._sender: Sender | None = None
        self._parcels: deque[_Parcel] = deque()
        self._arrived = asyncio.Event()
        self._most_at_once = _MOST_AT_ONCE
        self._busy = False
        self._closing = False
        self.ended = False
        """Whether it has closed itself, having had nothing to do or nowhere to send to."""
        self.refusal: RequestError | None = None
        """Why nothing can be sent there, where the broker has said so of the destination itself."""
        self._trouble = Trouble(log, f"sending results to {entity}")
        self._task = asyncio.create_task(self._run(), name=f"outbox-{entity}")

    @property
    def idle(self) -> bool:
        """Whether nothing waits in it and nothing is under way."""
        return not self._busy and not self._parcels

    async def send(self, message: ServiceBusMessage, size: int) -> None:
        """Send a message of `size` bytes; returns once the broker has stored it.

        Raises `ReplyRefused` where the broker will never take it here, `ResultTooLarge`, `ResultsUnavailable`.
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
            while not self._is_over() and await self._anything():
                while self._parcels and not self._is_over():
                    await self._send(self._next_parcels())
                self._arrived.clear()
        finally:
            self._fail_waiting()
            await self._drop_sender()

    def _is_over(self) -> bool:
        return self._closing or self.refusal is not None

    def _fail_waiting(self) -> None:
        self.ended = True
        error = self.refusal or ResultsUnavailable("The service is shutting down.")
        while self._parcels:
            self._parcels.popleft().fail(error)

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
        while self._parcels and len(parcels) < self._most_at_once:
            size += self._parcels[0].size
            if size > _MOST_BYTES_AT_ONCE:
                break
            parcels.append(self._parcels.popleft())
        return parcels

    async def _send(self, parcels: list[_Parcel]) -> None:
        self._busy = True
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
            self._trouble.over()
            for parcel in parcels:
                parcel.succeed()
        finally:
            self._busy = False

    async def _try_to_send(self, parcels: list[_Parcel]) -> None:
        reason = ""
        for attempt in range(_TRIES):
            if attempt:
                await asyncio.sleep(_FIRST_PAUSE * 2**attempt)
            if self._closing:
                raise ResultsUnavailable("The service is shutting down.")
            was_open = self._sender is not None
            try:
                await self._send_once(parcels)
                return
            except (ServiceBusServerBusyError, LinkLost) as error:
                reason = words(error)
                self._trouble.again(reason)
                if isinstance(error, LinkLost):
                    await self._drop_sender()
            except ServiceBusError as error:
                if _is_of_the_place(error) and was_open:  # it may have been so for a moment: ask over a new link
                    reason = words(error)
                    await self._drop_sender()
                    continue
                if _is_of_the_place(error):
                    self.refusal = self._place_refused(error)
                    raise self.refusal from None
                if len(parcels) == 1:
                    raise self._refused(error, parcels[0].size) from None
                await self._send_alone(parcels, error)
                return
        raise ResultsUnavailable(f"The result could not be sent to {self._entity!r}: {reason}")

    async def _send_alone(self, parcels: list[_Parcel], error: ServiceBusError) -> None:
        """What the broker refuses together it may take one by one; who is to blame then fails alone."""
        for parcel in parcels:
            await self._send([parcel])
        all_went = all(not parcel.sent.cancelled() and parcel.sent.exception() is None for parcel in parcels)
        if all_went and not isinstance(error, MessageSizeExceededError):
            log.info("%s takes no batches: results go there one by one", self._entity)
            self._most_at_once = 1

    def _place_refused(self, error: ServiceBusError) -> RequestError:
        """Whoever named a place that is not there is to blame; one that is full or forbidden may not be for long."""
        if isinstance(error, MessagingEntityNotFoundError) and not self._is_default:
            return ReplyRefused(f"There is no queue or topic {self._entity!r} that takes results.")
        return ResultsUnavailable(f"{self._entity!r} takes no results: {words(error)}")

    def _refused(self, error: ServiceBusError, size: int) -> RequestError:
        """In our words, with the broker's where it has some."""
        if isinstance(error, MessageSizeExceededError):
            return ResultTooLarge(f"The result of {size} bytes is too large for a message.")
        if "SessionId was not set" in str(error):
            return ReplyRefused(
                f"{self._entity!r} requires a session id and the message names none: set reply_to_session_id or "
                f"session_id. The broker said: {words(error)}"
            )
        return ReplyRefused(f"{self._entity!r} does not take the result: {words(error)}")

    async def _send_once(self, parcels: list[_Parcel]) -> None:
        if self._sender is None:
            sender = self._connection.sender(self._entity)
            try:
                await sender.open()
            except BaseException:
                await sender.close()
                raise
            self._sender = sender
        await self._sender.send([parcel.message for parcel in parcels])

    async def _drop_sender(self) -> None:
        sender, self._sender = self._sender, None
        if sender is not None:
            await sender.close()


def _is_of_the_place(error: ServiceBusError) -> bool:
    """Whether the broker speaks of the destination (it is missing, forbidden, full), and not of what is sent to it."""
    return is_answer(error) and type(error) is not ServiceBusError and not isinstance(error, MessageSizeExceededError)
