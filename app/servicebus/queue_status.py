"""How the worker and the broker stand, for whoever looks."""

from dataclasses import dataclass
from enum import Enum


class LinkState(Enum):
    """How the worker and the broker stand."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    STOPPED = "stopped"


@dataclass(slots=True)
class QueueStatus:
    """What readiness and metrics tell of the queue. `credit` is how many messages more would be taken now."""

    queue: str
    state: LinkState = LinkState.CONNECTING
    reason: str = ""
    credit: int = 0
    halted: str = ""
    """Why nothing is taken although there is a link; empty while all is well."""

    @property
    def connected(self) -> bool:
        """Whether there is a link that messages come over."""
        return self.state is LinkState.CONNECTED

    def __str__(self) -> str:
        words = f"{self.queue}: {self.state.value}"
        if self.reason:
            words += f" ({self.reason})"
        return f"{words}, not receiving: {self.halted}" if self.halted else words
