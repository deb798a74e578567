"""What all ways of proving who one is have in common."""

from enum import IntEnum
from typing import NamedTuple, Protocol


class Role(IntEnum):
    """What a caller may do; each may do what those before it may."""

    CALLER = 0
    """Send pictures."""
    VIEWER = 1
    """Look at the queue and at its dead letters, which are other callers' pictures."""
    OPERATOR = 2
    """Send dead letters again, and drop them."""
    ADMIN = 3
    """Change what is served."""


class Identity(NamedTuple):
    """Who asks, and what they may do."""

    name: str
    role: Role = Role.CALLER

    @property
    def admin(self) -> bool:
        """Whether they may change what is served."""
        return self.role >= Role.ADMIN


class Scheme(Protocol):
    """One way for a caller to say who it is."""

    @property
    def header(self) -> bytes:
        """The request header that carries the proof, in lower case."""

    @property
    def challenge(self) -> str:
        """What `WWW-Authenticate` offers (RFC 9110 section 11.6.1)."""

    @property
    def hint(self) -> str:
        """How a caller who sent nothing is told to send it."""

    @property
    def documented(self) -> dict[str, str]:
        """The scheme in the OpenAPI document."""

    async def identify(self, credential: bytes) -> Identity:
        """Who the caller is; raises a `CallerError`. The credential itself goes nowhere: no log, no error."""

    async def keep_fresh(self) -> None:
        """Renew in the background what proofs are checked against, until cancelled."""
