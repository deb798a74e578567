"""How far a transfer is, for who watches it."""

import logging
from typing import Protocol

log = logging.getLogger(__name__)


class Report(Protocol):
    """Told of what happens; says it in its own way."""

    def begin(self, total: int) -> None:
        """So many bytes are going to be transferred."""

    def advance(self, count: int) -> None:
        """So many more bytes have been."""

    def say(self, line: str) -> None:
        """Something worth a line."""


class LogReport:
    """Lines in the service's log, none for bytes."""

    def begin(self, total: int) -> None:
        """Say how much there is to do."""
        log.info("models: %.1f MiB to transfer", total / 2**20)

    def advance(self, count: int) -> None:
        """Not worth a line."""

    def say(self, line: str) -> None:
        """Log it."""
        log.info("models: %s", line)
