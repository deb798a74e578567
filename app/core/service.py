"""The door: every front comes in through `InferenceService.infer`."""

import asyncio
import time
from dataclasses import dataclass

from opentelemetry.trace import SpanContext

from app.core.admission import Admission, Permit
from app.core.executor import ModelCapacity, PictureBatcher
from app.core.model import Model
from app.core.registry import Registry
from app.core.request import AdmittedRequest, Answer, Deadline, InferenceRequest, InferenceResult, Priority
from app.errors import DeadlineExceeded, ImageTooLarge, Overloaded, PayloadTooLarge, RequestError
from app.telemetry import metrics, tracing
from app.telemetry.tracing import Stage
from app.vision import image
from app.vision.decode_memory import worst_bytes
from app.vision.image import ImageHeader
from app.vision.image_header import LONGEST_SIDE

MOST_DECLARED = 4
"""How many times as many pixels as are decoded a reduced JPEG may declare: all of its coded data takes its time."""

HELD_SECONDS = 0.1
"""Longest time that an answer waits for others, even where every lane is stuck."""


@dataclass(frozen=True, slots=True)
class PictureLimits:
    """What one picture may be, and how long one request may take (seconds) where it names no deadline."""

    image_bytes: int
    pixels: int
    timeout: float


class InferenceService:
    """Model, permit, batch, answer: one call down, one return up.

    Besides `infer`, a front meets `admission`, which holds room for its requests, and `capacity`, which knows how long
    things take here; one that stops takes back what it asked with `refuse_waiting`.
    """

    def __init__(
        self,
        registry: Registry,
        batcher: PictureBatcher,
        admission: Admission,
        capacity: ModelCapacity,
        limits: PictureLimits,
    ) -> None:
        self.registry = registry
        self.admission = admission
        self.capacity = capacity
        self.limits = limits
        self._batcher = batcher
        self._releasing: asyncio.TimerHandle | None = None

    async def infer(self, request: InferenceRequest, permit: Permit) -> InferenceResult:
        """Understand one picture; its place and its pixels are held by `permit`, and so until that is given back.

        Raises the `RequestError` that says why not. Cancelling the call frees its lane; what none has started is not
        computed.
        """
        started = time.monotonic()
        outcome, labels = "defect", (request.source, "", "")
        try:
            model = self.registry.get(request.model, request.version)
            labels = (request.source, model.name, model.version)
            result = await self._infer(request, permit, model, started)
            outcome = "ok"
            return result
        except RequestError as error:
            outcome = error.code
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            metrics.requests.add(1, (*labels, outcome))

    def refuse_waiting(self, source: str) -> int:
        """Answer what no lane has taken yet from one front with `Draining`; returns how many there were."""
        return self._batcher.refuse_waiting(lambda admitted: admitted.request.source == source)

    async def _infer(self, request: InferenceRequest, permit: Permit, model: Model, started: float) -> InferenceResult:
        header = self._check_picture(request.image, model)
        deadline = request.deadline or Deadline.after(self.limits.timeout)
        self._refuse_hopeless(model, permit.priority, deadline)
        permit.take_picture(model, header.pixels, shared=self.registry.several)
        admitted = AdmittedRequest(request, header, tracing.sampled_context())
        answer = await self._answer(admitted, permit.priority, model, deadline)
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

    async def _answer(self, admitted: AdmittedRequest, priority: Priority, model: Model, deadline: Deadline) -> Answer:
        future = self._batcher.submit(model, admitted, priority, deadline, admitted.request.flow)
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

    def _check_picture(self, data: bytes, model: Model) -> ImageHeader:
        """Bytes first, then the pixels that the header declares, and what decoding them takes; nothing is decoded."""
        if len(data) > self.limits.image_bytes:
            raise PayloadTooLarge(f"The picture has {len(data)} bytes; at most {self.limits.image_bytes} are taken.")
        header = image.read_header(data)
        self._check_pixels(header, model)
        _check_memory(header, len(data), model)
        return header

    def _check_pixels(self, header: ImageHeader, model: Model) -> None:
        limit = self.limits.pixels
        if header.pixels > limit and (header.pixels > MOST_DECLARED * limit or model.decoded_pixels(header) > limit):
            raise ImageTooLarge(
                f"The picture declares {header.size.width} x {header.size.height} pixels; at most {limit} in all are "
                "decoded. Send a smaller one, or an ordinary JPEG, which is decoded at a reduced size."
            )
        if max(header.size) > LONGEST_SIDE:
            raise ImageTooLarge(
                f"The picture is {header.size.width} x {header.size.height} pixels; neither side may have more than "
                f"{LONGEST_SIDE}."
            )

    def _refuse_hopeless(self, model: Model, priority: Priority, deadline: Deadline) -> None:
        """What cannot be answered in time by the measured speed is refused now, not after having waited for nothing."""
        remaining = deadline.remaining()
        if remaining <= 0:
            raise DeadlineExceeded("The deadline had passed when the picture arrived.")
        if self._batcher.idle_lanes or not self.capacity.may_exceed(remaining):
            return
        if (wait := self.capacity.wait(model, priority)) > remaining:
            raise Overloaded(
                "The queue is too long for this deadline. Try again later or allow more time.",
                retry_after=max(1.0, wait),
            )


def _check_memory(header: ImageHeader, file_bytes: int, model: Model) -> None:
    most = model.memory.limit
    if worst_bytes(header.pixels, file_bytes) > most and (needed := model.working_bytes(header, file_bytes)) > most:
        raise ImageTooLarge(
            f"Decoding this picture of {header.size.width} x {header.size.height} pixels would take {needed >> 20} "
            f"MiB of memory; at most {most >> 20} are used. Send a smaller one, or an ordinary JPEG (baseline, not "
            "progressive), which is decoded at a reduced size."
        )


def _record(request: InferenceRequest, result: InferenceResult, trace: SpanContext | None) -> None:
    labels, timings, record = (
        (request.source, result.model, result.version),
        result.timings,
        metrics.stage_seconds.record,
    )
    metrics.request_seconds.record(result.total, labels, trace)
    record(timings.queue, (*labels, "queue"), trace)
    record(timings.decode, (*labels, "decode"), trace)
    record(timings.prepare, (*labels, "prepare"), trace)
    record(timings.compute, (*labels, "compute"), trace)
    record(timings.finish, (*labels, "finish"), trace)


def _stages(received_at: float, answer: Answer) -> list[Stage]:
    timings = answer.timings
    return [
        Stage("admission", received_at, answer.queued_at - received_at),
        Stage("queue", answer.queued_at, timings.queue),
        Stage("decode", answer.queued_at + timings.queue, timings.decode),
        Stage("prepare", answer.queued_at + timings.queue + timings.decode, timings.prepare),
        Stage("compute", answer.batch.started_at, timings.compute),
        Stage("finish", answer.ended_at - timings.finish, timings.finish),
    ]
