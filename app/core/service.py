"""The door: every front comes in through `InferenceService.infer`."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

from app.core import tiled
from app.core.admission import Admission, Permit
from app.core.asking import Asking
from app.core.chains import Chains
from app.core.crops import Crops
from app.core.executor import ModelCapacity, PictureBatcher
from app.core.limits import PictureLimits
from app.core.model import Model
from app.core.recording import record
from app.core.registry import Registry
from app.core.request import (
    AdmittedRequest,
    AdmittedRow,
    Answer,
    Deadline,
    InferenceRequest,
    InferenceResult,
    Priority,
    TensorRequest,
    TensorResult,
)
from app.core.response_cache import ResponseCache
from app.core.shadow import Keep, Shadows
from app.core.tiled import TiledPictures
from app.engines.base import Array
from app.errors import (
    CannotLoad,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PayloadTooLarge,
)
from app.telemetry import asked, metrics, tracing
from app.telemetry.outcomes import outcome_told


class InferenceService:
    """Model, permit, batch, answer: one call down, one return up.

    Besides `infer`, a front meets `admission`, which holds room for its requests, and `capacity`, which knows how long
    things take here; one that stops takes back what it asked with `refuse_waiting`. `crops` is for what asks about
    parts of a picture.
    """

    def __init__(
        self,
        registry: Registry,
        batcher: PictureBatcher,
        admission: Admission,
        capacity: ModelCapacity,
        limits: PictureLimits,
        keep: Keep | None = None,
    ) -> None:
        """`keep` is given what versions that compute unsent said otherwise."""
        self.registry = registry
        self.admission = admission
        self.capacity = capacity
        self.limits = limits
        self.cache: ResponseCache | None = None
        """Answers from before, for requests that take such."""
        self.on_demand: Callable[[str], Future[Any]] | None = None
        """Loads a model that is away, by its name."""
        self.shadows = Shadows(registry, batcher, admission, keep)
        self._batcher = batcher
        self._asking = Asking(batcher)
        self.crops = Crops(self._asking, registry, capacity, limits)
        self._chains = Chains(registry, self.crops, self.infer, self.bring, limits.timeout)
        self._tiled = TiledPictures(self.crops, self._asking)

    async def infer(self, request: InferenceRequest, permit: Permit, leased: Model | None = None) -> InferenceResult:
        """Understand one picture; its place and its pixels are held by `permit`, and so until that is given back. Where
        the request names a chain, its models are asked one after the other.

        `leased` is the model where the caller has a lease of it; else the one that answers for the request's has one
        for the length of the call. Raises the `RequestError` that says why not. Cancelling the call frees its lane;
        what none has started is not computed.
        """
        started = time.monotonic()
        if leased is None:
            if (chain := self.registry.chain(request.model, request.version)) is not None:
                return await self._chains.infer(chain, request, permit)
            await self.bring(request.model, request.deadline, request.source)
        with self._counted(request, leased) as (model, counted):
            result = await self._infer(request, permit, model, started)
            if result.age is not None:
                counted.pictures = 0  # it says nothing of the version, and is counted as a hit
            return result

    async def infer_tensors(self, request: TensorRequest, permit: Permit, leased: Model | None = None) -> TensorResult:
        """Compute the rows of a graph's own input, in the batches of whatever else the model is asked.

        Each row takes a picture's place of `permit`, and the outputs' bytes. Raises `InvalidRequest` where the rows are
        not of the model's shape and type, and what `infer` raises; where one row fails, all do. `leased` is as there.
        """
        started = time.monotonic()
        if leased is None:
            await self.bring(request.model, request.deadline, request.source)
        with self._counted(request, leased, len(request.rows)) as (model, _):
            _check_rows(request, model)
            answers = await self._infer_rows(request, permit, model, started)
            return TensorResult(request.request_id, model.name, model.version, _by_output(answers, model))

    async def bring(self, name: str | None, deadline: Deadline | None, source: str) -> None:
        """Have a model loaded that is away, where there is one of that name; returns when it can be asked, and keeps it
        there for a caller who takes a lease of it before it awaits anything else.

        Raises `ModelNotFound` where it cannot be loaded, and `Overloaded` where it was not before the deadline.
        """
        if (meant := self.registry.is_away(name)) is None or self.on_demand is None:
            return
        wait = (deadline or Deadline.after(self.limits.timeout)).remaining()
        self.registry.expect(meant)
        try:
            async with asyncio.timeout(max(0.0, wait)):
                await asyncio.shield(asyncio.wrap_future(self.on_demand(meant)))
        except TimeoutError:
            metrics.requests.add(1, (source, meant, "", Overloaded.code))
            raise Overloaded(
                f"The model {meant} was not loaded, and is being loaded now. Try again in a moment.", retry_after=1.0
            ) from None
        except CannotLoad:
            metrics.requests.add(1, (source, meant, "", ModelNotFound.code))
            raise ModelNotFound(f"The model {meant!r} could not be loaded; GET /v1/models says why.") from None
        finally:
            # After the caller's present step, in which it takes its lease.
            asyncio.get_running_loop().call_soon(self.registry.met, meant)

    @contextmanager
    def _counted(
        self, request: InferenceRequest | TensorRequest, leased: Model | None, count: int = 1
    ) -> Iterator[tuple[Model, "_Counted"]]:
        """The model that is asked, leased; so many pictures or rows are counted by their outcome."""
        labels, counted = (request.source, "", ""), _Counted(count)
        key = request.key or request.request_id
        lease = self.registry.lease(request.model, request.version, key) if leased is None else nullcontext(leased)
        with outcome_told(lambda outcome: metrics.requests.add(counted.pictures, (*labels, outcome))), lease as model:
            labels = (request.source, model.name, model.version)
            asked.note(model.name, model.version)
            yield model, counted

    def refuse_waiting(self, source: str) -> int:
        """Answer what no lane has taken yet from one front with `Draining`; returns how many there were."""
        return self._batcher.refuse_waiting(lambda admitted: admitted.request.source == source)

    async def _infer(self, request: InferenceRequest, permit: Permit, model: Model, started: float) -> InferenceResult:
        header, region = self.limits.check(request.image, model, request.options)
        model.task.check_options(request.options)
        admitted = AdmittedRequest(request, header, tracing.sampled_context(), region)
        cache, caching = self.cache, request.caching
        if cache is None or caching is None:
            return await self._compute(admitted, permit, model, started)
        key = await cache.key_of(request, caching, model)
        if (kept := cache.find(key, caching, model)) is not None:
            return kept.answer_to(request, model, started)
        result = await self._compute(admitted, permit, model, started)
        cache.keep(key, caching, result)
        return result

    async def _compute(
        self, admitted: AdmittedRequest, permit: Permit, model: Model, started: float
    ) -> InferenceResult:
        request, header = admitted.request, admitted.header
        plan = tiled.plan(model, request.options, header.upright, admitted.region, self.limits.tiles)
        deadline = request.deadline or Deadline.after(self.limits.timeout)
        self._refuse_hopeless(model, permit.priority, deadline, 1 if plan is None else len(plan.regions))
        permit.take_picture(model, header.pixels, shared=self.registry.several)
        if plan is None:
            (answer,) = await self._asking.all([admitted], permit.priority, model, deadline, request.flow)
        else:
            timed = replace(admitted, request=replace(request, deadline=deadline))
            answer = await self._tiled.answer(timed, plan, permit, model)
        assert answer.image_size is not None
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
            options=request.options,
            region=admitted.region,
            tiles=None if plan is None else plan.count,
            levels=model.input_spec.range,
            memory=model.memory,
        )
        if plan is None:
            record(request.source, model, answer, started, result.total, admitted.trace)
            self.shadows.offer(admitted, result)
        else:  # its spans are there, and no candidate would do as much work again
            record(request.source, model, answer, started, result.total, None)
        return result

    async def _infer_rows(self, request: TensorRequest, permit: Permit, model: Model, started: float) -> list[Answer]:
        deadline = request.deadline or Deadline.after(self.limits.timeout)
        self._refuse_hopeless(model, permit.priority, deadline)
        self._take_rows(len(request.rows), permit, model)
        trace = tracing.sampled_context()
        rows = [AdmittedRow(request, row, trace) for row in request.rows]
        answers = await self._asking.all(rows, permit.priority, model, deadline)
        for answer in answers:
            record(request.source, model, answer, started, time.monotonic() - started, trace)
        return answers

    def _take_rows(self, count: int, permit: Permit, model: Model) -> None:
        limit = self.admission.limit
        if count > limit.pictures:
            raise InvalidRequest(f"The batch has {count} rows; at most {limit.pictures} are taken in one request.")
        if (size := count * model.row_output_bytes) > limit.image_bytes:
            raise PayloadTooLarge(
                f"The outputs of {count} rows would take {size >> 20} MiB; at most {limit.image_bytes >> 20} are kept. "
                "Send fewer rows."
            )
        permit.take_picture(model, 0, shared=self.registry.several, count=count)
        permit.take_bytes(size)

    def _refuse_hopeless(self, model: Model, priority: Priority, deadline: Deadline, rows: int = 1) -> None:
        """What cannot be answered in time by the measured speed is refused now, not after having waited for nothing."""
        remaining = deadline.remaining()
        if remaining <= 0:
            raise DeadlineExceeded("The deadline had passed when the request arrived.")
        others = (rows - 1) * self.capacity.seconds(model) / max(1, self.capacity.lanes) if rows > 1 else 0.0
        if not others and (self._batcher.idle_lanes(model) or not self.capacity.may_exceed(remaining)):
            return
        if (wait := self.capacity.wait(model, priority) + others) > remaining:
            raise Overloaded(
                "The queue is too long for this deadline. Try again later or allow more time.",
                retry_after=max(1.0, wait),
            )


@dataclass(slots=True)
class _Counted:
    """How many pictures or rows of a request are counted."""

    pictures: int


def _check_rows(request: TensorRequest, model: Model) -> None:
    rows = request.rows
    if rows.dtype != model.row_dtype or rows.shape[1:] != model.row_shape:
        raise InvalidRequest(
            f"The input of {model.name} is {model.row_dtype} of shape {['rows', *model.row_shape]}, not "
            f"{rows.dtype} of {list(rows.shape)}."
        )


def _by_output(answers: Sequence[Answer], model: Model) -> dict[str, list[Array]]:
    outputs: dict[str, list[Array]] = {spec.name: [] for spec in model.engine.outputs}
    for answer in answers:
        for name, row in answer.prediction.items():
            outputs[name].append(row)
    for name, rows in outputs.items():
        shapes = {row.shape for row in rows}
        if len(shapes) > 1:
            raise InvalidRequest(
                f"The output {name} of {model.name} has not the same shape for every row, so that they make no tensor. "
                "Send one row in each request."
            )
    return outputs
