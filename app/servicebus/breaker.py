"""Stops the receiving while what every message needs is away: an operator's fault empties no queue.

A results queue that is missing, forbidden or full, or a storage that lets nobody in, fails message after message.
Taken and given back they would use up their deliveries and end among the dead letters, all of them. So after a few
failures in a row no more are taken: what is held is released, and a probe is kept under its lock and tried again until
it goes through.

A blob that is refused may be its message's own affair (one container's role is missing), and such messages may stand at
the head of the queue, where they come back to whenever they are released. So probes that fail for what may be their own
are kept while others are tried beside them, and once another's blob is given, those are to blame: they open nothing any
more. Until then such a message stays here under its lock, also while the rest goes on, for a role takes its time.

What goes through proves only what it needed: a picture that was inside its message says nothing of the storage, and a
result that went where its message wanted says nothing of the operator's destination. Of several destinations each is
judged by itself, and receiving goes on once the last of those that failed takes a result again.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection

log = logging.getLogger(__name__)

LIMIT = 3
"""Failures in a row that are believed; of a fault that may be one message's own, of so many different messages."""
_TRIES = 3
"""How often a message is tried in place before it is given back, or another probe is taken beside it."""
_PATIENT_TRIES = 30
"""How often one is whose blob is refused while nothing says whose fault that is: for a quarter of an hour."""
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
        self._unstored: Counter[str] = Counter()
        """Failures in a row of each of the operator's destinations."""
        self._in_a_row: set[str] = set()
        """Messages whose blobs were refused while nothing at all went through."""
        self._failed: set[str] = set()
        """Messages that are held and whose blobs were refused while no other's was given."""
        self._lacking: dict[str, str] = {}
        """The operator's destinations that take nothing, and why."""
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

    def succeed(self, message_id: str, *, fetched: bool = True, stored: Collection[str] | None = None) -> None:
        """A message went through: its blob was `fetched`, its result `stored` in these places (None: in all)."""
        self.proven = True
        self._in_a_row.clear()
        self._suspects.pop(message_id, None)
        if fetched:
            self._failed.discard(message_id)
            self._suspect(self._failed)
            self._failed.clear()
        for place in tuple(self._unstored) if stored is None else stored:
            self._unstored.pop(place, None)
        for place in tuple(self._lacking) if stored is None else stored:
            self._lacking.pop(place, None)
        if self._lacking:
            self._tell(next(iter(self._lacking.values())))
        else:
            self._close()

    def _close(self) -> None:
        if self.is_open:
            log.info("receiving from %s again: a message went through", self._queue)
            self.reason, self._places = "", 0
            self._probes.clear()
            self.changed()

    def fail(self, reason: str, message_id: str | None = None, *, place: str = "") -> None:
        """A destination (`place`) failed, which is no message's fault; or, with an id, what may be that message's."""
        if message_id in self._suspects and not self.is_open:
            return
        if message_id is None:
            self._unstored[place] += 1
        else:
            self._failed.add(message_id)
        if message_id is not None and len(self._in_a_row) < LIMIT:
            self._in_a_row.add(message_id)
        if message_id is None and self._unstored[place] >= LIMIT:
            self.trip(reason, place)
        elif len(self._in_a_row) >= LIMIT:
            self._open(reason)

    def trip(self, reason: str, place: str = "") -> None:
        """Open it, whatever has failed so far: a destination takes no results."""
        self._lacking[place] = reason
        self._open(reason)

    def _open(self, reason: str) -> None:
        if not self.is_open:
            log.warning("receiving from %s is stopped, but for a probe: %s", self._queue, reason)
            self._places = 1
        self._tell(reason)

    def _tell(self, reason: str) -> None:
        changed, self.reason = reason != self.reason, reason
        if changed:
            self.changed()

    def keeps(self, message_id: str, tries: int) -> bool:
        """Whether a message that failed so often in place is tried again there, and not given back."""
        if not self.is_open:
            return tries < (_PATIENT_TRIES if message_id in self._failed else _TRIES)
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
        self._failed.discard(message_id)

    def pause(self, tries: int) -> float:
        """Seconds until a message that failed so often is tried again."""
        return float(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(tries, 16)))


def _nobody_cares() -> None:
    return
