"""Settles messages and renews locks over whatever receiver is open now."""

import asyncio
import logging

from azure.core.exceptions import AzureError
from azure.servicebus import ServiceBusReceivedMessage
from azure.servicebus.exceptions import MessageLockLostError

from app.servicebus.connection import Received, Receiver
from app.servicebus.locks import HeldLock
from app.servicebus.settlement import Settlement, Verb

log = logging.getLogger(__name__)

_PAUSE = 0.5


class Settler:
    """Outlives the receivers: what came over one may be settled over the next."""

    def __init__(self) -> None:
        self.receiver: Receiver | None = None
        """The one that is open, or was last."""

    async def renew(self, message: ServiceBusReceivedMessage) -> None:
        """Renew the message's lock; raises a `ServiceBusError`, or `ValueError` between two receivers."""
        await self._current().renew(message)

    async def settle(self, received: Received, decided: Settlement, lock: HeldLock) -> bool:
        """Settle for as long as the lock is held; False where it was lost first.

        A lock lost is also what is heard after a settlement that was applied and whose confirmation was lost on the
        way. Either way the message is the broker's now, and nothing more is done about it.
        """
        while decided.verb is not Verb.LEAVE:
            if lock.lost or lock.remaining() <= 0:
                return False
            try:
                await self._current().settle(received, decided)
                return True
            except MessageLockLostError:
                return False
            except (AzureError, ValueError, OSError) as error:  # ValueError: the receiver is being replaced
                log.info("settling message %s again: %s", received.message.message_id, type(error).__name__)
                await asyncio.sleep(_PAUSE)
        return False

    def _current(self) -> Receiver:
        if self.receiver is None:
            raise ValueError("not connected yet")
        return self.receiver
