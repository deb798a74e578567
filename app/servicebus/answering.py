"""One message's answer: understand it, fetch its picture, infer, store the result where it is wanted."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from azure.servicebus import ServiceBusMessage, ServiceBusReceivedMessage

from app.core.admission import Permit
from app.core.request import Deadline, Flow, InferenceRequest, InferenceResult, Priority
from app.core.service import InferenceService
from app.errors import (
    DeadlineExceeded,
    InvalidMessage,
    ReplyRefused,
    RequestError,
    ResultsUnavailable,
    ResultTooLarge,
    StorageUnavailable,
)
from app.host.process import usable_cores
from app.servicebus import results
from app.servicebus.breaker import Breaker
from app.servicebus.claimcheck import BlobStore
from app.servicebus.failure_reports import FailureReports
from app.servicebus.keeping import Keeping
from app.servicebus.message import Job, MessageOptions, read_job
from app.servicebus.outboxes import Outboxes
from app.servicebus.results import Bodies, Replies
from app.telemetry import tracing
from app.vision import image
from app.wire.notes import notes_of
from app.wire.rendering import Renderer

SOURCE = "queue"

_PATIENCE = 3600.0
"""Seconds that a message without a deadline of its own may wait: its lock is what ends it."""


_WEIGHTS = {"high": 9.0, "normal": 1.0, "low": 1 / 9}
"""What a message's priority says of its share of the lanes beside the others': nine tenths for the higher."""


@dataclass(frozen=True, slots=True)
class QueueDefaults:
    """What holds for all messages of a queue: the model of those that name none, and their share of the lanes."""

    model: str | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class SizeLimits:
    """Bytes of an encoded picture, and of the largest result that is sent in a message."""

    image_bytes: int
    result_bytes: int


class Answering:
    """All that one message after the other goes through; knows nothing of locks and settlements."""

    def __init__(
        self,
        service: InferenceService,
        replies: Replies,
        outboxes: Outboxes,
        blobs: BlobStore,
        limits: SizeLimits,
        reports: FailureReports | None = None,
        defaults: QueueDefaults | None = None,
        keeping: Keeping | None = None,
    ) -> None:
        self._defaults = defaults or QueueDefaults()
        self._service = service
        self._replies = replies
        self._outboxes = outboxes
        self._blobs = blobs
        self._limits = limits
        self._reports = reports
        self._keeping = keeping or Keeping()
        self._renderer = Renderer(usable_cores())
        self.breaker = Breaker(replies.source)
        self.clock_ahead: Callable[[], float] = lambda: 0.0
        """Seconds by which this machine's clock is known to be ahead of the broker's."""
        self.begun = 0
        """Messages whose pictures the core has been asked about."""

    async def answer(self, message: ServiceBusReceivedMessage) -> None:
        """Returns once the result is stored; raises the `RequestError` that says why there is none.

        Cancelling frees the place in the core.
        """
        request_id = results.request_id_of(message, self._replies.source)
        entity = self._destination(message, request_id)
        job = read_job(message, self._limits.image_bytes)
        try:
            await self._answer(message, entity, job)
        except StorageUnavailable as error:
            self.breaker.fail(str(error), request_id)
            raise
        stored = self._keeping.names | ({entity} if entity else set())
        self.breaker.succeed(request_id, fetched=job.image is None, stored=stored)

    async def report(self, message: ServiceBusReceivedMessage, error: RequestError) -> None:
        """Tell who waits for the result, where that is wanted, that the message is about to be dead-lettered."""
        if self._reports is not None:
            await self._reports.send(message, error)

    async def check_results(self) -> None:
        """Open the breaker where one of the operator's destinations for results is not there, or forbidden."""
        try:
            await self._outboxes.check_default()
        except ResultsUnavailable as error:
            self.breaker.trip(str(error), self._replies.default or "")
        await self._keeping.check(self.breaker)

    async def _answer(self, message: ServiceBusReceivedMessage, entity: str | None, job: Job) -> None:
        self._check_annotation(job.options)
        deadline = _deadline(message, job.options.deadline_ms, self.clock_ahead())
        with self._service.admission.permit(Priority.BULK) as permit:
            picture = await self._picture(job, permit)
            self.begun += 1
            try:
                result = await self._service.infer(self._request(message, job.options, picture, deadline), permit)
            finally:
                self.begun -= 1
            annotated_url = await self._annotate(picture, result, job.options, deadline)
        bodies = await self._sized(results.body_of(job, result, annotated_url), result, entity)
        number = message.sequence_number or 0
        # First where a repetition changes nothing: what fails there is in no queue yet.
        await self._keeping.keep(
            lambda sink: results.finding_of(message, result, bodies.within(sink.most_bytes)),
            number,
            result.request_id,
            self.breaker,
        )
        if entity is not None:
            body = bodies.within(self._limits.result_bytes)
            with tracing.sending(entity):
                reply = results.message_of(message, result, body, job.options.robot_id)
                await self._send(entity, reply, len(body))
        self._keeping.forget(results.result_id(result.request_id, result.model, result.version), number)

    def _destination(self, message: ServiceBusReceivedMessage, request_id: str) -> str | None:
        """Where the result goes beside the sinks, or None where it goes to these alone.

        What names no place while there is no other is not to blame: it may be forgotten. Or it may be that message's
        own mistake: once another went through, it stops nothing any more.
        """
        if not message.reply_to and self._replies.default is None and self._keeping.sinks:
            return None
        try:
            return self._replies.entity_for(message.reply_to)
        except ReplyRefused as error:
            if message.reply_to:
                raise
            if not self.breaker.proven:
                self.breaker.fail(str(error), request_id)
            raise ResultsUnavailable(str(error)) from None

    async def _send(self, entity: str, reply: ServiceBusMessage, size: int) -> None:
        try:
            await self._outboxes.send(entity, reply, size)
        except ResultsUnavailable as error:
            if entity == self._replies.default:  # another is the affair of who named it
                self.breaker.fail(str(error), place=entity)
            raise

    def close(self) -> None:
        """End what draws pictures; senders and storage are closed by whoever opened them."""
        self._renderer.close()

    async def _picture(self, job: Job, permit: Permit) -> bytes:
        """The encoded picture, with room taken for its bytes."""
        if job.image is not None:
            permit.take_bytes(len(job.image))
            return job.image
        assert job.image_url is not None
        return await self._blobs.fetch(job.image_url, self._limits.image_bytes, permit.take_bytes)

    def _request(
        self, message: ServiceBusReceivedMessage, options: MessageOptions, picture: bytes, deadline: Deadline
    ) -> InferenceRequest:
        return InferenceRequest(
            image=picture,
            request_id=results.request_id_of(message, self._replies.source),
            model=options.model or self._defaults.model,
            version=options.version,
            options=options.vision_options(),
            deadline=deadline,
            source=SOURCE,
            flow=self._flow(options),
            key=options.robot_id or message.session_id,
        )

    def _flow(self, options: MessageOptions) -> Flow:
        priority = options.priority or "normal"
        return Flow(f"{self._replies.source} {priority}", self._defaults.weight * _WEIGHTS[priority])

    def _check_annotation(self, options: MessageOptions) -> None:
        if options.annotate and not self._blobs.takes_results:
            raise InvalidMessage("`annotate` needs a container for the pictures: set ROO_RESULTS_CONTAINER.")

    async def _annotate(
        self, picture: bytes, result: InferenceResult, options: MessageOptions, deadline: Deadline
    ) -> str | None:
        if options.annotate is None:
            return None
        header = image.read_header(picture)
        drawn = await self._renderer.draw(
            picture,
            header,
            result.prediction,
            options.annotate,
            deadline,
            result.levels,
            result.memory,
            notes_of(result),
        )
        return await self._blobs.store(_name(result, options.annotate.rpartition("/")[2]), drawn, options.annotate)

    async def _sized(self, body: bytes, result: InferenceResult, entity: str | None) -> Bodies:
        """The result, and where one of the places that it goes to does not take it, what points to it."""
        limits = {sink.name: sink.most_bytes for sink in self._keeping.sinks}
        if entity is not None:
            limits[entity] = self._limits.result_bytes
        name, least = min(limits.items(), key=lambda item: item[1])
        if len(body) <= least:
            return Bodies(body)
        if not self._blobs.takes_results:
            raise ResultTooLarge(
                f"The result has {len(body)} bytes; {name} takes {least} of one. Set ROO_RESULTS_CONTAINER to have "
                "such results stored as blobs, or ask for fewer detections."
            )
        url = await self._blobs.store(_name(result, "json"), body, "application/json")
        return Bodies(body, results.pointer_to(url, result))


def _name(result: InferenceResult, suffix: str) -> str:
    """Where a result's blob goes: the same place each time, by a name that no sender can steer."""
    request = hashlib.sha256(result.request_id.encode()).hexdigest()[:32]
    return f"{request}/{result.model}-{result.version}.{suffix}"


def _deadline(message: ServiceBusReceivedMessage, deadline_ms: int | None, clock_ahead: float = 0.0) -> Deadline:
    """The earlier of the message's expiry and its own deadline, which counts from when it was put on the queue.

    Raises `DeadlineExceeded` where it has passed, before anything is fetched or computed.
    """
    now, moments = datetime.now(UTC) - timedelta(seconds=clock_ahead), []
    expires: datetime | None = message.expires_at_utc
    enqueued: datetime | None = message.enqueued_time_utc
    if expires is not None:
        moments.append(expires)
    if deadline_ms is not None:
        moments.append((enqueued or now) + timedelta(milliseconds=deadline_ms))
    left = min((moment - now for moment in moments), default=timedelta(seconds=_PATIENCE))
    if left <= timedelta():
        raise DeadlineExceeded("The message's deadline, or its time to live, had passed when it was received.")
    return Deadline(time.monotonic() + left.total_seconds())
