"""`roo-vision predict`: pictures from files, answered here or by a running service."""

import asyncio
import json
import sys
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.assembly import Core, build
from app.client import AsyncClient, ServiceError
from app.commands.common import CONNECT_SECONDS
from app.commands.output.base import Answered, AskedModel, Output, Wanted
from app.commands.output.formats import Outputs
from app.commands.output.lines import to_object
from app.commands.quiet_decoder import quiet_decoder
from app.commands.sources import Source
from app.commands.summary import printable, summary
from app.core.request import Deadline, InferenceRequest, Priority
from app.errors import InvalidRequest, RequestError, StartupError
from app.settings import Settings
from app.vision.class_names import ClassNames
from app.wire.options import RequestOptions
from app.wire.prediction import Prediction
from app.wire.telling import to_wire

AT_ONCE = 8
"""Pictures asked for at the same time: enough to fill the lanes' batches, few enough to hold in memory."""
AHEAD = 4 * AT_ONCE
"""Pictures that are begun while an earlier one is not answered yet: what is written keeps their order."""
PATIENCE_SECONDS = 600.0
WORTH_TRYING = 100
"""From so many pictures on it pays to try first how this machine computes best."""

console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Job:
    """What the command line asks for. `normalized`: boxes as shares of the picture, where the format leaves it open;
    `save_conf`: the score last in YOLO's lines.
    """

    sources: list[Source]
    out: Path | None
    formats: tuple[str, ...]
    json: bool
    url: str | None
    model: str | None
    version: str | None
    options: RequestOptions
    normalized: bool = False
    save_conf: bool = False


class _Predictor(Protocol):
    async def describe(self) -> AskedModel:
        """The model that will answer; raises a `RequestError` where it cannot be told."""

    async def predict(self, name: str, content: bytes) -> Prediction: ...


