"""The door: every front comes in through `InferenceService.infer`."""

import asyncio
import logging
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

from opentelemetry.trace import SpanContext

from app.core.admission import Admission, Budget
from app.core.executor import Executor, PictureBatcher
from app.core.model import Model
from app.core.registry import Registry
from app.core.request import AdmittedRequest, Answer, Deadline, InferenceRequest, InferenceResult, Priority
from app.errors import DeadlineExceeded, ImageTooLarge, Overloaded, PayloadTooLarge, RequestError
from app.telemetry import metrics, tracing
from app.telemetry.tracing import Stage
from app.vision import image
from app.vision.image import ImageHeader

log = logging.getLogger(__name__)

HELD_SECONDS = 0.1
"""Longest time that an answer waits for others, even where every lane is stuck."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one picture may be, and how long one request may take (seconds) where it names no deadline."""

    image_bytes: int
    pixels: int
    timeout: float


class InferenceService:
    """Admission, model, batch, answer: one call down, one return up."""

    def __init__(
        self, registry: Registry, batcher: PictureBatcher, executor: Executor, admission: Admission, limits: Limits
    ) -> None:
        self.registry = registry
        self.executor = executor
        self.admission = admission
        self.limits = limits
        self._batcher = batcher
        self._releasing: asyncio.TimerHandle | None = None

    async def infer(self, request: InferenceRequest) -> InferenceResult:
        """Understand one picture.

        Raises the `RequestError` that says why not. Cancelling the call frees its place; what no lane has started is
        not computed.
        """
        started = time.monotonic()
        outcome, model = "cancelled", ""
        try:
            loaded = self.registry.get(request.model, request.version)
            model = loaded.name
            result = await self._infer(request, loaded, started)
            outcome = "ok"
            return result
        except RequestError as error:
            outcome = error.code
            raise
        finally:
            metrics.requests.add(1, (request.source, model, outcome))

    def receiving(self, size: int, priority: Priority) -> AbstractContextManager[None]:
        """Room for `size` encoded bytes, to be held by a front from before it receives them until they are answered.

        Entering raises `Overloaded` where there is none.
        """
        return self.admission.permit(Budget(pictures=0, image_bytes=size, pixels=0), priority, self._retry_after)

    def stop(self, timeout: float) -> bool:
        """Finish what the lanes have queued within `timeout` seconds, then refuse the rest. True when nothing was
        refused.
        """
        self._batcher.close()
        finished = self.executor.close(timeout)
        refused = self._batcher.refuse_waiting()
        if refused or not finished:
            log.warning("stopped with %d pictures not started and lanes finished: %s", refused, finished)
        return finished and not refused

    def refuse_waiting(self, source: str) -> int:
        """Answer what no lane has taken yet from one front with `Draining`; returns how many there were."""
        return self._batcher.refuse_waiting(lambda admitted: admitted.request.source == source)

    def free_permits(self, priority: Priority) -> int:
        """How many pictures more of that priority would be admitted now, by count."""
        return self.admission.free(priority)

    @property
    def closed(self) -> bool:
        """Whether nothing new is taken any more."""
        return self._batcher.closed

    def waiting(self, priority: Priority | None = None) -> int:
        """Pictures queued for a lane."""
        return self._batcher.waiting(priority)

    def oldest_age(self) -> float:
        """Seconds that the longest-queued picture has waited."""
        return self._batcher.oldest_age()

    async def _infer(self, request: InferenceRequest, model: Model, started: float) -> InferenceResult:
        header = self._check_picture(request.image)
        deadline = request.deadline or Deadline.after(self.limits.timeout)
        self._refuse_hopeless(deadline)
        wanted = Budget(pictures=1, image_bytes=0, pixels=header.pixels)  # the front holds the bytes' room
        with self.admission.permit(wanted, request.priority, self._retry_after):
            admitted = AdmittedRequest(request, header, tracing.sampled_context())
            answer = await self._answer(admitted, model, deadline)
        result = InferenceResult(
            request_id=request.request_id,
            model=model.name,
            version=model.version,
            labels=model.task.labels,
            prediction=answer.prediction,
            image_size=answer.image_size,
            batch_size=answer.batch_size,
            timings=answer.timings,
            total=time.monotonic() - started,
        )
        _record(request, result, admitted.trace)
        if admitted.trace is not None:
            tracing.record_stages(_stages(started, answer), answer.batch)
        return result

    async def _answer(self, admitted: AdmittedRequest, model: Model, deadline: Deadline) -> Answer:
        future = self._batcher.submit(model, admitted, admitted.request.priority, deadline)
        if self._releasing is None:
            self._releasing = asyncio.get_running_loop().call_later(HELD_SECONDS, self._release)
        try:
            async with asyncio.timeout(max(0.0, deadline.remaining())):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise DeadlineExceeded("The deadline passed before the picture was answered.") from None

    def _release(self) -> None:
        """Lanes release what they hold; here for the answer whose lane is stuck. Runs only while pictures wait."""
        self._batcher.release_answers()
        waiting = self._batcher.waiting()
        self._releasing = asyncio.get_running_loop().call_later(HELD_SECONDS, self._release) if waiting else None

    def _check_picture(self, data: bytes) -> ImageHeader:
        """Bytes first, then the pixels that the header declares; nothing is decoded."""
        if len(data) > self.limits.image_bytes:
            raise PayloadTooLarge(f"The picture has {len(data)} bytes; at most {self.limits.image_bytes} are taken.")
        header = image.read_header(data)
        if header.pixels > self.limits.pixels:
            raise ImageTooLarge(
                f"The picture declares {header.size.width} x {header.size.height} pixels; at most "
                f"{self.limits.pixels} in all are decoded. Send a smaller one."
            )
        return header

    def _refuse_hopeless(self, deadline: Deadline) -> None:
        """What cannot be answered in time by the measured speed is refused now, not after having waited for nothing."""
        remaining = deadline.remaining()
        if remaining <= 0:
            raise DeadlineExceeded("The deadline had passed when the picture arrived.")
        if self._batcher.waiting() and self.executor.expected_wait() > remaining:
            raise Overloaded(
                "The queue is too long for this deadline. Try again later or allow more time.",
                retry_after=self._retry_after(),
            )

    def _retry_after(self) -> float:
        return max(1.0, self.executor.expected_wait())


def _record(request: InferenceRequest, result: InferenceResult, trace: SpanContext | None) -> None:
    source, model, timings = request.source, result.model, result.timings
    metrics.request_seconds.record(result.total, (source, model), trace)
    metrics.stage_seconds.record(timings.queue, (source, model, "queue"), trace)
    metrics.stage_seconds.record(timings.prepare, (source, model, "prepare"), trace)
    metrics.stage_seconds.record(timings.compute, (source, model, "compute"), trace)
    metrics.stage_seconds.record(timings.finish, (source, model, "finish"), trace)


def _stages(received_at: float, answer: Answer) -> list[Stage]:
    timings = answer.timings
    return [
        Stage("admission", received_at, answer.queued_at - received_at),
        Stage("queue", answer.queued_at, timings.queue),
        Stage("prepare", answer.queued_at + timings.queue, timings.prepare),
        Stage("compute", answer.batch.started_at, timings.compute),
        Stage("finish", answer.ended_at - timings.finish, timings.finish),
    ]
