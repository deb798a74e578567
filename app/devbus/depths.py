"""How many messages are where."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Depths:
    """How many messages are in each place."""

    active: int
    scheduled: int
    locked: int
    deferred: int
    dead_lettered: int

    @property
    def total(self) -> int:
        """All that are not gone."""
        return self.active + self.scheduled + self.locked + self.deferred + self.dead_lettered
