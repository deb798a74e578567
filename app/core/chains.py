"""Chains: a detector's boxes become crops that other models are asked about, in the batches of all requests.

A step waits for the one that it is on, and not for its neighbours. All that it asks has the request's priority,
deadline, flow and source; models are leased for the length of the request, so that none of them goes meanwhile.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import fields, replace
from functools import partial
from typing import Any

from app.core.admission import Permit
from app.core.crops import Crops
from app.core.findings import (
    FINDS,
    NAMES,
    Finding,
    Part,
    count,
    cut_again,
    fitting,
    found_in,
    named,
    straightened,
    straightened_bytes,
)
from app.core.model import Model
from app.core.registry import Registry
from app.core.request import (
    AdmittedRequest,
    Answer,
    ChainResult,
    CropAnswer,
    Deadline,
    InferenceRequest,
    InferenceResult,
    Nested,
    StepResult,
    Timings,
)
from app.errors import Draining, Loading, ModelNotFound, Overloaded, RequestError
from app.repository.pipeline import ChainEntry, Pipeline, Step
from app.telemetry import asked, metrics, tracing
from app.telemetry.outcomes import outcome_told
from app.vision import image
from app.vision.header import Size
from app.vision.region import Region
from app.vision.tasks import Options

AskWhole = Callable[[InferenceRequest, Permit, Model], Awaitable[InferenceResult]]
Bring = Callable[[str | None, Deadline | None, str], Awaitable[None]]

_NOT_THE_CROPS = (Draining, Loading, Overloaded)
"""What is nobody's crop's fault: the whole request is answered so, and can be sent again."""


class Chains:
    """Answers requests that name a chain. Belongs to an event loop."""

    def __init__(self, registry: Registry, crops: Crops, ask_whole: AskWhole, bring: Bring, timeout: float) -> None:
        """`ask_whole` is `InferenceService.infer` with a lease, `bring` that service's; `timeout` is in seconds."""
        self._registry = registry
        self._crops = crops
        self._ask_whole = ask_whole
        self._bring = bring
        self._timeout = timeout

    async def infer(self, chain: ChainEntry, request: InferenceRequest, permit: Permit) -> InferenceResult:
        """The first model's answer with the others' in it, as `result.chain`.

        Raises what the first model's answer raises, `ModelNotFound` where a model has gone, and `DeadlineExceeded`; a
        crop that fails by itself has its error in its place. Cancelled, nothing of it waits any more.
        """
        deadline = request.deadline or Deadline.after(self._timeout)
        request = replace(request, deadline=deadline, caching=None)  # what is kept is a model's answer
        with outcome_told(partial(_count, chain, request)), ExitStack() as leases:
            models = {
                name: await self._lease(chain, step, request, leases) for name, step in chain.pipeline.steps.items()
            }
            asked.note(chain.name, chain.pipeline.version)
            run = _Run(chain.pipeline, models, request, permit, self._crops)
            return replace(await run.answer(self._ask_whole), model=chain.name, version=chain.pipeline.version)

    async def _lease(self, chain: ChainEntry, step: Step, request: InferenceRequest, leases: ExitStack) -> Model:
        name, version = step.asked
        try:
            await self._bring(name, request.deadline, request.source)
            return leases.enter_context(self._registry.lease(name, version, request.key or request.request_id))
        except ModelNotFound as error:
            raise ModelNotFound(f"The chain {chain.name!r} asks {step.model}: {error}") from None


