"""Settles messages and renews locks over whatever link is open now."""

import asyncio
import contextlib
import logging
import time
from typing import Protocol

from azure.servicebus.exceptions import MessageLockLostError

from app.servicebus.link_errors import LinkLost, words
from app.servicebus.receiver import Received, Receiver
from app.servicebus.settlement import Settlement, Verb
from app.servicebus.trouble import Trouble

log = logging.getLogger(__name__)

_PAUSE = 0.5


class Lock(Protocol):
    """A message's lock, as whoever settles it needs it."""

    lost: bool

    def remaining(self) -> float:
        """Seconds until the broker gives the message to somebody else; 0 where it is lost."""


class Settler:
    """Outlives the links: what came over one may be settled over the next."""

    def __init__(self, queue: str) -> None:
        self._link: Receiver | None = None
        self._opened = asyncio.Event()
        self._trouble = Trouble(log, f"settling messages of {queue}")

    def use(self, link: Receiver) -> None:
        """From now on settle over this link."""
        self._link = link
        self._opened.set()
        self._opened = asyncio.Event()

    @property
    def connected(self) -> bool:
        """Whether there is a link to settle over."""
        return self._link is not None and not self._link.lost

    def can_release(self, received: Received) -> bool:
        """Whether a message can be given back without using up a delivery: it came over the link that is open now."""
        return self._link is not None and self.connected and self._link.brought(received)

    async def renew(self, received: Received, seconds: float) -> None:
        """See `Receiver.renew`; raises `LinkLost` between two links too."""
        if self._link is None:
            raise LinkLost("not connected yet")
        await self._link.renew(received, seconds)

    async def settle(self, received: Received, decided: Settlement, lock: Lock) -> bool:
        """Settle for as long as the lock is held; False where it was lost first.

        A lock lost is also what is heard after a settlement that was applied and whose confirmation was lost on the
        way. Either way the message is the broker's now, and nothing more is done about it.
        """
        while decided.verb is not Verb.LEAVE and lock.remaining() > 0:
            link = await self._open_link(lock)
            if link is None:
                return False
            try:
                await link.settle(received, decided)
            except MessageLockLostError:
                return False
            except LinkLost as error:
                self._trouble.again(str(error))
            except Exception as error:
                self._trouble.again(words(error))
                await asyncio.sleep(_PAUSE)
            else:
                self._trouble.over()
                return True
        return False

    async def _open_link(self, lock: Lock) -> Receiver | None:
        """The link, or the next where it is lost; None where none comes before the lock ends."""
        ends = time.monotonic() + lock.remaining()
        while (left := ends - time.monotonic()) > 0:
            if self.connected:
                return self._link
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._opened.wait(), min(left, _PAUSE))
        return None
