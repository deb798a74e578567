"""What goes wrong on demand."""

import random
from collections import Counter
from dataclasses import dataclass, field, fields
from enum import Enum
from typing import Any


class Fate(Enum):
    """What becomes of a settlement."""

    CONFIRMED = "confirmed"
    SWALLOWED = "swallowed"
    """Applied, but the confirmation is lost."""
    LOST = "lost"
    """Neither applied nor confirmed."""


@dataclass(slots=True)
class Faults:
    """Set a field and it holds from then on; `Broker.cut`, `detach` and `refuse` are things that happen once.

    Chances are between 0 and 1.
    """

    settlement_delay: float = 0.0
    """Seconds that every settlement waits before it is applied."""
    swallowed: float = 0.0
    """Chance that a settlement is applied but not confirmed."""
    lost: float = 0.0
    """Chance that a settlement is neither applied nor confirmed."""
    cut_unconfirmed: bool = False
    """Whether the connection is cut where a confirmation is missing, instead of silence for ever."""
    throttled: float = 0.0
    """Chance that a send or a management request is refused with server-busy."""
    answer_delay: float = 0.0
    """Seconds by which every answer to a management request (a renewal, for one) comes late."""
    unanswered: float = 0.0
    """Chance that a management request is neither done nor answered."""
    unconfirmed: float = 0.0
    """Chance that a message that was sent is stored and nobody told."""
    tokens_refused: bool = False
    """Whether `$cbs` answers 401."""
    seed: int | None = field(default=None)
    """Where chance begins, for runs that can be repeated."""
    happened: Counter[str] = field(default_factory=Counter, init=False)
    """How often each came about: swallowed, lost, throttled, unanswered, unconfirmed."""
    _random: random.Random = field(default_factory=random.Random, init=False, repr=False)

    def set(self, **changes: Any) -> None:
        """Change fields by name; raises `ValueError` for a name or a value that cannot be."""
        kinds = {name: type(value) for name, value in Faults().current().items()}
        for name, value in changes.items():
            if name not in kinds:
                raise ValueError(f"there is no fault {name!r}; there are {', '.join(kinds)}")
            if isinstance(value, bool) is not (kinds[name] is bool) or not isinstance(value, bool | int | float):
                raise ValueError(f"{name} cannot be {value!r}")
        for name, value in changes.items():
            setattr(self, name, value)
        if "seed" in changes:
            self._random.seed(self.seed)

    def current(self) -> dict[str, Any]:
        """All fields, for people to read."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.init}

    def fate(self) -> Fate:
        """What becomes of the next settlement."""
        dice = self._random.random()
        if dice >= self.lost + self.swallowed:
            return Fate.CONFIRMED
        fate = Fate.LOST if dice < self.lost else Fate.SWALLOWED
        self.happened[fate.value] += 1
        return fate

    def throttles(self) -> bool:
        """Whether the next send or request is refused."""
        return self._happens("throttled", self.throttled)

    def silences(self) -> bool:
        """Whether the next management request is not answered."""
        return self._happens("unanswered", self.unanswered)

    def hides(self) -> bool:
        """Whether the next message that is stored is not confirmed."""
        return self._happens("unconfirmed", self.unconfirmed)

    def _happens(self, name: str, chance: float) -> bool:
        it_does = self._random.random() < chance
        self.happened[name] += it_does
        return it_does
