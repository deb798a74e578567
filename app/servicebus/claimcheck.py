"""Pictures and large results in Blob Storage: the message holds a link (the claim check pattern).

A blob is fetched only from the storage accounts that are allowed: a message is hostile ground, and a service that
fetches what it is told to is a way into the network that it stands in. So the address that is spoken to is always one
of the settings; a message adds a container, a name, and perhaps a signature.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob import ContentSettings
from azure.storage.blob.aio import BlobClient

from app.errors import (
    InvalidMessage,
    PayloadTooLarge,
    RequestError,
    SourceNotFound,
    SourceRefused,
    StartupError,
    StorageUnavailable,
)
from app.servicebus.loopback import is_loopback

_CONNECT_SECONDS = 5
_READ_SECONDS = 10
_OPTIONS: dict[str, Any] = {
    # Who follows a redirect fetches from an address that nobody has allowed.
    "permit_redirects": False,
    # The client's own first pause of 15 s would spend the transfer's time and the message's lock.
    "retry_total": 2,
    "initial_backoff": 1,
    "increment_base": 2,
    "random_jitter_range": 1,
}
_VERSIONS = {"snapshot", "sharesnapshot", "versionid"}
_UNSAFE = re.compile(r"[\x00-\x1f\x7f\\]")

Reserve = Callable[[int], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a blob is: the account's URL from the settings, and what was asked for there."""

    account: str
    container: str
    name: str
    signature: str
    """The link's own, as a query; empty where it has none."""

    def __str__(self) -> str:
        """For people; never with the signature."""
        return f"{self.account.partition('//')[2]}/{self.container}/{self.name}"[:300]


class BlobStore:
    """Blobs of the allowed accounts.

    `accounts` are bases such as `https://robots.blob.core.windows.net`; `container` is the URL of the container for
    results, or None. `total_seconds` bounds one transfer with all its retries. Raises `StartupError` for what is no
    account or container.

    Plain http is for a stand-in on this machine, and never gets a token of ours: there, links and the container bear
    a signature, or the blobs are public.
    """

    def __init__(
        self,
        accounts: tuple[str, ...],
        container: str | None,
        credential: AsyncTokenCredential | None,
        total_seconds: float = 30.0,
    ) -> None:
        self._accounts = tuple(_account(account) for account in accounts)
        self._container = _container(container) if container else None
        self._credential = credential
        self._total_seconds = total_seconds
        self._transport = AioHttpTransport(connection_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS)

    @property
    def takes_results(self) -> bool:
        """Whether there is a container for results."""
        return self._container is not None

    @asynccontextmanager
    async def fetched(self, url: str, most_bytes: int, reserve: Reserve) -> AsyncIterator[bytes]:
        """The blob's content; `reserve` is asked for room for its bytes before they come, until the block is left.

        Raises `SourceRefused` for any URL but a blob of an allowed account, `SourceNotFound`, `InvalidMessage` where it
        is empty, `PayloadTooLarge` above `most_bytes`, `StorageUnavailable`, and what `reserve` raises.
        """
        place = self._allowed(url)
        client = self._client(place)
        async with self._transfer(_reading(place)):
            properties = await client.get_blob_properties()
        size = int(properties.size)
        if size == 0:
            raise InvalidMessage("The blob is empty.")
        if size > most_bytes:
            raise PayloadTooLarge(f"The blob has {size} bytes; at most {most_bytes} are taken.")
        with reserve(size):
            async with self._transfer(_reading(place)):
                # A blob that has grown since is not read beyond its room.
                stream = await client.download_blob(offset=0, length=size)
                content = await stream.readall()
            if len(content) != size:
                raise StorageUnavailable(f"The blob {place} changed while it was read.")
            yield content

    async def store(self, name: str, content: bytes, content_type: str) -> str:
        """Put `content` at `name` in the container for results, over what is there; returns its URL.

        Raises `StorageUnavailable`.
        """
        assert self._container is not None
        place = _Place(self._container.account, self._container.container, name, self._container.signature)
        client = self._client(place)
        async with self._transfer(_writing(place)):
            await client.upload_blob(
                content, overwrite=True, content_settings=ContentSettings(content_type=content_type)
            )
        return str(client.url).partition("?")[0]

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    @asynccontextmanager
    async def _transfer(self, translated: AbstractContextManager[None]) -> AsyncIterator[None]:
        with translated:
            async with asyncio.timeout(self._total_seconds):
                yield

    def _client(self, place: _Place) -> BlobClient:
        """A client over the shared connections; it owns nothing that had to be closed."""
        # A link's own signature is used as it is, and not mixed with our token; and no token goes over plain http.
        ours = not place.signature and place.account.startswith("https:")
        account = f"{place.account}?{place.signature}" if place.signature else place.account
        return BlobClient(
            account,
            place.container,
            place.name,
            credential=self._credential if ours else None,
            transport=self._transport,
            **_OPTIONS,
        )

    def _allowed(self, url: str) -> _Place:
        link = _split(url)
        if link is None:
            raise SourceRefused("`image_url` is not the https URL of a blob: https://ACCOUNT/CONTAINER/BLOB.")
        account = next((account for account in self._accounts if _belongs(link, account)), None)
        if account is None:
            raise SourceRefused(
                f"Nothing is fetched from {str(link.hostname)[:200]!r}. Storage accounts that may be read are named in "
                "ROO_BLOB_ACCOUNTS."
            )
        container, _, name = unquote(link.path[len(account.path) + 1 :]).partition("/")
        if not container or not name:
            raise SourceRefused("`image_url` names no blob: https://ACCOUNT/CONTAINER/BLOB.")
        return _Place(account.geturl(), container, name, _signature(link.query))


