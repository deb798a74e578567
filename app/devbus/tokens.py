"""Claims-based security: tokens put at `$cbs` are taken and remembered, and never verified."""

from dataclasses import dataclass
from typing import Any

from app.devbus.amqp.message import Message
from app.devbus.amqp.types import Int

ACCEPTED, UNAUTHORIZED = 202, 401
_SAS_PREFIX = "SharedAccessSignature "


@dataclass(frozen=True, slots=True)
class Token:
    """A token that a client presented, for which address, and when it says that it expires."""

    audience: str
    kind: str
    """`sas` or `jwt`, told by the token itself: the SDK says jwt of both."""
    token: str
    expires: Any


def read_token(request: Message) -> Token:
    """The token in a put-token request."""
    properties, token = request.application_map, str(request.value)
    kind = "sas" if token.startswith(_SAS_PREFIX) else "jwt"
    return Token(str(properties.get("name", "")), kind, token, properties.get("expiration"))


def token_status(accepted: bool) -> dict[str, Any]:
    """The application properties that answer a put-token request."""
    if accepted:
        return {"status-code": Int(ACCEPTED), "status-description": "Accepted"}
    return {"status-code": Int(UNAUTHORIZED), "status-description": "InvalidToken: refused on demand"}
