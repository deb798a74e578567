"""Puts the queue front together."""

from app.core.service import InferenceService
from app.servicebus.answering import Answering, SizeLimits
from app.servicebus.claimcheck import BlobStore
from app.servicebus.connection import Access, Connection
from app.servicebus.credit import Credit
from app.servicebus.depth import QueueDepth
from app.servicebus.failure_reports import FailureReports
from app.servicebus.intake import Intake, LinkIntake
from app.servicebus.outboxes import Outboxes
from app.servicebus.queue_status import QueueStatus
from app.servicebus.results import Replies
from app.servicebus.session_intake import SessionIntake
from app.servicebus.worker import QueueWorker
from app.settings import Settings


def build(service: InferenceService, settings: Settings) -> QueueWorker:
    """The worker of `settings.queue`, connected to nothing yet.

    Raises `StartupError` for a connection string, storage account or container that cannot be one.
    """
    assert settings.queue is not None
    secret, container = settings.servicebus_connection_string, settings.results_container
    connection = Connection(Access(settings.servicebus_namespace, secret.get_secret_value() if secret else None))
    replies = Replies(settings.results_queue, settings.queue, connection.namespace, frozenset(settings.reply_to))
    outboxes = Outboxes(connection.sender, settings.results_queue)
    answering = Answering(
        service,
        replies,
        outboxes,
        BlobStore(settings.blob_accounts, container.get_secret_value() if container else None, connection.credential),
        SizeLimits(settings.max_image_bytes, settings.result_bytes),
        FailureReports(replies, outboxes) if settings.report_failures else None,
    )
    answering.breaker.most_probes = settings.queue_held
    administration = connection.administration()
    depth = QueueDepth(settings.queue, administration) if administration else None
    status = QueueStatus(settings.queue)
    intake = _intake(connection, status, settings)
    return QueueWorker(service, connection, answering, intake, Credit(service, settings.queue_held), status, depth)


def _intake(connection: Connection, status: QueueStatus, settings: Settings) -> Intake:
    if settings.queue_sessions is None:
        return LinkIntake(connection, status, settings.queue_held)
    return SessionIntake(connection, status, settings.queue_sessions)
