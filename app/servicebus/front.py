"""The queue front, put together: a worker for each queue, and what they share."""

import asyncio

from app.core.service import InferenceService
from app.errors import ModelNotFound, StartupError
from app.queue_settings import QueueInput
from app.servicebus.answering import Answering, QueueDefaults, SizeLimits
from app.servicebus.claimcheck import BlobStore
from app.servicebus.connection import Access, Connection
from app.servicebus.credit import WINDOW_SHARE, Credit
from app.servicebus.depth import QueueDepth
from app.servicebus.desk import Desk
from app.servicebus.failure_reports import FailureReports
from app.servicebus.intake import Intake, LinkIntake
from app.servicebus.keeping import Keeping
from app.servicebus.outboxes import Outboxes
from app.servicebus.queue_status import QueueStatus
from app.servicebus.results import Replies
from app.servicebus.session_intake import SessionIntake
from app.servicebus.worker import QueueWorker
from app.settings import Settings
from app.sinks import opening


class QueueFront:
    """All queues of the settings, the most urgent first: one credit, one client, one set of senders."""

    def __init__(self, service: InferenceService, settings: Settings) -> None:
        """Connect to nothing yet. Raises `StartupError` for what cannot be: a connection string, a storage account, a
        container, a queue's model.
        """
        secret, container = settings.servicebus_connection_string, settings.results_container
        self._service = service
        self._settings = settings
        self._connection = Connection(
            Access(settings.servicebus_namespace, secret.get_secret_value() if secret else None)
        )
        self._outboxes = Outboxes(self._connection.sender, settings.results_queue)
        self._blobs = BlobStore(
            settings.blob_accounts, container.get_secret_value() if container else None, self._connection.credential
        )
        self._keeping = Keeping(opening.of_settings(settings, self._connection.credential))
        self._credit = Credit(service, settings.queue_held)
        self.workers = [self._worker(queue) for queue in settings.queues]
        self.desk = Desk(self._connection, self.workers, self._blobs, settings.max_image_bytes)

    def __str__(self) -> str:
        return "; ".join(str(worker.status) for worker in self.workers)

    async def run(self) -> None:
        """Receive until `close`. Raises `StartupError` where one of the queues cannot be received."""
        running = [asyncio.create_task(worker.run(), name=f"queue {worker.queue}") for worker in self.workers]
        try:
            await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)

    async def stop(self, seconds: float) -> None:
        """See `QueueWorker.stop`; all at once."""
        await asyncio.gather(*(worker.stop(seconds) for worker in self.workers))

    async def close(self) -> None:
        """Disconnect; for after `stop`."""
        await asyncio.gather(*(worker.close() for worker in self.workers))
        await self.desk.close()
        await self._outboxes.close()
        await self._blobs.close()
        await self._keeping.close()
        await self._connection.close()

    def _worker(self, queue: QueueInput) -> QueueWorker:
        self._check_model(queue)
        administration = self._connection.administration()
        worker = QueueWorker(
            self._service,
            self._answering(queue),
            self._intake(queue, status := QueueStatus(queue.path)),
            self._credit,
            status,
            QueueDepth(queue.path, administration) if administration else None,
        )
        self._credit.join(worker, queue.weight, queue.sessions)
        return worker

    def _answering(self, queue: QueueInput) -> Answering:
        settings = self._settings
        others = tuple(path for path in settings.queue if path != queue.path)
        replies = Replies(
            settings.results_queue, queue.path, self._connection.namespace, frozenset(settings.reply_to), others
        )
        answering = Answering(
            self._service,
            replies,
            self._outboxes,
            self._blobs,
            SizeLimits(settings.max_image_bytes, settings.result_bytes),
            FailureReports(replies, self._outboxes) if settings.report_failures else None,
            QueueDefaults(queue.model, queue.weight),
            self._keeping,
        )
        answering.breaker.most_probes = settings.queue_held
        return answering

    def _intake(self, queue: QueueInput, status: QueueStatus) -> Intake:
        if queue.sessions is not None:
            return SessionIntake(self._connection, status, queue.sessions)
        held = self._settings.queue_held
        return LinkIntake(self._connection, status, held if len(self._settings.queue) == 1 else held // WINDOW_SHARE)

    def _check_model(self, queue: QueueInput) -> None:
        if queue.model is None:
            return
        try:
            self._service.registry.check(queue.model)
        except ModelNotFound as error:
            raise StartupError(f"ROO_QUEUE_MODEL of {queue.path}: {error}") from None
