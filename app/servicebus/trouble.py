"""A fault that comes again and again is one line in the log, with a count, and one more when it is over."""

import logging
import time

_AGAIN_SECONDS = 60.0


class Trouble:
    """Tells the log of one thing that may fail."""

    def __init__(self, log: logging.Logger, what: str) -> None:
        """`what` is the thing, as the beginning of a sentence."""
        self._log = log
        self._what = what
        self._count = 0
        self._reason = ""
        self._told_at = 0.0

    def again(self, reason: str) -> None:
        """It has failed. Said at once where it is new or fails otherwise than before, else once a minute."""
        self._count += 1
        now = time.monotonic()
        if reason == self._reason and now - self._told_at < _AGAIN_SECONDS:
            return
        self._reason, self._told_at = reason, now
        times = f" ({self._count} times)" if self._count > 1 else ""
        self._log.warning("%s: %s%s", self._what, reason, times)

    def over(self) -> None:
        """It works."""
        if self._count:
            failures = "1 failure" if self._count == 1 else f"{self._count} failures"
            self._log.info("%s: works again after %s", self._what, failures)
            self._count, self._reason = 0, ""
