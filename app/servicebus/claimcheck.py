"""Pictures and large results in Blob Storage: the message holds a link (the claim check pattern).

A blob is fetched only from the storage accounts that are allowed: a message is hostile ground, and a service that
fetches what it is told to is a way into the network that it stands in. `app.servicebus.addresses` is the list.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import replace

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import (
    AzureError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob import ContentSettings
from azure.storage.blob.aio import BlobClient

from app.errors import (
    InvalidMessage,
    PayloadTooLarge,
    RequestError,
    SourceNotFound,
    SourceRefused,
    StorageUnavailable,
)
from app.host.blob_options import CAREFUL
from app.servicebus.addresses import Accounts, BlobPlace, container_of

_CONNECT_SECONDS = 5
_READ_SECONDS = 10

Reserve = Callable[[int], None]


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
        self._accounts = Accounts(accounts)
        self._container = container_of(container) if container else None
        self._credential = credential
        self._total_seconds = total_seconds
        self._transport = AioHttpTransport(connection_timeout=_CONNECT_SECONDS, read_timeout=_READ_SECONDS)

    @property
    def takes_results(self) -> bool:
        """Whether there is a container for results."""
        return self._container is not None

    async def fetch(self, url: str, most_bytes: int, reserve: Reserve) -> bytes:
        """The blob's content; `reserve` is asked for room for its bytes before they come.

        Raises `SourceRefused` for any URL but a blob of an allowed account, `SourceNotFound`, `InvalidMessage` where it
        is empty, `PayloadTooLarge` above `most_bytes`, `StorageUnavailable`, and what `reserve` raises.
        """
        place = self._accounts.place_of(url)
        client = self._client(place)
        async with self._transfer(_reading(place)):
            properties = await client.get_blob_properties()
        size = int(properties.size)
        if size == 0:
            raise InvalidMessage("The blob is empty.")
        _check_encoding(properties.content_settings.content_encoding)
        if size > most_bytes:
            raise PayloadTooLarge(f"The blob has {size} bytes; at most {most_bytes} are taken.")
        reserve(size)
        async with self._transfer(_reading(place)):
            # A blob that has grown since is not read beyond its room.
            stream = await client.download_blob(offset=0, length=size)
            content = await stream.readall()
        if len(content) != size:
            raise StorageUnavailable(f"The blob {place} changed while it was read.")
        return content

    async def store(self, name: str, content: bytes, content_type: str) -> str:
        """Put `content` at `name` in the container for results, over what is there; returns its URL.

        Raises `StorageUnavailable`.
        """
        assert self._container is not None
        place = replace(self._container, name=name)
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

    def _client(self, place: BlobPlace) -> BlobClient:
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
            **CAREFUL,
        )


@contextmanager
def _reading(place: BlobPlace) -> Iterator[None]:
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
def _writing(place: BlobPlace) -> Iterator[None]:
    try:
        yield
    except HttpResponseError as error:
        raise StorageUnavailable(f"The storage does not take {place}: {_said(error)}.") from None
    except (AzureError, TimeoutError) as error:
        raise _silent(place, error) from None


def _not_read(place: BlobPlace, error: HttpResponseError) -> RequestError:
    if error.status_code is None:  # the client has tried several times by then
        return StorageUnavailable(f"The storage cut the body of {place} short at every try.")
    status = error.status_code
    if 300 <= status < 400:
        return SourceRefused(f"The storage points elsewhere for {place}, and no redirect is followed.")
    if place.signature and status in (401, 403):
        return SourceRefused(f"The storage refuses the signature of the link to {place}: {_said(error)}.")
    return StorageUnavailable(f"The storage does not give {place}: {_said(error)}.")


def _check_encoding(encoding: str | None) -> None:
    """The client decodes what is stored so, to whatever size that has, while its size is the stored one's."""
    if encoding and encoding.lower() != "identity":
        raise InvalidMessage(
            f"The blob is stored with Content-Encoding {encoding[:50]!r}. Store the picture as it is: JPEG, PNG and "
            "WebP are compressed already."
        )


def _silent(place: BlobPlace, error: AzureError | TimeoutError) -> StorageUnavailable:
    return StorageUnavailable(f"The storage does not answer for {place} ({type(error).__name__}).")


def _said(error: HttpResponseError) -> str:
    """The status and Azure's name for the failure, which is what its documentation is searched by."""
    code = getattr(error, "error_code", None)
    return f"{error.status_code} {getattr(code, 'value', code) or ''}".strip()[:100]