class _Run:
    """One request on its way through a chain."""

    def __init__(
        self, pipeline: Pipeline, models: Mapping[str, Model], request: InferenceRequest, permit: Permit, crops: Crops
    ) -> None:
        self._pipeline = pipeline
        self._models = models
        self._request = request
        self._permit = permit
        self._crops = crops
        self._results: dict[str, StepResult] = {}

    async def answer(self, ask_whole: AskWhole) -> InferenceResult:
        """Ask the first model about the whole picture, then the others about what it found."""
        started, first = time.monotonic(), self._pipeline.first
        options = _told(self._request.options, self._pipeline.steps[first].options.as_options())
        with self._traced(first):
            whole = await ask_whole(self._of_step(first, options), self._permit, self._models[first])
        self._size = whole.image_size
        self._results[first] = StepResult(first, whole.model, whole.version, 1, 1, 0, 1, whole.timings, whole.total)
        nested = await self._ask_on(first, whole)
        steps = [self._results.get(name) or self._unasked(name) for name in self._pipeline.steps]
        return replace(whole, total=time.monotonic() - started, chain=ChainResult(steps, nested))

    async def _ask_on(self, first: str, whole: InferenceResult) -> Nested:
        """Cut out what all steps will look at that are on the first, from one decode, and ask them."""
        followers = self._pipeline.after(first)
        if not followers:
            return ()
        nested: Nested = tuple({} for _ in range(count(whole.prediction)))
        findings = list(found_in(whole.prediction, nested, Region(0, 0, *whole.image_size)))
        places = {name: self._chosen(name, findings) for name in followers}
        regions = list(dict.fromkeys(region for found in places.values() for _, region in found))
        if regions:
            header, trace = image.read_header(self._request.image), tracing.sampled_context()
            admitted, model = AdmittedRequest(self._request, header, trace), self._models[followers[0]]
            reduce = len(self._pipeline.steps) == 2 and model.task.name not in FINDS
            async with self._crops.cut(admitted, regions, self._permit, model, reduce=reduce) as pictures:
                parts = {region: Part(region, picture) for region, picture in zip(regions, pictures, strict=True)}
                await _together(
                    self._step(name, [(finding, parts[region]) for finding, region in found])
                    for name, found in places.items()
                )
        return nested

    def _chosen(self, name: str, findings: Sequence[Finding]) -> list[tuple[Finding, Region]]:
        """What a step asks about of these findings; how many there were is noted."""
        step = self._pipeline.steps[name]
        found = fitting(step, findings)
        self._results[name] = self._unasked(name, len(found))
        return found[: step.max_crops]

    async def _step(self, name: str, crops: Sequence[tuple[Finding, Part]]) -> None:
        """Ask a step's model about these parts, and then the steps that are on it."""
        if not crops:
            return
        if self._pipeline.steps[name].crop == "quad":
            async with self._straightened(name, crops) as straight:
                await self._ask(name, straight)
        else:
            await self._ask(name, crops)

    @asynccontextmanager
    async def _straightened(
        self, name: str, crops: Sequence[tuple[Finding, Part]]
    ) -> AsyncIterator[Sequence[tuple[Finding, Part]]]:
        """What lies within turned boxes, for the length of the `with` block."""
        size = sum(straightened_bytes(finding) for finding, _ in crops)
        self._permit.take_bytes(size)
        try:

            def straighten() -> list[tuple[Finding, Part]]:
                return [(finding, straightened(finding, part)) for finding, part in crops]

            yield await self._crops.work(self._request, straighten, self._permit, self._models[name])
        finally:
            self._permit.give_back_bytes(size)

    async def _ask(self, name: str, crops: Sequence[tuple[Finding, Part]]) -> None:
        started, model = time.monotonic(), self._models[name]
        options = self._pipeline.steps[name].options.as_options()
        request = self._of_step(name, options)
        with self._traced(name, len(crops)):
            answers = await self._crops.ask(request, [part.picture for _, part in crops], self._permit, model)
        for answer in answers:
            if isinstance(answer, _NOT_THE_CROPS):
                raise answer
        self._note(name, answers, time.monotonic() - started)
        findings: list[Finding] = []
        for (finding, part), answer in zip(crops, answers, strict=True):
            finding.into[name] = said = _answer_of(part.region, answer, model, self._size)
            findings += _next_findings(model, finding, part, said)
        await _together(self._step_on(follower, findings) for follower in self._pipeline.after(name))

    async def _step_on(self, name: str, findings: Sequence[Finding]) -> None:
        """Ask about parts of parts, or about the same ones again."""
        step = self._pipeline.steps[name]
        chosen = self._chosen(name, findings)
        await self._step(
            name, [(finding, Part(region, cut_again(step, finding, region))) for finding, region in chosen]
        )

    def _of_step(self, name: str, options: Options) -> InferenceRequest:
        model = self._models[name]
        return replace(self._request, model=model.name, version=model.version, options=options)

    def _traced(self, name: str, crops: int | None = None) -> AbstractContextManager[Any]:
        model = self._models[name]
        return tracing.chain_step(name, model.name, model.version, crops)

    def _unasked(self, name: str, found: int = 0) -> StepResult:
        model, limit = self._models[name], self._pipeline.steps[name].max_crops
        return StepResult(name, model.name, model.version, found, 0, 0, limit, _NO_TIME, 0.0)

    def _note(self, name: str, answers: Sequence[Answer | RequestError], total: float) -> None:
        there = [answer.timings for answer in answers if isinstance(answer, Answer)]
        self._results[name] = replace(
            self._results[name],
            asked=len(answers),
            failed=len(answers) - len(there),
            timings=_mean(there),
            total=total,
        )


def _answer_of(region: Region, answer: Answer | RequestError, model: Model, whole: Size) -> CropAnswer:
    if isinstance(answer, RequestError):
        return CropAnswer(region, model.task.labels, error=answer)
    prediction = model.task.moved(answer.prediction, region, whole)
    nested: Nested = tuple({} for _ in range(count(prediction))) if model.task.name in FINDS else ()
    return CropAnswer(region, model.task.labels, prediction, nested=nested)


def _next_findings(model: Model, finding: Finding, part: Part, said: CropAnswer) -> list[Finding]:
    """What the steps may ask about that are on the one which said this."""
    if said.error is not None:
        return []
    if model.task.name in FINDS:
        return list(found_in(said.prediction, said.nested, part.region, part.picture))
    return [named(finding, part, said.prediction)] if model.task.name in NAMES else []


def _told(asked: Options, otherwise: Options) -> Options:
    """A request's options, where it has none those of the step."""
    said = {field.name: getattr(asked, field.name) for field in fields(asked)}
    return replace(otherwise, **{name: value for name, value in said.items() if value is not None})


def _mean(timings: Sequence[Timings]) -> Timings:
    count = max(1, len(timings))
    return Timings(
        **{field.name: sum(getattr(each, field.name) for each in timings) / count for field in fields(Timings)}
    )


_NO_TIME = _mean(())


async def _together(steps: Iterable[Coroutine[Any, Any, None]]) -> None:
    """All at once; at the first error the others are cancelled, and it is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _count(chain: ChainEntry, request: InferenceRequest, outcome: str) -> None:
    metrics.chains.add(1, (request.source, chain.name, outcome))