def read_options(**given: Any) -> RequestOptions:
    """Options of the command line; raises `StartupError` for what no request may say."""
    try:
        return RequestOptions(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        raise StartupError(f"--{str(first['loc'][0]).replace('_', '-')}: {first['msg']}.") from None


def run(job: Job, settings: Settings) -> bool:
    """Answer every picture; True when all were answered. Raises `StartupError` where it cannot begin."""
    if job.out is not None and "drawn" in job.formats:
        _refuse_overwriting(job.sources, job.out)
    with quiet_decoder():
        return asyncio.run(_run(job, settings))


def _refuse_overwriting(sources: list[Source], out: Path) -> None:
    pictures = {source.path.resolve() for source in sources}
    for source in sources:
        if (out / f"{source.name}.jpg").resolve() in pictures:
            raise StartupError(f"--out {out}: the drawn copy would overwrite {source.path}. Give another folder.")


async def _run(job: Job, settings: Settings) -> bool:
    async with _predictor(job, settings) as predictor:
        with closing(await _outputs(job, predictor)) as outputs, _progress(len(job.sources)) as advance:
            limit = asyncio.Semaphore(AT_ONCE)

            async def one(number: int, source: Source) -> Answered | None:
                async with limit:
                    answered = await _one(number, source, predictor, outputs)
                advance()
                return answered

            begun: deque[asyncio.Task[Answered | None]] = deque()
            all_answered = True
            try:
                for number, source in enumerate(job.sources):
                    begun.append(asyncio.create_task(one(number, source)))
                    if len(begun) == AHEAD:
                        all_answered &= _conclude(await begun.popleft(), job, outputs)
                while begun:
                    all_answered &= _conclude(await begun.popleft(), job, outputs)
            finally:
                for task in begun:
                    task.cancel()
            return all_answered


@contextmanager
def _progress(pictures: int) -> Iterator[Callable[[], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=pictures < 2 or not console.is_terminal
    ) as progress:
        task = progress.add_task("pictures", total=pictures)
        yield lambda: progress.advance(task)


async def _outputs(job: Job, predictor: _Predictor) -> Output:
    """What is to be written; before any picture is computed it is clear that it can be."""
    if job.url is not None and job.out is None and job.options.classes is None:
        return Output()  # nothing to find out that a running service does not say with its first answer
    try:
        model = await predictor.describe()
        if job.options.classes is not None:
            ClassNames(model.labels).ids(job.options.classes)
    except RequestError as error:
        raise StartupError(str(error)) from None
    if job.out is None:
        return Output()
    return Outputs(job.formats, Wanted(job.out, model, job.normalized, job.save_conf))


async def _one(number: int, source: Source, predictor: _Predictor, outputs: Output) -> Answered | None:
    try:
        content = await asyncio.to_thread(source.path.read_bytes)
        prediction = await predictor.predict(source.path.name, content)
        answered = Answered(number, source.path, source.file_name, source.name, prediction)
        await asyncio.to_thread(outputs.save, answered, content)
    except (RequestError, OSError) as error:
        line = f"{printable(str(source.path))}: {error}"
        console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
        return None
    return answered


def _conclude(answered: Answered | None, job: Job, outputs: Output) -> bool:
    if answered is None:
        return False
    outputs.append(answered)
    prediction = answered.prediction
    if job.json:
        line = json.dumps(to_object(answered, normalized=job.normalized))
    else:
        path, milliseconds = printable(str(answered.path)), prediction.timings_ms.total
        line = f"{path}: {summary(prediction.model_dump())} ({milliseconds:.0f} ms)"
    sys.stdout.write(line + "\n")
    return True


@asynccontextmanager
async def _predictor(job: Job, settings: Settings) -> AsyncIterator[_Predictor]:
    if job.url is not None:
        key = settings.api_key.get_secret_value() if settings.api_key else None
        async with AsyncClient(
            job.url, api_key=key, timeout=PATIENCE_SECONDS, connect_timeout=CONNECT_SECONDS
        ) as client:
            yield _Remote(client, job)
        return
    settings = settings.model_copy(update={"load": "all", "models_memory": None})
    if len(job.sources) < WORTH_TRYING:
        settings = settings.model_copy(update={"calibrate": False})
    if job.model is not None and settings.model_name is None:  # the others need not be loaded, nor be as they should
        core = build(settings.model_copy(update={"default_model": None}), job.model)
    else:
        core = build(settings)
    await asyncio.to_thread(core.load)
    try:
        yield _Local(core, job)
    finally:
        core.executor.stop(timeout=10.0)


class _Local:
    """The service's own core in this process."""

    def __init__(self, core: Core, job: Job) -> None:
        self._core = core
        self._job = job

    async def describe(self) -> AskedModel:
        registry = self._core.service.registry
        chain = registry.chain(self._job.model, self._job.version)
        asked = (self._job.model, self._job.version) if chain is None else next(chain.pipeline.models())
        model = registry.get(*asked)
        model.task.check_options(self._job.options.vision_options())
        return AskedModel(model.name if chain is None else chain.name, model.task.name, model.task.labels)

    async def predict(self, name: str, content: bytes) -> Prediction:
        request = InferenceRequest(
            image=content,
            request_id=name,
            model=self._job.model,
            version=self._job.version,
            options=self._job.options.vision_options(),
            deadline=Deadline.after(PATIENCE_SECONDS),
            source="cli",
        )
        service = self._core.service
        with service.admission.permit(Priority.INTERACTIVE) as permit:
            return Prediction.model_validate(to_wire(await service.infer(request, permit)))


class _Remote:
    """A running service; its refusals are told as its own words."""

    def __init__(self, client: AsyncClient, job: Job) -> None:
        self._client = client
        self._model, self._version = job.model, job.version
        self._options = job.options.model_dump(exclude_none=True)

    async def describe(self) -> AskedModel:
        with _told():
            if self._model is not None:
                models = [await self._client.model(self._model)]
            else:
                models = [model for model in await self._client.models() if model.default]
        if not models:
            raise InvalidRequest("The service does not say which model answers. Give --model.")
        found = models[0]
        return AskedModel(found.name, found.task, tuple(found.labels))

    async def predict(self, name: str, content: bytes) -> Prediction:
        with _told():
            return await self._client.predict(content, model=self._model, version=self._version, **self._options)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except ServiceError as error:
        raise InvalidRequest(str(error)) from None
