"""A link on which a queue is received, as the worker needs it: credit to the message, read all the time, and a loss
that is noticed whatever is held.

The SDK's receiver grants credit by itself whenever it is read, and notices a lost connection only when it is used: a
worker that is full would neither read nor notice. So here the link is read without end, and credit is granted apart
from it. The SDK has no public way for that; what is used of its inside is used in this file alone, and
`tests/servicebus/test_receiver.py` tells when a new version of it is different.
"""

import asyncio
import contextlib
import queue
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.aio import ServiceBusReceiver

from app.servicebus.link_errors import LinkLost, speaking
from app.servicebus.settlement import Settlement, Verb
from app.servicebus.shared_reading import SharedReading, close_socket

PREFETCH = 1
"""What the SDK is told: with 0 it gives back what comes while nobody calls it. The credit is granted here instead."""

CONFIRM_SECONDS = 5.0
"""How long a settlement or a renewal waits to be confirmed."""

_HEARTBEAT_SECONDS = 60.0
"""The broker is asked to be heard from at least so often; a connection that is silent for longer is given up."""

_CLOSE_SECONDS = 5.0
ATTACHED = 3
FAR = timedelta(days=365)


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """A message, the link that it came over, and until when the broker has locked it, by the broker's clock."""

    message: ServiceBusReceivedMessage
    link: object
    locked_until: datetime | None = None

    def let_body_go(self) -> None:
        """Free the memory of what is held and not looked at: it can be settled as ever."""
        inside: Any = self.message
        inside._message = inside._message._replace(data=None, sequence=None, value=None)
        raw = inside._raw_amqp_message
        raw._data_body = raw._sequence_body = raw._value_body = None


