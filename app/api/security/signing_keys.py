"""The public keys with which an OpenID provider signs its tokens: fetched, cached, renewed."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
from jwt import PyJWK, PyJWTError

from app.errors import IdentityUnavailable, Unauthorized

log = logging.getLogger(__name__)

RENEW_SECONDS = 3600.0
COOLDOWN_SECONDS = 30.0
"""Between two fetches, whoever asks for them: strangers' tokens with invented key ids cannot make it more."""
TRUSTED_SECONDS = 24 * 3600.0
"""How long keys are used while the provider does not answer."""
FETCH_SECONDS = 5.0
MOST_BYTES = 256 * 1024
MOST_KEYS = 64
RSA_BITS = 2048

_PUBLIC = ("kty", "n", "e", "crv", "x", "y")

Keys = dict[str, PyJWK]


class FetchError(Exception):
    """The provider does not answer, or not with keys that can be used."""


class SigningKeys:
    """A provider's keys by their id. `fetch` is called on a thread: neither network nor parsing is the event loop's."""

    def __init__(self, fetch: Callable[[], Keys], clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._keys: Keys = {}
        self._fetched = float("-inf")
        self._not_before = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    async def get(self, key_id: str) -> PyJWK:
        """The key of that id, fetched where it is not known; raises `Unauthorized` where there is none, and
        `IdentityUnavailable` where the provider cannot be asked.
        """
        key = self._known(key_id)
        if key is None:
            await self.renew()
            key = self._known(key_id)
        if key is not None:
            return key
        if not self._trusted():
            raise IdentityUnavailable(
                "Tokens cannot be checked at the moment: their issuer does not answer.", retry_after=COOLDOWN_SECONDS
            )
        raise Unauthorized("The token is signed with a key that its issuer does not publish.")

    async def renew(self) -> None:
        """Fetch the keys, unless that was tried a moment ago; who comes meanwhile waits for the same fetch."""
        if self._fetching is None:
            if self._clock() < self._not_before:
                return
            self._fetching = asyncio.create_task(self._renew())
        await asyncio.shield(self._fetching)  # one caller that hangs up does not end it for the others

    async def keep_fresh(self) -> None:
        """Fetch at the start and once an hour, and again soon after a failure."""
        while True:
            await self.renew()
            recent = self._clock() - self._fetched < RENEW_SECONDS / 2
            await asyncio.sleep(RENEW_SECONDS if recent else COOLDOWN_SECONDS)

    def _known(self, key_id: str) -> PyJWK | None:
        return self._keys.get(key_id) if self._trusted() else None

    def _trusted(self) -> bool:
        return self._clock() - self._fetched < TRUSTED_SECONDS

    async def _renew(self) -> None:
        try:
            self._keys = await asyncio.to_thread(self._fetch)
            self._fetched = self._clock()
        except FetchError as error:
            log.warning("the keys that tokens are signed with cannot be fetched: %s", error)
        except Exception:
            log.exception("fetching the keys that tokens are signed with failed")
        finally:
            self._not_before = self._clock() + COOLDOWN_SECONDS
            self._fetching = None


def fetch(issuer: str) -> Keys:
    """The keys that an issuer publishes (OpenID Connect Discovery 1.0, section 4); raises `FetchError`. Blocks."""
    address = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    with httpx.Client(timeout=FETCH_SECONDS, follow_redirects=False) as client:
        configuration = _get(client, address)
        if configuration.get("issuer") != issuer:
            raise FetchError(f"{address} speaks for another issuer")
        source = configuration.get("jwks_uri")
        if not isinstance(source, str) or not _is_safe(source, issuer):
            raise FetchError(f"{address} names no https address for the keys")
        keys = usable(_get(client, source).get("keys"))
    if not keys:
        raise FetchError(f"{source} has no key that can be used")
    return keys


def _is_safe(source: str, issuer: str) -> bool:
    """An issuer may only be http where the settings allow it: on this machine. Its keys then may be there too."""
    try:
        wanted, own = urlsplit(source), urlsplit(issuer)
    except ValueError:
        return False
    return wanted.scheme == "https" or (wanted.scheme, wanted.hostname) == ("http", own.hostname) == (
        own.scheme,
        own.hostname,
    )


def _get(client: httpx.Client, address: str) -> dict[str, Any]:
    give_up = time.monotonic() + 2 * FETCH_SECONDS
    content = bytearray()
    try:
        with client.stream("GET", address, headers={"accept": "application/json"}) as response:
            if response.status_code != httpx.codes.OK:
                raise FetchError(f"{address} answers {response.status_code}")
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > MOST_BYTES or time.monotonic() > give_up:
                    raise FetchError(f"{address} answers too much or too slowly")
        found = json.loads(content)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise FetchError(f"{address}: {error or type(error).__name__}") from None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise FetchError(f"{address} does not answer with a JSON object")
    return found


def usable(published: object) -> Keys:
    """The keys for signatures that are strong enough: RSA for RS256, P-256 for ES256. All others are left out."""
    keys: Keys = {}
    for item in published[:MOST_KEYS] if isinstance(published, list) else []:
        key = _usable(item) if isinstance(item, dict) else None
        if key is not None:
            keys[item["kid"]] = key
    return keys


def _usable(item: dict[str, Any]) -> PyJWK | None:
    if not isinstance(item.get("kid"), str) or item.get("use", "sig") != "sig":
        return None
    match item:
        case {"kty": "RSA", "n": str(), "e": str()}:
            algorithm = "RS256"
        case {"kty": "EC", "crv": "P-256", "x": str(), "y": str()}:
            algorithm = "ES256"
        case _:
            return None
    try:
        # The public members alone, and an algorithm that follows from the kind of key, whatever else the item says.
        key = PyJWK({name: item[name] for name in _PUBLIC if name in item}, algorithm)
    except (PyJWTError, ValueError):
        return None
    return key if algorithm != "RS256" or key.key.key_size >= RSA_BITS else None
