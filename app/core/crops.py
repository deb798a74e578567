"""Parts of pictures: cut from one decode, and each answered in the batches of whatever else a model is asked."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from app.core.admission import Permit
from app.core.asking import Asking
from app.core.executor import ModelCapacity
from app.core.limits import PictureLimits
from app.core.model import Model
from app.core.registry import Registry
from app.core.request import AdmittedCrop, AdmittedRequest, Answer, Deadline, InferenceRequest, LaneWork
from app.errors import ImageTooLarge, RequestError
from app.telemetry import metrics, tracing
from app.telemetry.tracing import Stage
from app.vision import crops, image
from app.vision.decode_memory import decode_bytes
from app.vision.image import Picture
from app.vision.region import Region

Done = TypeVar("Done")

FULL_BATCHES = 2
"""As many batches for each lane are asked for at once: one is computed while the next waits."""


class Crops:
    """Cuts parts out of a request's picture, and asks models about each. Belongs to an event loop.

    Everything is done in lanes, with the priority, the deadline and the flow of the request, whose `deadline` should be
    set once for all that is asked on its behalf. Models must be leased by the caller.
    """

    def __init__(self, asking: Asking, registry: Registry, capacity: ModelCapacity, limits: PictureLimits) -> None:
        self._asking = asking
        self._registry = registry
        self._capacity = capacity
        self._limits = limits

    @asynccontextmanager
    async def cut(
        self,
        admitted: AdmittedRequest,
        regions: Sequence[Region],
        permit: Permit,
        model: Model,
        *,
        reduce: bool = False,
    ) -> AsyncIterator[tuple[Picture, ...]]:
        """Decode a picture once and cut these regions from it, for the length of the `with` block, in which `permit`
        holds the bytes of their pixels; what was cut must not be kept longer.

        The crops are as `model` wants them, in its `range` and with its alpha, and so are for models alike in these.
        With `reduce`, a JPEG is decoded no larger than `model` needs to see each region; barcodes want all of it.
        Raises `Overloaded` where there is no room, `ImageTooLarge`, and what a lane raises for a picture.
        """
        header, spec = admitted.header, model.input_spec
        at_least = crops.covering(header.upright, regions, spec) if reduce else None
        self._limits.check_cut(header, len(admitted.request.image), model, at_least)
        taken = crops.cut_bytes(header, regions, image.reduction(header, at_least), spec.has_alpha)
        if not permit.may_ever_take(len(admitted.request.image) + taken.kept):
            raise ImageTooLarge(
                f"The picture is {header.size.width} x {header.size.height} pixels; to look at parts of it would keep "
                f"{taken.kept >> 20} MiB, which is more than all requests together may hold. Send a smaller one."
            )
        permit.take_bytes(taken.kept)
        try:
            run = partial(_cut, admitted, tuple(regions), model, at_least, taken.copied)
            work, request = LaneWork(admitted.request, run, admitted.trace), admitted.request
            (answer,) = await self._asking.all([work], permit.priority, model, self._deadline(request), request.flow)
            found: tuple[Picture, ...] = answer.prediction
            tracing.record_stages([Stage("cut", answer.queued_at, answer.ended_at - answer.queued_at)], None)
            del answer
            yield found
        finally:
            permit.give_back_bytes(taken.kept)

    async def ask(
        self, request: InferenceRequest, pictures: Sequence[Picture], permit: Permit, model: Model
    ) -> list[Answer | RequestError]:
        """What `model` answers to each of these crops, in their order, by `request.options`; or why it does not.

        Boxes are in pixels of the crop. Where there is room, as many wait at once as fill the lanes' batches, and the
        others behind whatever came meanwhile. Raises `DeadlineExceeded`; cancelled, none of them waits any more.
        """
        started, trace = time.monotonic(), tracing.sampled_context()
        items = [AdmittedCrop(request, picture, trace) for picture in pictures]
        most = min(len(items), FULL_BATCHES * max(1, self._capacity.lanes) * model.max_batch_size)
        deadline, labels = self._deadline(request), (request.source, model.name, model.version)
        with permit.places(model, most, shared=self._registry.several) as at_once:
            answers = await self._asking.each(items, at_once, permit.priority, model, deadline, request.flow)
        tracing.record_crops(started, model.name, model.version, len(answers))
        for answer in answers:
            metrics.crops.add(1, (*labels, "ok" if isinstance(answer, Answer) else answer.code))
        return answers

    async def work(self, request: InferenceRequest, run: Callable[[], Done], permit: Permit, model: Model) -> Done:
        """What `run`, which works on a request's pixels, returns; it is done in a lane, in `model`'s turn."""
        work = LaneWork(request, run, tracing.sampled_context())
        (answer,) = await self._asking.all([work], permit.priority, model, self._deadline(request), request.flow)
        done: Done = answer.prediction
        return done

    def _deadline(self, request: InferenceRequest) -> Deadline:
        return request.deadline or Deadline.after(self._limits.timeout)


def _cut(
    admitted: AdmittedRequest, regions: tuple[Region, ...], model: Model, at_least: image.Size | None, copied: int
) -> tuple[Picture, ...]:
    """In a lane: waits until there is memory to decode."""
    data, header, spec = admitted.request.image, admitted.header, model.input_spec
    needed = decode_bytes(header, len(data), at_least, spec.range, spec.has_alpha) + copied
    with model.memory.hold(needed):
        return crops.cut_all(image.decode(data, header, at_least, spec.range, spec.has_alpha), regions)
