"""Settles messages of sessions: each over its session's own link, and over no other."""

import asyncio
import logging

from azure.servicebus.exceptions import MessageLockLostError

from app.servicebus.link_errors import LinkLost, words
from app.servicebus.receiver import Received
from app.servicebus.session_locks import SessionLocks
from app.servicebus.settlement import Settlement, Verb
from app.servicebus.settler import Lock
from app.servicebus.trouble import Trouble

log = logging.getLogger(__name__)

_PAUSE = 0.5


class SessionSettler:
    """A session's link takes the session with it when it is lost: then the message is the broker's again, uncounted."""

    connected = True
    """Always: what is held has a link, or is lost."""

    def __init__(self, queue: str, locks: SessionLocks) -> None:
        self._locks = locks
        self._trouble = Trouble(log, f"settling messages of {queue}")

    def can_release(self, received: Received) -> bool:
        """Whether a message can be given back without using up a delivery: its session is held."""
        held = self._locks.of(received)
        return held is not None and not held.link.lost

    async def settle(self, received: Received, decided: Settlement, lock: Lock) -> bool:
        """Settle for as long as the session is held; False where it was lost first."""
        held = self._locks.of(received)
        while held is not None and decided.verb is not Verb.LEAVE and lock.remaining() > 0:
            try:
                await held.link.settle(received, decided)
            except (MessageLockLostError, LinkLost):
                held.lose()  # one that is not settled comes again, and nothing may overtake it here
            except Exception as error:
                self._trouble.again(words(error))
                await asyncio.sleep(_PAUSE)
            else:
                self._trouble.over()
                return True
        return False
