"""Cosmos DB for NoSQL: every answer is an item of one container, whose id is the result's."""

import asyncio
import contextlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError
from azure.cosmos.aio import ContainerProxy, CosmosClient
from azure.cosmos.exceptions import CosmosHttpResponseError
from azure.identity.aio import DefaultAzureCredential

from app.errors import RequestError, ResultRefused, ResultsUnavailable, ResultTooLarge
from app.sinks.base import Finding
from app.sinks.persistence import Persistence, TryAgain

MOST_BYTES = 2_000_000
"""Of an item's 2 MB (2,097,152 bytes); the rest is for its id and what Cosmos DB adds."""
PARTITION_FIELDS = ("id", "request_id", "robot_id", "model", "version")
"""Fields that every result has, by one or several of which a container may be partitioned."""
_TRY_SECONDS = 15.0
_CONNECT_SECONDS, _READ_SECONDS = 5, 10
_PASSING = (408, 410, 429, 449)
"""What Cosmos DB answers, besides 5xx, to what it may take a moment later."""
_MOST_WORDS = 300


@dataclass(frozen=True, slots=True)
class CosmosPlace:
    """An account's endpoint, a database and a container in it."""

    endpoint: str
    database: str
    container: str


class CosmosSink:
    """One container; its client is opened when it is first needed, and its partition key looked at then."""

    kind = "cosmos"
    most_bytes = MOST_BYTES

    def __init__(self, place: CosmosPlace, credential: str | AsyncTokenCredential | None) -> None:
        """`credential` is the account's key, or an identity that may write there; None is one of our own."""
        self.name = f"the Cosmos DB container {place.database}/{place.container}"
        self._place = place
        self._credential = credential or DefaultAzureCredential()
        self._owns_credential = credential is None
        self._persistence = Persistence()
        self._opening = asyncio.Lock()
        self._client: CosmosClient | None = None
        self._container: ContainerProxy | None = None

    async def keep(self, finding: Finding) -> None:
        """See `Sink.keep`."""
        item = {**json.loads(finding.body, parse_constant=self._no_number), "id": finding.id}
        await self._persistence.until_done(lambda: self._upsert(item))

    async def check(self) -> None:
        """See `Sink.check`."""
        try:
            with self._translated():
                await self._opened()
        except TryAgain as error:
            raise ResultsUnavailable(str(error)) from None

    async def close(self) -> None:
        """See `Sink.close`."""
        await self._disconnect()
        if self._owns_credential and isinstance(self._credential, DefaultAzureCredential):
            await self._credential.close()

    async def _disconnect(self) -> None:
        client, self._client, self._container = self._client, None, None
        if client is not None:
            await client.close()

    async def _upsert(self, item: dict[str, Any]) -> None:
        with self._translated():
            async with asyncio.timeout(_TRY_SECONDS):
                container = await self._opened()
                await container.upsert_item(item, no_response=True)

    async def _opened(self) -> ContainerProxy:
        async with self._opening:
            if self._container is None:
                await self._disconnect()
                self._client = _client(self._place.endpoint, self._credential)
                try:
                    self._container = await self._looked_at(self._client)
                except BaseException:
                    await self._disconnect()
                    raise
            return self._container

    async def _looked_at(self, client: CosmosClient) -> ContainerProxy:
        """The container, whose partition key results have."""
        await client.__aenter__()
        container = client.get_database_client(self._place.database).get_container_client(self._place.container)
        paths = (await container.read())["partitionKey"]["paths"]
        if unknown := [path for path in paths if path.removeprefix("/") not in PARTITION_FIELDS]:
            raise ResultsUnavailable(
                f"{self.name} is partitioned by {unknown[0]}, which results have not. Make one that is partitioned by "
                f"{', '.join(f'/{field}' for field in PARTITION_FIELDS[:-1])} or /{PARTITION_FIELDS[-1]}."
            )
        return container

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Azure's errors in the words of this service."""
        try:
            yield
        except CosmosHttpResponseError as error:
            raise self._said(error) from None
        except ClientAuthenticationError as error:
            words = str(error).partition("\n")[0][:_MOST_WORDS]
            raise ResultsUnavailable(f"{self.name} is not asked: there is no identity to ask as. {words}") from None
        except (AzureError, TimeoutError) as error:
            raise TryAgain(f"{self.name} does not answer ({type(error).__name__}).") from None

    def _said(self, error: CosmosHttpResponseError) -> RequestError | TryAgain:
        status = error.status_code or 0
        said = f"{self.name} answers {status}{f'/{error.sub_status}' if error.sub_status else ''}"
        if status in _PASSING or status >= 500:
            return TryAgain(f"{said}.", _pause(error))
        if status == 413:
            return ResultTooLarge(f"{said}: the result is too large for an item.")
        if status == 400:
            return ResultRefused(f"{said}: it will not take this result. {_words(error)}")
        if status == 404:  # it may be made anew, with another partition key
            self._container = None
            return ResultsUnavailable(f"{said}: there is no such database or container.")
        if status == 401:
            return ResultsUnavailable(f"{said}: it does not know the key or the token. Is ROO_COSMOS_KEY right?")
        return ResultsUnavailable(f"{said}. {_words(error)}")

    def _no_number(self, name: str) -> NoReturn:
        raise ResultRefused(f"{self.name} cannot hold the result: there is {name} in it, which is no number in JSON.")


def _client(endpoint: str, credential: str | AsyncTokenCredential) -> CosmosClient:
    """Of its own retries there are as few as can be, one, and it comes at once: ours keep the pace that is asked for.

    (Left alone, it sleeps for as long as a 429 says, and where that says nothing asks ten times without a pause.)
    """
    return CosmosClient(
        endpoint,
        credential,
        connection_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retry_total=1,
        retry_throttle_total=1,
        retry_fixed_interval=1,  # ms
        user_agent_suffix="roo-vision",
    )


def _pause(error: CosmosHttpResponseError) -> float | None:
    """Seconds that it asks for."""
    try:
        found = float(error.headers.get("x-ms-retry-after-ms", "")) / 1000
    except ValueError:
        return None
    return found if math.isfinite(found) and found >= 0 else None


def _words(error: CosmosHttpResponseError) -> str:
    """What it says of itself, on one line: the role or the field that is missing."""
    message = error.http_error_message
    return " ".join(str(message).split())[:_MOST_WORDS] if message else ""
