"""Bearer tokens of Entra ID, or of another OpenID provider. PyJWT does the cryptography."""

import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jwt

from app.api.security.scheme import Identity, Role
from app.api.security.signing_keys import SigningKeys
from app.errors import Forbidden, Unauthorized

HEADER = b"authorization"
ALGORITHMS = ("RS256", "ES256")
LEEWAY_SECONDS = 30.0
MOST_BYTES = 16 * 1024
REMEMBERED = 4096
REMEMBERED_SECONDS = 300.0
"""How long a checked token is not checked again; a key that its issuer withdrew is refused after so long."""

_BEARER = re.compile(rb"bearer +([\w-]+\.[\w-]+\.[\w-]*)", re.IGNORECASE | re.ASCII)


class Tokens:
    """Tokens of one issuer, for these audiences, with one of these roles or scopes; a `Scheme`."""

    header = HEADER
    challenge = 'Bearer realm="roo-vision"'
    hint = "a token in the header Authorization: Bearer"
    documented = {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}  # noqa: RUF012  nobody writes to it

    def __init__(
        self,
        keys: SigningKeys,
        issuer: str,
        audiences: tuple[str, ...],
        roles: tuple[str, ...],
        clock: Callable[[], float] = time.time,
        granted: Mapping[Role, Collection[str]] | None = None,
    ) -> None:
        """`roles` may ask; `granted` are those of the tokens, by what they let their holders do beside that."""
        self._keys = keys
        self._issuer = issuer
        self._audiences = audiences
        self._roles = frozenset(roles)
        self._granted = {role: frozenset(names) for role, names in (granted or {}).items()}
        self._clock = clock
        self._remembered: OrderedDict[bytes, tuple[Identity, float]] = OrderedDict()

    async def identify(self, credential: bytes) -> Identity:
        """The token's subject; raises `Unauthorized`, `Forbidden`, `IdentityUnavailable`."""
        found = _BEARER.fullmatch(credential) if len(credential) <= MOST_BYTES else None
        if found is None:
            raise Unauthorized("Authorization is not 'Bearer' and a signed token.")
        token = found.group(1)
        digest = hashlib.sha256(token).digest()  # not the token: memory shall hold no credentials
        caller, until = self._remembered.get(digest, (Identity(""), 0.0))
        if self._clock() >= until:
            caller, until = await self._check(token.decode("ascii"))
            self._remember(digest, caller, until)
        return caller

    async def keep_fresh(self) -> None:
        """Renew the issuer's keys."""
        await self._keys.keep_fresh()

    async def _check(self, token: str) -> tuple[Identity, float]:
        """Who it is, and until when (seconds since 1970) that may be believed without another look."""
        key = await self._keys.get(_key_id(token))
        claims = self._claims(token, key)
        held = {*_words(claims.get("roles")), *_words(claims.get("scp"))}
        role = max((role for role, names in self._granted.items() if names & held), default=Role.CALLER)
        if self._roles and role is Role.CALLER and not self._roles & held:
            raise Forbidden("The token holds none of the roles that may ask.")
        until = min(float(claims["exp"]) + LEEWAY_SECONDS, self._clock() + REMEMBERED_SECONDS)
        return Identity(f"token:{claims['sub']}", role), until

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=self._audiences,
                issuer=self._issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise Unauthorized(_reason(error)) from None
        except (ValueError, RecursionError, OverflowError):
            raise Unauthorized("The token cannot be read.") from None
        return claims

    def _remember(self, digest: bytes, caller: Identity, until: float) -> None:
        self._remembered[digest] = caller, until
        self._remembered.move_to_end(digest)
        if len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)


def _key_id(token: str) -> str:
    """The id of the key in the token's header. What else a header may say of keys (jku, x5u, jwk) is not looked at."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):  # a header nested too deeply is not PyJWT's error
        raise Unauthorized("The token cannot be read.") from None
    if header.get("alg") not in ALGORITHMS:
        raise Unauthorized(f"The token is not signed with {' or '.join(ALGORITHMS)}.")
    key_id = header.get("kid")
    if not isinstance(key_id, str):
        raise Unauthorized("The token does not say which key it is signed with.")
    return key_id


def _words(claim: object) -> list[str]:
    """`roles` is a list, `scp` one text with spaces between."""
    if isinstance(claim, str):
        return claim.split()
    return [word for word in claim if isinstance(word, str)] if isinstance(claim, list) else []


_REASONS: dict[type[jwt.PyJWTError], str] = {
    jwt.ExpiredSignatureError: "The token has expired.",
    jwt.ImmatureSignatureError: "The token is not valid yet.",
    jwt.InvalidIssuerError: "The token is from another issuer.",
    jwt.InvalidAudienceError: "The token is for another audience.",
    jwt.InvalidSignatureError: "The token's signature is wrong.",
    jwt.MissingRequiredClaimError: "The token lacks one of the claims exp, iss, aud and sub.",
}


def _reason(error: jwt.PyJWTError) -> str:
    # Our own words: the library's may quote the token.
    return _REASONS.get(type(error), "The token cannot be read.")
