"""How many messages may be held: one credit for all that the worker receives from."""

import math
from typing import Protocol

from app.core.request import Priority
from app.core.service import InferenceService
from app.servicebus.breaker import Breaker

_LOCK_SHARE = 0.5
"""Of a lock's period, how much may be planned with."""
_FOR_EVER = 86_400.0


class Line(Protocol):
    """What the credit knows of a queue that is received from."""

    @property
    def breaker(self) -> Breaker:
        """Whether anything but probes is to be taken."""

    @property
    def held(self) -> int:
        """Messages received and not yet settled."""

    @property
    def begun(self) -> int:
        """Those of them whose pictures the core has been asked about."""

    @property
    def promised(self) -> int:
        """Messages that the broker may still send."""

    @property
    def lock_period(self) -> float:
        """How long, in seconds, a fresh lock lasts; 0 before the first message."""


class Credit:
    """What the core can finish in time, and has permits for."""

    def __init__(self, service: InferenceService, most_held: int) -> None:
        """`most_held` is the most messages that are held at once."""
        self.most_held = most_held
        self._service = service

    def of(self, line: Line) -> int:
        """How many messages more may be promised to a queue now, those included that are promised already."""
        held, capacity, breaker = line.held, self._service.capacity, line.breaker
        early = held - line.begun  # their pictures still come, and neither wait nor have a permit yet
        if breaker.is_open and held >= breaker.places:
            return 0
        room = self._inside_locks(line) - early
        if not held:
            # One is always taken where anything is computed at all: its lock tells how long they last here, and the
            # locks of a model that is slower than them are renewed.
            room = max(min(1, capacity.credit(None, _FOR_EVER)), room)
        most = breaker.places if breaker.is_open else self.most_held
        return max(0, min(most - held, room, self._permits() - (0 if breaker.is_open else early)))

    def _permits(self) -> int:
        """How many pictures of bulk would be admitted; where nothing is in flight, one always is."""
        admission = self._service.admission
        return admission.free(Priority.BULK) or (0 if admission.used.pictures else 1)

    def _inside_locks(self, line: Line) -> int:
        """How many pictures beside those in the core can be finished inside a lock; 0 before a lock was seen."""
        seconds = _LOCK_SHARE * math.ceil(line.lock_period)  # whole seconds, that arrive a bit shorter
        return self._service.capacity.credit(None, seconds) if seconds else 0
