"""When to ask again: as the service says, or a little later each time, and never after the time is up."""

import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx

from app.client.errors import RETRIED, Unreachable, refusal

FIRST_SECONDS, MOST_SECONDS = 0.1, 5.0
"""Between two attempts where nobody says how long."""
SPREAD = 0.1
"""So much longer than it was told, at most, a client waits, so that not all come back at once."""

_NOT_REACHED = (httpx.ConnectError, httpx.ConnectTimeout)


class Attempts:
    """The attempts at one call, within `seconds` from now; the service must be reached within `connect_seconds`."""

    def __init__(self, seconds: float, connect_seconds: float) -> None:
        self._begun = time.monotonic()
        self._seconds = seconds
        self._connect_seconds = min(seconds, connect_seconds)
        self._made = 0

    def timeout(self) -> httpx.Timeout:
        """What is left for the next attempt, never nothing."""
        return httpx.Timeout(max(1e-3, self._left(self._seconds)), connect=max(1e-3, self._left(self._connect_seconds)))

    def after_response(self, response: httpx.Response) -> float | None:
        """Seconds to wait before the next attempt; None where the response is the answer.

        Raises `Refused` where it says no, or where there is no time for another attempt.
        """
        if response.is_success:
            return None
        error = refusal(response)
        if response.status_code not in RETRIED:
            raise error
        told = _retry_after(response.headers.get("retry-after", ""))
        wait = self._backoff() if told is None else told * random.uniform(1, 1 + SPREAD)
        if wait >= self._left(self._seconds):
            raise error
        return wait

    def after_failure(self, error: httpx.TransportError) -> float:
        """Seconds to wait before the next attempt; raises `Unreachable` where there is no time for one."""
        wait = self._backoff()
        seconds = self._connect_seconds if isinstance(error, _NOT_REACHED) else self._seconds
        if wait >= self._left(seconds):
            words = str(error) or type(error).__name__
            tries = f"{self._made} attempts" if self._made > 1 else "one attempt"
            raise Unreachable(f"{_place(error)} cannot be asked: {words} ({tries} in {seconds:g} s).") from error
        return wait

    def _left(self, seconds: float) -> float:
        return self._begun + seconds - time.monotonic()

    def _backoff(self) -> float:
        self._made += 1
        return min(MOST_SECONDS, FIRST_SECONDS * 2.0 ** (self._made - 1)) * random.uniform(0.5, 1)


def _place(error: httpx.TransportError) -> str:
    try:
        url = error.request.url
    except RuntimeError:
        return "The service"
    return f"{url.scheme}://{url.netloc.decode()}"


def _retry_after(value: str) -> float | None:
    """Seconds, from either form of the header (RFC 9110 section 10.2.3)."""
    if value.strip().isdigit():
        return float(value)
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