def _account(setting: str) -> SplitResult:
    """An account's base, checked; without a scheme it is https."""
    base = _setting("ROO_BLOB_ACCOUNTS", setting)
    if base.query:
        raise StartupError("ROO_BLOB_ACCOUNTS: an account is named without a signature or another query.")
    return base


def _container(setting: str) -> _Place:
    """The container for results: its account, its name, and the signature that its URL may bear."""
    link = _setting("ROO_RESULTS_CONTAINER", setting)
    path, _, name = link.path.rpartition("/")
    if not name:
        raise StartupError("ROO_RESULTS_CONTAINER is not the URL of a container: https://ACCOUNT/CONTAINER.")
    return _Place(link._replace(path=path, query="").geturl(), unquote(name), "", link.query)


def _setting(variable: str, setting: str) -> SplitResult:
    """A URL of the settings; nothing of it is quoted where it is wrong, for it may bear a signature."""
    link = _split(setting if "//" in setting else f"https://{setting}")
    if link is None:
        raise StartupError(f"{variable} is not an https URL.")
    if link.scheme == "http" and not is_loopback(link.hostname):
        raise StartupError(f"{variable} must begin with https://; http:// is for a stand-in on this machine.")
    return link._replace(path=link.path.rstrip("/"))


def _split(url: str) -> SplitResult | None:
    """The parts of a plain http(s) URL; None for anything that two readers might understand differently."""
    try:
        link = urlsplit(url)
        _ = link.port  # reading it checks it
    except ValueError:
        return None
    if link.scheme not in ("http", "https") or not link.hostname or link.fragment:
        return None
    if "@" in link.netloc or not link.netloc.isascii() or _UNSAFE.search(url):
        return None
    path = unquote(link.path)
    return None if _UNSAFE.search(path) or {".", ".."} & set(path.split("/")) else link


def _belongs(link: SplitResult, account: SplitResult) -> bool:
    # Event Grid names a blob of an account with hierarchical namespace by its other endpoint.
    host = str(link.hostname).replace(".dfs.core.", ".blob.core.")
    same = (link.scheme, host, link.port) == (account.scheme, account.hostname, account.port)
    return same and link.path.startswith(f"{account.path}/")


def _signature(query: str) -> str:
    """A link's query, where it is a signature (SAS); the client hands on what belongs to one and drops the rest.

    Snapshots and versions are refused: the client would write their names into the request unescaped.
    """
    fields = parse_qs(query)
    if query and ("sig" not in fields or fields.keys() & _VERSIONS):
        raise SourceRefused("`image_url` has a query that is not a signature alone. Link the blob as it is now.")
    return query


@contextmanager
def _reading(place: _Place) -> Iterator[None]:
    """Azure's errors in the words of this service. Their own texts may quote the signature."""
    try:
        yield
    except ResourceNotFoundError:
        raise SourceNotFound(f"There is no blob at {place}.") from None
    except HttpResponseError as error:
        raise _not_read(place, error) from None
    except (AzureError, TimeoutError) as error:
        raise _silent(place, error) from None


@contextmanager
def _writing(place: _Place) -> Iterator[None]:
    try:
        yield
    except HttpResponseError as error:
        raise StorageUnavailable(f"The storage does not take {place}: {_said(error)}.") from None
    except (AzureError, TimeoutError) as error:
        raise _silent(place, error) from None


def _not_read(place: _Place, error: HttpResponseError) -> RequestError:
    status = error.status_code or 500
    if 300 <= status < 400:
        return SourceRefused(f"The storage points elsewhere for {place}, and no redirect is followed.")
    if place.signature and status in (401, 403):
        return SourceRefused(f"The storage refuses the signature of the link to {place}: {_said(error)}.")
    return StorageUnavailable(f"The storage does not give {place}: {_said(error)}.")


def _silent(place: _Place, error: AzureError | TimeoutError) -> StorageUnavailable:
    return StorageUnavailable(f"The storage does not answer for {place} ({type(error).__name__}).")


def _said(error: HttpResponseError) -> str:
    """The status and Azure's name for the failure, which is what its documentation is searched by."""
    code = getattr(error, "error_code", None)
    return f"{error.status_code} {getattr(code, 'value', code) or ''}".strip()[:100]
