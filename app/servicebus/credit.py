"""How many messages may be held: one credit for all queues that are received from.

What is promised to the broker of one queue can be taken back, but what it has sent by then still comes. So with several
queues no promise is larger than a part of all that may be held (its window), and is made anew as it is used: a queue
that is empty keeps little from the others, and all that is held and promised together is never more than may be held.
Room that comes free goes to the most urgent queue first, but for what each of the others has reserved.
"""

import math
from dataclasses import dataclass
from typing import Protocol

from app.core.request import Priority
from app.core.service import InferenceService
from app.servicebus.breaker import Breaker

_LOCK_SHARE = 0.5
"""Of a lock's period, how much may be planned with."""
_FOR_EVER = 86_400.0
WINDOW_SHARE = 8
"""Of several queues each may be promised this part of what may be held, or one message for each of its sessions."""


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

    def nudge(self) -> None:
        """There may be room for it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    """A queue among others: what it may be promised at once, and what of all that may be held is its own."""

    line: Line
    window: int
    reserved: int

    @property
    def due(self) -> int:
        return max(0, self.reserved - self.line.held - self.line.promised)


class Credit:
    """What the core can finish in time, and has permits for."""

    def __init__(self, service: InferenceService, most_held: int) -> None:
        """`most_held` is the most messages that are held at once."""
        self.most_held = most_held
        self._service = service
        self._places: list[_Place] = []

    def join(self, line: Line, share: float, sessions: int | None) -> None:
        """A queue that is received from, the most urgent first; `share` of all that may be held is its own."""
        window = sessions or max(1, self.most_held // WINDOW_SHARE)
        self._places.append(_Place(line, window, max(1, int(share * self.most_held))))

    def freed(self) -> None:
        """A message is held no more."""
        for place in self._places:
            place.line.nudge()

    def of(self, line: Line) -> int:
        """How many messages more may be promised to a queue now, those included that are promised already."""
        room = self._room(line)
        if len(self._places) < 2:
            return room
        number = next(number for number, place in enumerate(self._places) if place.line is line)
        return min(room, self._beside(number, room))

    def _beside(self, number: int, room: int) -> int:
        """What of the room for all may be promised to one of several."""
        place = self._places[number]
        promised = sum(other.line.promised for other in self._places)
        free = room - promised
        if free < 0:  # the core can finish less than it could: the least urgent give back first
            behind = sum(other.line.promised for other in self._places[number + 1 :])
            return max(int(not place.line.held), place.line.promised + min(0, free + behind))
        kept = sum(self._wanted(other) for other in self._places[:number])
        kept += sum(other.due for other in self._places[number + 1 :])
        free_places = self.most_held - sum(other.line.held for other in self._places) - promised
        more = max(0, free - kept, min(place.due, free_places))
        return max(place.line.promised, min(place.window, place.line.promised + more))

    def _wanted(self, place: _Place) -> int:
        """What a queue may be promised beside what it has been."""
        return max(0, min(place.window, self._room(place.line)) - place.line.promised)

    def _room(self, line: Line) -> int:
        """How many messages more the core can finish inside the queue's locks, and has permits for."""
        if not self._service.registry.serves:
            return 0  # as readiness has it: another replica answers, or a later load does
        held, early = self._held()
        breaker = line.breaker
        if breaker.is_open and line.held >= breaker.places:
            return 0
        room = self._inside_locks(line) - early
        if not line.held:
            # One is always taken where anything is computed at all: its lock tells how long they last here, and the
            # locks of a model that is slower than them are renewed.
            room = max(min(1, self._service.capacity.credit(None, _FOR_EVER)), room)
        most = breaker.places - line.held if breaker.is_open else self.most_held - held
        return max(0, min(most, room, self._permits() - (0 if breaker.is_open else early)))

    def _held(self) -> tuple[int, int]:
        """Messages that are held, and those of them whose pictures still come: they neither wait nor have a permit."""
        held = sum(place.line.held for place in self._places)
        return held, held - sum(place.line.begun for place in self._places)

    def _permits(self) -> int:
        """How many pictures of bulk would be admitted; where nothing is in flight, one always is."""
        admission = self._service.admission
        return admission.free(Priority.BULK) or (0 if admission.used.pictures else 1)

    def _inside_locks(self, line: Line) -> int:
        """How many pictures beside those in the core can be finished inside a lock; 0 before a lock was seen."""
        seconds = _LOCK_SHARE * math.ceil(line.lock_period)  # whole seconds, that arrive a bit shorter
        return self._service.capacity.credit(None, seconds) if seconds else 0
