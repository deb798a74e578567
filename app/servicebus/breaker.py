"""Stops the receiving while what every message needs is away: an operator's fault empties no queue.

A results queue that is missing, forbidden or full, or a storage that lets nobody in, fails message after message.
Taken and given back they would use up their deliveries and end among the dead letters, all of them. So after a few
failures in a row no more are taken: what is held is released, and a probe is kept under its lock and tried again until
it goes through.

A blob that is refused may be its message's own affair (one container's role is missing), and such messages may stand at
the head of the queue, where they come back to whenever they are released. So probes that fail for what may be their own
are kept while others are tried beside them, and once one goes through, those are to blame: they open nothing any more.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable

log = logging.getLogger(__name__)

LIMIT = 3
"""Failures in a row that are believed; of a fault that may be one message's own, of so many different messages."""
_TRIES = 3
"""How often a message is tried in place before it is given back, or another probe is taken beside it."""
_MOST_PROBES = 4
"""A probe that keeps failing has another taken beside it, and so many in all."""
_MOST_SUSPECTS = 1024
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


class Breaker:
    """One queue's. Closed, everything goes through; open, only probes do."""

    def __init__(self, queue: str) -> None:
        self.changed: Callable[[], object] = _nobody_cares
        """Called when it opens or closes, or takes another probe."""
        self.most_probes = _MOST_PROBES
        """So many are taken where each may fail for a reason of its own."""
        self._queue = queue
        self._failures = 0
        self._failed: set[str] = set()
        self._probes: dict[str, int] = {}
        self._suspects: OrderedDict[str, None] = OrderedDict()
        """Messages that failed while another went through."""
        self._places = 0
        self.reason = ""
        """Why it is open; empty while it is closed."""
        self.proven = False
        """Whether any message has ever gone through."""

    @property
    def is_open(self) -> bool:
        """Whether nothing but probes is to be taken."""
        return bool(self.reason)

    @property
    def places(self) -> int:
        """How many messages may be held while it is open."""
        return self._places

    def succeed(self, message_id: str) -> None:
        """A message went through."""
        self.proven = True
        self._failures = 0
        if self.is_open:
            self._suspect(self._failed & self._probes.keys())
        self._suspects.pop(message_id, None)
        self._failed.clear()
        if self.is_open:
            log.info("receiving from %s again: a message went through", self._queue)
            self.reason, self._places = "", 0
            self._probes.clear()
            self.changed()

    def fail(self, reason: str, message_id: str | None = None) -> None:
        """Something failed that is no message's fault; or, with an id, may be that message's own."""
        if message_id in self._suspects and not self.is_open:
            return
        self._failures += 1
        if message_id is not None:
            self._failed.add(message_id)
        if (self._failures if message_id is None else len(self._failed)) >= LIMIT:
            self.trip(reason)

    def trip(self, reason: str) -> None:
        """Open it, whatever has failed so far."""
        if not self.is_open:
            log.warning("receiving from %s is stopped, but for a probe: %s", self._queue, reason)
            self._places = 1
        changed, self.reason = reason != self.reason, reason
        if changed:
            self.changed()

    def keeps(self, message_id: str, tries: int) -> bool:
        """Whether a message that failed so often in place is tried again there, and not given back."""
        if not self.is_open:
            return tries < _TRIES
        if message_id not in self._probes and len(self._probes) >= self._places:
            return False
        self._probes[message_id] = tries
        most = max(_MOST_PROBES, self.most_probes) if message_id in self._failed else _MOST_PROBES
        if tries >= _TRIES and self._places < most and len(self._probes) == self._places:
            self._places += 1
            self.changed()
        return True

    def _suspect(self, message_ids: set[str]) -> None:
        self._suspects.update(dict.fromkeys(message_ids))
        while len(self._suspects) > _MOST_SUSPECTS:
            self._suspects.popitem(last=False)

    def forget(self, message_id: str) -> None:
        """A message is held no more."""
        self._probes.pop(message_id, None)

    def pause(self, tries: int) -> float:
        """Seconds until a message that failed so often is tried again."""
        return float(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(tries, 16)))


def _nobody_cares() -> None:
    return
