"""The client of the namespace, and receivers and senders of it that the worker can reason about."""

import logging
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from azure.core.credentials_async import AsyncTokenCredential
from azure.identity.aio import DefaultAzureCredential
from azure.servicebus import NEXT_AVAILABLE_SESSION, ServiceBusSubQueue, parse_connection_string
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.aio.management import ServiceBusAdministrationClient

from app.errors import StartupError
from app.host.loopback import is_loopback
from app.queue_source import QueueSource
from app.servicebus.receiver import CONFIRM_SECONDS, PREFETCH, Receiver
from app.servicebus.session_link import ACCEPT_SECONDS, SessionLink
from app.servicebus.shared_connection import SharedConnection

log = logging.getLogger(__name__)

_SOCKET_SECONDS = 0.05
"""How long one reading of a connection lasts where nothing comes."""

_OPEN_SECONDS = 10.0
"""How long opening a link, or a request to the broker, may take."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the namespace is and how it lets us in: by connection string, or by name with an Azure credential."""

    namespace: str | None
    connection_string: str | None


class Connection:
    """Opens receivers and senders.

    The SDK's own retries are off: it would repeat a settlement by delivery number on a new link, where that number is
    another message's. Who uses these reconnects by opening anew.
    """

    def __init__(self, access: Access) -> None:
        """Connect to nothing yet. Raises `StartupError` where the connection string cannot be one."""
        self.credential: AsyncTokenCredential | None = (
            DefaultAzureCredential() if access.connection_string is None else None
        )
        self._access = access
        self._client = _client(access, self.credential)

    @property
    def namespace(self) -> str:
        """The namespace's host name."""
        return str(self._client.fully_qualified_namespace)

    def receiver(self, queue: str, *, dead_letters: bool = False) -> Receiver:
        """A link on which the queue (or subscription), or what is dead-lettered of it, is received; not open yet."""
        receiver = self._receiver(
            queue,
            sub_queue=ServiceBusSubQueue.DEAD_LETTER if dead_letters else None,
            prefetch_count=PREFETCH,
            socket_timeout=_SOCKET_SECONDS,
            timeout=CONFIRM_SECONDS,
        )
        return Receiver(receiver)

    def session(self, queue: str, shared: SharedConnection) -> SessionLink:
        """A link on which the next session of the queue is received, not open yet; `shared` is for all of them."""
        receiver = self._receiver(
            queue,
            session_id=NEXT_AVAILABLE_SESSION,
            max_wait_time=ACCEPT_SECONDS,
            prefetch_count=PREFETCH,
            socket_timeout=_SOCKET_SECONDS,
            timeout=CONFIRM_SECONDS,
        )
        return SessionLink(receiver, shared)

    def sender(self, entity: str) -> ServiceBusSender:
        """A sender to a queue or a topic; both are only an address to the broker."""
        return self._client.get_queue_sender(entity, socket_timeout=_SOCKET_SECONDS)

    def reader(self, queue: str, sub_queue: ServiceBusSubQueue | None = None) -> ServiceBusReceiver:
        """A receiver of the SDK as it is, for those who only read results or dead letters."""
        return self._receiver(queue, sub_queue=sub_queue, socket_timeout=_SOCKET_SECONDS)

    def administration(self) -> ServiceBusAdministrationClient | None:
        """A client of the namespace's management door, which an emulator on this machine has none of."""
        if _is_here(self.namespace):
            return None
        if self.credential is not None:
            return ServiceBusAdministrationClient(self.namespace, self.credential, retry_total=0)
        return ServiceBusAdministrationClient.from_connection_string(str(self._access.connection_string), retry_total=0)

    def _receiver(self, path: str, **options: Any) -> ServiceBusReceiver:
        source = QueueSource.of(path)
        if source.subscription is None:
            return self._client.get_queue_receiver(path, **options)
        return self._client.get_subscription_receiver(source.name, source.subscription, **options)

    async def close(self) -> None:
        """Close the client and the credential."""
        await self._client.close()
        if isinstance(self.credential, DefaultAzureCredential):
            await self.credential.close()


def _client(access: Access, credential: AsyncTokenCredential | None) -> ServiceBusClient:
    options: dict[str, Any] = {"retry_total": 0, "user_agent": "roo-vision", "try_timeout": _OPEN_SECONDS}
    if credential is not None:
        assert access.namespace is not None
        return ServiceBusClient(access.namespace, credential, use_tls=not _is_here(access.namespace), **options)
    try:
        entity = parse_connection_string(str(access.connection_string)).entity_path
        client = ServiceBusClient.from_connection_string(str(access.connection_string), **options)
    except (ValueError, KeyError):
        # Its message quotes the string, which is a secret.
        raise StartupError(
            "ROO_SERVICEBUS_CONNECTION_STRING is not a Service Bus connection string "
            "(Endpoint=sb://…;SharedAccessKeyName=…;SharedAccessKey=…)."
        ) from None
    if entity:
        raise StartupError(
            "ROO_SERVICEBUS_CONNECTION_STRING is one entity's (it has an EntityPath). Pictures are read from one and "
            "results sent to another: take the string of a shared access policy of the namespace."
        )
    return client


def _is_here(namespace: str) -> bool:
    """A broker on this machine (for development) speaks plain AMQP; Azure never does."""
    try:
        return is_loopback(urlsplit(namespace if "//" in namespace else f"//{namespace}").hostname)
    except ValueError:
        return False