class Receiver:
    """One link, from its opening to its loss; never opened again."""

    def __init__(self, receiver: ServiceBusReceiver) -> None:
        self._receiver: Any = receiver
        self._handler: Any = None
        self._made: list[Any] = []
        self._connection: Any = None
        self._reading: SharedReading | None = None
        self._arrived: queue.Queue[Any] = queue.Queue()
        self._lost = False
        self.drained = False
        """Whether the broker has answered that it sends nothing more."""
        self.reason = ""
        """Why it is lost."""

    @property
    def lost(self) -> bool:
        """Whether it is of no use any more."""
        return self._lost

    @property
    def credit(self) -> int:
        """Messages that the broker may still send."""
        link = None if self._handler is None else self._handler._link  # which the SDK drops where it gives up
        return 0 if link is None else max(0, int(link.current_link_credit))

    @property
    def arrived(self) -> int:
        """Messages that have come and were not read."""
        return self._arrived.qsize()

    async def open(self) -> None:
        """Connect, authenticate and attach, without credit yet; raises `LinkLost` or the broker's `ServiceBusError`."""
        create = self._receiver._create_handler

        def create_with_heartbeat(auth: Any) -> None:
            create(auth)
            self._receiver._handler._idle_timeout = _HEARTBEAT_SECONDS
            self._made.append(self._receiver._handler)

        self._receiver._create_handler = create_with_heartbeat
        with speaking():
            await self._receiver.__aenter__()
            self._handler = self._receiver._handler
            self._arrived = self._handler._received_messages
            self._connection = self._handler._connection
            self._reading = SharedReading(self._handler._connection)

    async def grant(self, count: int) -> None:
        """Let the broker send `count` messages from now on, those included that it may send already."""
        with self._watching():
            await self._handler._link.flow(link_credit=count)

    async def drain(self) -> None:
        """Let the broker send nothing more; what is on its way still comes, until it is `drained`."""
        self.drained = not self.credit
        with self._watching():
            self._handler._link._incoming_flow = self._flow_came
            await self._handler._link.flow(link_credit=0, drain=True)

    async def read(self) -> list[Received]:
        """The messages that have come; waits a moment where none has. Raises `LinkLost`, but not before all are read.

        May be cancelled.
        """
        if self._arrived.empty():
            with self._watching():
                if await self._handler.client_ready_async():  # renews the token, too, and raises the link's error
                    await self._handler._connection.listen()
                elif self._handler._link.get_state().value != ATTACHED:
                    raise LinkLost("the link is detached")
        return self.take_arrived()

    async def renew(self, received: Received, seconds: float = CONFIRM_SECONDS) -> None:
        """Hold the message's lock for another of its periods; the answer is waited for `seconds` at most.

        Raises `MessageLockLostError`; `TimeoutError` where the answer is late and others come over the link; else
        `LinkLost`.
        """
        asked, late = time.time(), False
        with self._watching():
            try:
                async with asyncio.timeout(min(seconds, CONFIRM_SECONDS)):
                    await self._receiver.renew_message_lock(received.message)
            except TimeoutError:
                if seconds >= CONFIRM_SECONDS or self._reading is None or self._reading.silent_since(asked):
                    raise
                late = True
        if late:
            raise TimeoutError(f"a renewal was not answered within {seconds:.1f} s")
        _never_expires_here(received.message)

    async def settle(self, received: Received, settlement: Settlement) -> None:
        """Settle a message of this link, or by its lock token one of an earlier link.

        Raises `MessageLockLostError` where the lock is gone (which is also what is heard when an earlier try was
        applied and only its confirmation lost), `LinkLost`, or another answer of the broker.
        """
        message = received.message
        if not self.brought(received):
            # A delivery number is worth nothing on another link. What the SDK knows as a deferred message it settles
            # by lock token through the management link, and there is no public way to ask for that.
            message._is_deferred_message = True
        with self._watching():
            async with asyncio.timeout(2 * CONFIRM_SECONDS):  # once on the link, once by its lock token
                await self._settle(received, settlement)

    async def close(self) -> None:
        """Give back what was sent and is not read, and disconnect. Raises nothing."""
        self._lose("closed")
        connections = [self._connection, *(made._connection for made in self._made)]
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._receiver.close()
        for connection in connections:
            await close_socket(connection)
        if self._reading is not None:
            await self._reading.end()

    async def _settle(self, received: Received, settlement: Settlement) -> None:
        message = received.message
        match settlement.verb:
            case Verb.COMPLETE:
                await self._receiver.complete_message(message)
            case Verb.ABANDON:
                await self._receiver.abandon_message(message)
            case Verb.RELEASE:
                await self._release(received)
            case Verb.DEAD_LETTER:
                await self._receiver.dead_letter_message(
                    message, reason=settlement.reason, error_description=settlement.description
                )
            case Verb.LEAVE:
                pass

    async def _release(self, received: Received) -> None:
        """Back to the queue as if it had never been delivered.

        Over another link only abandoning is possible: by a lock token Service Bus completes, abandons, defers and
        dead-letters, and knows nothing of releasing (AMQP in Azure Service Bus, request-response operations).
        """
        message = received.message
        if not self.brought(received):
            await self._receiver.abandon_message(message)
            return
        await self._handler.settle_messages_async(
            message._delivery_id, message._delivery_tag, "released", await_outcome=True, outcome_timeout=CONFIRM_SECONDS
        )

    def brought(self, received: Received) -> bool:
        """Whether a message came over this link: only then it can be released."""
        return received.link is self._handler

    def take_arrived(self) -> list[Received]:
        """The messages that have come and were not read, also those of a link that is lost."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                message = self._receiver._build_received_message(self._arrived.get_nowait())
                found.append(Received(message, self._handler, message.locked_until_utc))
                _never_expires_here(message)
        return found

    def nudge(self) -> None:
        """Let a `read` that waits return now."""
        if self._reading is not None:
            self._reading.wake()

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        """What is done over the link, and what that tells of it."""
        if self._handler is None or self._receiver._handler is not self._handler:
            self._lose(self.reason or "the SDK has given it up")
        if self.lost:
            raise LinkLost(self.reason)
        try:
            with speaking():
                yield
        except LinkLost as error:
            self._lose(str(error))
            raise

    async def _flow_came(self, frame: Sequence[Any]) -> None:
        """The SDK makes nothing of a flow frame that comes; field 8 says that credit was drained (AMQP 1.0, 2.7.4)."""
        self.drained = self.drained or bool(frame[8])

    def _lose(self, reason: str) -> None:
        if not self.lost:
            self.reason = reason
            self._lost = True


def _never_expires_here(message: ServiceBusReceivedMessage) -> None:
    """The SDK refuses to settle where a lock has ended by this machine's clock. The broker knows better."""
    message._expiry = datetime.now(UTC) + FAR
