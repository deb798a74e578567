"""Pictures and large results in Blob Storage: the message holds a link (the claim check pattern).

A blob is fetched only from the storage accounts that are allowed: a message is hostile ground, and a service that
fetches what it is told to is a way into the network that it stands in.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.storage.blob import ContentSettings
from azure.storage.blob.aio import BlobClient

from app.errors import InvalidMessage, PayloadTooLarge, SourceNotFound, SourceRefused, StorageUnavailable

_CONNECT_SECONDS = 5
_READ_SECONDS = 10
_TIMEOUTS: dict[str, Any] = {"connection_timeout": _CONNECT_SECONDS, "read_timeout": _READ_SECONDS, "retry_total": 2}

Reserve = Callable[[int], AbstractContextManager[None]]


class BlobStore:
    """Blobs of the allowed accounts.

    `accounts` are bases such as `https://robots.blob.core.windows.net`; `container` is the URL of the container for
    results, or None. `total_seconds` bounds one transfer with all its retries.
    """

    def __init__(
        self,
        accounts: tuple[str, ...],
        container: str | None,
        credential: AsyncTokenCredential | None,
        total_seconds: float = 30.0,
    ) -> None:
        self._accounts = tuple(_base(account) for account in accounts)
        self._container = container.rstrip("/") if container else None
        self._credential = credential
        self._total_seconds = total_seconds

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
        async with self._client(place, url) as client:
            with _translated(place):
                async with asyncio.timeout(self._total_seconds):
                    properties = await client.get_blob_properties()
            size = int(properties.size)
            if size == 0:
                raise InvalidMessage("The blob is empty.")
            if size > most_bytes:
                raise PayloadTooLarge(f"The blob has {size} bytes; at most {most_bytes} are taken.")
            with reserve(size):
                with _translated(place):
                    async with asyncio.timeout(self._total_seconds):
                        # A blob that has grown since is not read beyond its room.
                        stream = await client.download_blob(offset=0, length=size)
                        content = await stream.readall()
                yield content

    async def store(self, name: str, content: bytes, content_type: str) -> str:
        """Put `content` at `name` in the container for results, over what is there; returns its URL.

        Raises `StorageUnavailable`.
        """
        assert self._container is not None
        url = f"{self._container}/{name}"
        place = urlsplit(url)
        async with self._client(place, url) as client:
            with _translated(place):
                async with asyncio.timeout(self._total_seconds):
                    await client.upload_blob(
                        content, overwrite=True, content_settings=ContentSettings(content_type=content_type)
                    )
        return urlunsplit(place._replace(query=""))

    def _client(self, place: SplitResult, url: str) -> BlobClient:
        # A link that carries its own signature is used as it is; it must not be mixed with our token.
        credential = None if "sig=" in place.query else self._credential
        return BlobClient.from_blob_url(url, credential=credential, **_TIMEOUTS)

    def _allowed(self, url: str) -> SplitResult:
        place = _split(url)
        if place is None or "@" in place.netloc or not _is_blob(place):
            raise SourceRefused("`image_url` is not the https URL of a blob: https://ACCOUNT/CONTAINER/BLOB.")
        if not any(_belongs(place, base) for base in self._accounts):
            raise SourceRefused(
                f"Nothing is fetched from {place.hostname}. Storage accounts that may be read are named in "
                "ROO_BLOB_ACCOUNTS."
            )
        return place


def _base(account: str) -> SplitResult:
    return urlsplit(account.rstrip("/") if "//" in account else f"https://{account.rstrip('/')}")


def _split(url: str) -> SplitResult | None:
    try:
        place = urlsplit(url)
        _ = place.port  # reading it checks it
    except ValueError:
        return None
    return place


def _is_blob(place: SplitResult) -> bool:
    parts = place.path.split("/")
    return len(parts) >= 3 and all(parts[1:3]) and ".." not in parts and "\\" not in place.path


def _belongs(place: SplitResult, base: SplitResult) -> bool:
    same = (place.scheme, place.hostname, place.port) == (base.scheme, base.hostname, base.port)
    return same and place.path.startswith(f"{base.path}/")


class _translated(AbstractContextManager[None]):
    """Azure's errors in the words of this service, without the URL's query, which may hold a signature."""

    def __init__(self, place: SplitResult) -> None:
        self._name = f"{place.hostname}{place.path}"[:300]

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ResourceNotFoundError):
            raise SourceNotFound(f"There is no blob at {self._name}.") from None
        if isinstance(error, ClientAuthenticationError):
            raise StorageUnavailable(f"The storage refused our credential for {self._name}.") from error
        if isinstance(error, HttpResponseError) and (error.status_code or 500) in (400, 403, 409, 412):
            raise StorageUnavailable(f"The storage answered {error.status_code} for {self._name}.") from error
        if isinstance(error, AzureError | TimeoutError):
            raise StorageUnavailable(f"The storage does not answer for {self._name}.") from error
