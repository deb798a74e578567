"""What a sink is: one file a member, and all of them are asked alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one message, as it is kept."""

    id: str
    """The same for every repetition of the message, as the result's on the results queue."""
    body: bytes
    """A JSON object, in UTF-8."""
    trace: Mapping[str, str]
    """`traceparent` and `tracestate` of the request's trace; empty where there is none."""


class Sink(Protocol):
    """A place where answers are kept. Keeping one twice leaves it there once."""

    kind: str
    """What metrics call it."""
    name: str
    """What people are told it is; without secrets."""
    most_bytes: int
    """The largest body that it takes."""

    async def keep(self, finding: Finding) -> None:
        """Returns once the answer is stored.

        Raises `ResultsUnavailable` where no message is to blame, and `ResultRefused` or `ResultTooLarge` where this one
        will never be taken.
        """

    async def check(self) -> None:
        """See whether answers could be kept, without keeping any; raises `ResultsUnavailable`."""

    async def close(self) -> None:
        """Close the connections."""
