"""What all ways of proving who one is have in common."""

from typing import NamedTuple, Protocol


class Identity(NamedTuple):
    """Who asks, and whether as an administrator, who may change what is served."""

    name: str
    admin: bool = False


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
