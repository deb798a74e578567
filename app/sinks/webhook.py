"""A webhook: every answer is posted, signed, to one URL of the operator's."""

import io
import math
import socket
import time
from collections.abc import Collection, Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp

from app.errors import ResultRefused, ResultsUnavailable, ResultTooLarge
from app.sinks.base import Finding
from app.sinks.persistence import Persistence, TryAgain
from app.sinks.public_addresses import AddressRefused, PublicResolver
from app.sinks.signing import HEADER, signature

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 15.0
"""How long one try may take, to the last header of its answer."""
_PASSING = (408, 425, 429)
"""What a receiver answers, besides 5xx, that may take the same a moment later."""
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_REFUSED = (400, 422)
"""What it answers where it will never take this body."""


class Webhook:
    """One URL; kept connections, no redirects, no proxies, private addresses only where they are listed."""

    kind = "webhook"

    def __init__(self, url: str, secrets: Sequence[bytes], hosts: Collection[str], most_bytes: int) -> None:
        """`url` is checked already; `hosts` are those that may have a private address."""
        self._url = url
        self._place = urlsplit(url)
        self.name = f"the webhook at {self._place.hostname}"
        self.most_bytes = most_bytes
        self._secrets = secrets
        self._resolver = PublicResolver(hosts)
        self._persistence = Persistence()
        self._session: aiohttp.ClientSession | None = None

    async def keep(self, finding: Finding) -> None:
        """See `Sink.keep`."""
        await self._persistence.until_done(lambda: self._post(finding))

    async def check(self) -> None:
        """See whether its name leads anywhere that is allowed; nothing is posted."""
        try:
            await self._resolver.resolve(str(self._place.hostname), self._place.port or 443, socket.AF_UNSPEC)
        except OSError as error:
            raise ResultsUnavailable(f"{self.name} cannot be reached: {error}.") from None

    async def close(self) -> None:
        """See `Sink.close`."""
        if self._session is not None:
            await self._session.close()
        await self._resolver.close()

    async def _post(self, finding: Finding) -> None:
        try:
            async with self._opened().post(
                self._url, data=io.BytesIO(finding.body), headers=self._headers(finding), allow_redirects=False
            ) as response:
                self._judge(response)
        except (aiohttp.ClientError, OSError) as error:
            if refused := _refused_address(error):
                raise ResultsUnavailable(f"{self.name} is not asked: {refused}.") from None
            raise TryAgain(f"{self.name} does not answer ({type(error).__name__}).") from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:  # made here, where there is an event loop
            timeout = aiohttp.ClientTimeout(total=TOTAL_SECONDS, connect=CONNECT_SECONDS)
            connector = aiohttp.TCPConnector(resolver=self._resolver)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
            )
        return self._session

    def _headers(self, finding: Finding) -> dict[str, str]:
        return {
            "Content-Type": "application/json",
            "User-Agent": "roo-vision",
            "Roo-Result-Id": finding.id,
            HEADER: signature(self._secrets, finding.body, int(time.time())),
            **finding.trace,
        }

    def _judge(self, response: aiohttp.ClientResponse) -> None:
        """Neither the body nor the status's phrase is told: what a stranger writes belongs into no log of ours."""
        status = response.status
        if 200 <= status < 300:
            return
        said = f"{self.name} answers {status} {_PHRASES.get(status, '')}".strip()
        if status in _PASSING or status >= 500:
            raise TryAgain(f"{said}.", _seconds(response.headers.get("Retry-After")))
        if status == 413:
            raise ResultTooLarge(f"{said}: the result is too large for it.")
        if status in _REFUSED:
            raise ResultRefused(f"{said}: it will not take this result.")
        raise ResultsUnavailable(f"{said}: {_hint(status)}.")


def _hint(status: int) -> str:
    if 300 <= status < 400:
        return "no redirect is followed; set ROO_WEBHOOK_URL to where it leads"
    if status in (401, 403):
        return "it does not know our signature, or who we are; is its secret ROO_WEBHOOK_SECRET's"
    return "is ROO_WEBHOOK_URL right"


def _refused_address(error: BaseException) -> AddressRefused | None:
    inner = getattr(error, "os_error", error)
    return inner if isinstance(inner, AddressRefused) else None


def _seconds(header: str | None) -> float | None:
    """`Retry-After` in seconds; a date, which needs equal clocks, is not read."""
    try:
        found = float(header or "")
    except ValueError:
        return None
    return found if math.isfinite(found) and found >= 0 else None
