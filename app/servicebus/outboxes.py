"""The outboxes of all destinations: bounded in number, and what is refused is remembered for a while."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass

from azure.servicebus import ServiceBusMessage
from azure.servicebus.exceptions import ServiceBusError

from app.errors import RequestError, ResultsUnavailable
from app.servicebus.link_errors import LinkLost, words
from app.servicebus.outbox import Outbox
from app.servicebus.sending import OpenSender, Senders

MOST_OPEN = 256
"""Destinations that are open at once; beyond, the one that has been idle for longest is closed."""
_MOST_REFUSED = 1024
REFUSED_SECONDS = 5.0
"""How long a destination that was refused is not tried again."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Not the error itself: its traceback would hold the message and its picture."""

    until: float
    kind: type[RequestError]
    words: str


class Outboxes:
    """The outbox of every destination, opened when first used, all over one connection.

    `default` is the destination that the operator has set: where that is missing, results are unavailable for now and
    the message is not to blame.
    """

    def __init__(self, open_sender: OpenSender, default: str | None = None) -> None:
        self._connection = Senders(open_sender)
        self._default = default
        self._boxes: OrderedDict[str, Outbox] = OrderedDict()
        self._refused: OrderedDict[str, _Refusal] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._boxes)

    async def send(self, entity: str, message: ServiceBusMessage, size: int) -> None:
        """See `Outbox.send`."""
        if self._closed:
            raise ResultsUnavailable("The service is shutting down.")
        self._check_refused(entity)
        box = self._box(entity)
        try:
            await box.send(message, size)
        finally:
            if box.refusal is not None:
                self._remember(entity, box.refusal)
            if len(self._boxes) > MOST_OPEN:
                self._keep_at_most(MOST_OPEN)

    def _box(self, entity: str) -> Outbox:
        """The destination's outbox, a new one where it has none; for that, others that are idle make room."""
        box = self._boxes.get(entity)
        if box is None or box.ended or box.refusal is not None:
            self._keep_at_most(MOST_OPEN - 1)
            box = self._boxes[entity] = Outbox(entity, self._connection, is_default=entity == self._default)
        self._boxes.move_to_end(entity)
        return box

    def _keep_at_most(self, count: int) -> None:
        """Forget those that have ended, and close idle ones, the longest idle first."""
        for name, box in list(self._boxes.items()):
            if box.ended:
                del self._boxes[name]
            elif len(self._boxes) > count and box.idle:
                del self._boxes[name]
                closing = asyncio.create_task(box.close())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)

    def _check_refused(self, entity: str) -> None:
        """What was refused a moment ago would be refused again."""
        refusal = self._refused.get(entity)
        if refusal is None:
            return
        if time.monotonic() < refusal.until:
            raise refusal.kind(refusal.words)
        del self._refused[entity]

    def _remember(self, entity: str, error: RequestError) -> None:
        self._boxes.pop(entity, None)
        if entity in self._refused:
            return
        self._refused[entity] = _Refusal(time.monotonic() + REFUSED_SECONDS, type(error), str(error))
        while len(self._refused) > _MOST_REFUSED:
            self._refused.popitem(last=False)

    async def check_default(self) -> None:
        """Open the operator's destination, without sending anything; raises `ResultsUnavailable` where it is not there.

        Returns where there is none.
        """
        if self._default is None:
            return
        sender = self._connection.sender(self._default)
        try:
            await sender.open()
        except LinkLost:
            return  # it is not the destination that is away
        except ServiceBusError as error:
            raise ResultsUnavailable(f"{self._default!r} takes no results: {words(error)}") from None
        finally:
            await sender.close()

    async def close(self) -> None:
        """Close them all; what waits in them, and whatever comes after, fails."""
        self._closed = True
        await asyncio.gather(*(box.close() for box in self._boxes.values()), *self._closing)
        await self._connection.close()
