"""How the worker and the broker stand, for whoever looks."""

import asyncio
import logging
from enum import Enum

from app.queue_source import hint_where_missing
from app.servicebus.trouble import Trouble

log = logging.getLogger(__name__)

_MISSING = "amqp:not-found"


class LinkState(Enum):
    """How the worker and the broker stand."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    STOPPED = "stopped"


class QueueStatus:
    """What readiness and metrics tell of the queue."""

    def __init__(self, queue: str) -> None:
        self.queue = queue
        self.state = LinkState.CONNECTING
        self.reason = ""
        self.credit = 0
        """How many messages more would be taken now."""
        self.halted = ""
        """Why nothing is taken although there is a link; empty while all is well."""
        self.opened = asyncio.Event()
        """Set once there was a link."""
        self._hint = hint_where_missing(queue)
        self._stopping = False
        self._trouble = Trouble(log, f"receiving from {queue}")

    @property
    def connected(self) -> bool:
        """Whether there is a link that messages come over."""
        return self.state is LinkState.CONNECTED

    def connect(self) -> None:
        """There is a link."""
        if not self._stopping and not self.connected:
            self.state, self.reason = LinkState.CONNECTED, ""
            self._trouble.over()
            log.info("receiving from %s", self.queue)
        self.opened.set()

    def disconnect(self, reason: str) -> None:
        """There is none."""
        if _MISSING in reason:
            reason += self._hint
        if not self._stopping:
            self.state, self.reason, self.credit = LinkState.DISCONNECTED, reason, 0
        self._trouble.again(reason)

    def begin_stop(self) -> None:
        """From now on links come and go without being told."""
        self._stopping = True

    def stop(self) -> None:
        """Nothing more is received."""
        self.state, self.reason, self.credit = LinkState.STOPPED, "", 0

    def __str__(self) -> str:
        words = f"{self.queue}: {self.state.value}"
        if self.reason:
            words += f" ({self.reason})"
        return f"{words}, not receiving: {self.halted}" if self.halted else words
