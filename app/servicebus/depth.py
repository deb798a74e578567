"""How many messages wait on the queue, as the broker counts them: read in the background, where that is allowed."""

import asyncio
import logging
from http import HTTPStatus

from azure.core.exceptions import AzureError, HttpResponseError
from azure.servicebus.aio.management import ServiceBusAdministrationClient

from app.queue_source import QueueSource

log = logging.getLogger(__name__)

EVERY_SECONDS = 30.0
_REFUSALS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


class QueueDepth:
    """The counts of one queue or subscription; empty while they cannot be read.

    Service Bus tells them only to who may manage the queue (`Manage`, or the role Azure Service Bus Data Owner), which
    a worker need not be: one who may not is told once, and asks no more.
    """

    def __init__(self, queue: str, client: ServiceBusAdministrationClient) -> None:
        self.counts: dict[str, int] = {}
        self._queue = queue
        self._client = client

    async def run(self) -> None:
        """Read them every `EVERY_SECONDS` until cancelled, or refused."""
        try:
            allowed = await self._read()
            while allowed:
                await asyncio.sleep(EVERY_SECONDS)
                allowed = await self._read()
        finally:
            await self._client.close()

    async def _read(self) -> bool:
        """Read once; False where there is no use in asking again."""
        try:
            self.counts = await self._counts()
        except (AzureError, OSError, ValueError) as error:
            self.counts = {}
            if isinstance(error, HttpResponseError) and error.status_code in _REFUSALS:
                log.info("the depth of %s is not shown: only who may manage the queue is told", self._queue)
                return False
            log.debug("the depth of %s cannot be read: %s", self._queue, type(error).__name__)
        return True

    async def _counts(self) -> dict[str, int]:
        source = QueueSource.of(self._queue)
        if source.subscription is not None:  # what is scheduled waits at the topic
            of_it = await self._client.get_subscription_runtime_properties(source.name, source.subscription)
            return {"active": of_it.active_message_count or 0, "dead_letter": of_it.dead_letter_message_count or 0}
        found = await self._client.get_queue_runtime_properties(self._queue)
        return {
            "active": found.active_message_count or 0,
            "dead_letter": found.dead_letter_message_count or 0,
            "scheduled": found.scheduled_message_count or 0,
        }
