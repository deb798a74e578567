"""The client of the namespace, and receivers and senders of it that the worker can reason about."""

import logging
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from azure.core.credentials_async import AsyncTokenCredential
from azure.identity.aio import DefaultAzureCredential
from azure.servicebus import ServiceBusReceivedMessage, ServiceBusSubQueue, parse_connection_string
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver, ServiceBusSender
from azure.servicebus.aio.management import ServiceBusAdministrationClient

from app.errors import StartupError
from app.servicebus.loopback import is_loopback
from app.servicebus.settlement import Settlement, Verb

log = logging.getLogger(__name__)

_SOCKET_SECONDS = 0.05
"""How long the SDK's reader holds the connection for itself while nothing comes; settlements wait for so long. Its
default of 0.2 s held settlements to 141 a second."""

_CONFIRM_SECONDS = 10
"""How long a settlement waits to be confirmed on the link before it is made again by lock token."""


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

    def receiver(self, queue: str, round_size: int) -> "Receiver":
        """A receiver that asks the broker for `round_size` messages at once, and for more when those are all read.

        With a size of 1 the SDK gives back what comes while nobody waits for it; take 2 at least for reading.
        """
        return Receiver(
            self._client.get_queue_receiver(
                queue,
                prefetch_count=round_size - 1,  # the SDK adds one
                socket_timeout=_SOCKET_SECONDS,
                timeout=_CONFIRM_SECONDS,
            )
        )

    def sender(self, entity: str) -> ServiceBusSender:
        """A sender to a queue or a topic; both are only an address to the broker."""
        return self._client.get_queue_sender(entity, socket_timeout=_SOCKET_SECONDS)

    def reader(self, queue: str, sub_queue: ServiceBusSubQueue | None = None) -> ServiceBusReceiver:
        """A receiver of the SDK as it is, for those who only read results or dead letters."""
        return self._client.get_queue_receiver(queue, sub_queue=sub_queue, socket_timeout=_SOCKET_SECONDS)

    def administration(self) -> ServiceBusAdministrationClient | None:
        """A client of the namespace's management door, which an emulator on this machine has none of."""
        if _is_here(self.namespace):
            return None
        if self.credential is not None:
            return ServiceBusAdministrationClient(self.namespace, self.credential, retry_total=0)
        return ServiceBusAdministrationClient.from_connection_string(str(self._access.connection_string), retry_total=0)

    async def close(self) -> None:
        """Close the client and the credential."""
        await self._client.close()
        if isinstance(self.credential, DefaultAzureCredential):
            await self.credential.close()


@dataclass(frozen=True, slots=True)
class Received:
    """A message and the link that it came over."""

    message: ServiceBusReceivedMessage
    link: object


class Receiver:
    """One receiver of the SDK, reading in rounds and settling safely around its reconnects."""

    def __init__(self, receiver: ServiceBusReceiver) -> None:
        self._receiver = receiver

    async def open(self) -> None:
        """Connect, authenticate and attach; raises a `ServiceBusError`."""
        await self._receiver.__aenter__()

    async def next(self) -> Received:
        """Wait for the next message; raises a `ServiceBusError` where the connection is lost.

        Not to be cancelled while the receiver is to be used further: a frame that is half read cannot be read again.
        """
        message = await self._receiver.__anext__()
        return Received(message, self._link())

    async def renew(self, message: ServiceBusReceivedMessage) -> None:
        """Hold the message's lock for another of its periods; raises a `ServiceBusError`."""
        await self._receiver.renew_message_lock(message)

    async def settle(self, received: Received, settlement: Settlement) -> None:
        """Settle a message of this receiver, or by its lock token one of an earlier link or receiver.

        Raises `MessageLockLostError` where the lock is gone (which is also what is heard when an earlier try was
        applied and only its confirmation lost), or another `ServiceBusError`.
        """
        message = received.message
        if received.link is not self._link():
            # A delivery number is worth nothing on another link. What the SDK knows as a deferred message it settles
            # by lock token through the management link, and there is no public way to ask for that.
            message._is_deferred_message = True
        match settlement.verb:
            case Verb.COMPLETE:
                await self._receiver.complete_message(message)
            case Verb.ABANDON:
                await self._receiver.abandon_message(message)
            case Verb.DEAD_LETTER:
                await self._receiver.dead_letter_message(
                    message, reason=settlement.reason, error_description=settlement.description
                )
            case Verb.LEAVE:
                pass

    async def close(self) -> None:
        """Give back what was sent ahead and is not read, and disconnect."""
        await self._receiver.close()

    def _link(self) -> object:
        """What the SDK replaces when it reconnects by itself."""
        return self._receiver._handler


def _client(access: Access, credential: AsyncTokenCredential | None) -> ServiceBusClient:
    options: dict[str, Any] = {"retry_total": 0, "user_agent": "roo-vision"}
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
