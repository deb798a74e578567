"""`roo-vision predict`: pictures from files, answered here or by a running service."""

import asyncio
import json
import sys
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx
import numpy as np
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.commands.summary import summary
from app.core.request import Deadline, InferenceRequest, Priority
from app.errors import InvalidRequest, RequestError, StartupError
from app.main import Core, build
from app.settings import Settings
from app.vision import drawing, image, segmentation
from app.vision.barcodes import Barcode
from app.vision.classification import Classification
from app.vision.detection import Detections
from app.vision.segmentation import Segmentation
from app.vision.tasks import Options
from app.wire.prediction import AnyPrediction, Prediction, Segmented, to_wire

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
AT_ONCE = 8
"""Pictures asked for at the same time: enough to fill the lanes' batches, few enough to hold in memory."""
PATIENCE_SECONDS = 600.0
WORTH_TRYING = 100
"""From so many pictures on it pays to try first how this machine computes best."""

console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Job:
    """What the command line asks for."""

    pictures: list[Path]
    out: Path | None
    json: bool
    url: str | None
    model: str | None
    score_threshold: float | None


class _Predictor(Protocol):
    async def predict(self, name: str, content: bytes) -> Prediction: ...


def find_pictures(paths: list[Path]) -> list[Path]:
    """The files named, and the pictures inside the folders named; raises `StartupError` where there are none."""
    found: list[Path] = []
    for path in paths:
        found += sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
    if not found:
        raise StartupError(f"No pictures ({', '.join(sorted(SUFFIXES))}) in {', '.join(map(str, paths))}.")
    return found


def run(job: Job, settings: Settings) -> bool:
    """Answer every picture; True when all were answered. Raises `StartupError` where it cannot begin."""
    if job.out is not None:
        job.out.mkdir(parents=True, exist_ok=True)
        _refuse_same_names(job.pictures)
    return asyncio.run(_run(job, settings))


def _refuse_same_names(pictures: list[Path]) -> None:
    stem, count = Counter(path.stem for path in pictures).most_common(1)[0]
    if count > 1:
        raise StartupError(
            f"{count} pictures are called {stem}: their drawn copies would overwrite each other in --out."
        )


async def _run(job: Job, settings: Settings) -> bool:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    limit = asyncio.Semaphore(AT_ONCE)
    async with _predictor(job, settings) as predictor:
        with Progress(*columns, console=console, transient=True, disable=len(job.pictures) < 2) as progress:
            task = progress.add_task("pictures", total=len(job.pictures))

            async def one(path: Path) -> bool:
                async with limit:
                    answered = await _one(path, predictor, job)
                progress.advance(task)
                return answered

            return all(await asyncio.gather(*(one(path) for path in job.pictures)))


async def _one(path: Path, predictor: _Predictor, job: Job) -> bool:
    try:
        content = await asyncio.to_thread(path.read_bytes)
        prediction = await predictor.predict(path.name, content)
        if job.out is not None:
            await asyncio.to_thread(_write_drawn, content, prediction, job.out / f"{path.stem}.jpg")
    except (RequestError, OSError) as error:
        console.print(f"{path}: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return False
    _print(path, prediction, job)
    return True


def _print(path: Path, prediction: Prediction, job: Job) -> None:
    if job.json:
        line = json.dumps({"file": str(path), "prediction": prediction.model_dump()})
    else:
        line = f"{path}: {summary(prediction.model_dump())} ({prediction.timings_ms.total:.0f} ms)"
    sys.stdout.write(line + "\n")


def _write_drawn(content: bytes, prediction: Prediction, target: Path) -> None:
    header = image.read_header(content)
    picture = image.decode(content, header, drawing.canvas_size(header.upright))
    target.write_bytes(drawing.encode(drawing.draw(picture, _to_arrays(prediction)), "image/jpeg"))


def _to_arrays(prediction: Prediction) -> AnyPrediction:
    if prediction.segmentation is not None:
        return _to_segmentation(prediction.segmentation)
    found = prediction.detections if prediction.detections is not None else prediction.classes or []
    scores = np.array([item.score for item in found], np.float32)
    class_ids = np.array([item.class_id for item in found], np.int64)
    labels = tuple(item.label for item in found)
    if prediction.detections is None:
        return Classification(class_ids, scores, labels)
    boxes = np.array([item.box for item in prediction.detections], np.float32).reshape(-1, 4)
    barcodes = tuple(tuple(Barcode(code.text, code.format) for code in item.codes) for item in prediction.detections)
    return Detections(boxes, scores, class_ids, labels, barcodes)


def _to_segmentation(found: Segmented) -> Segmentation:
    try:
        png = b64decode(found.map.png, validate=True)
        class_map = segmentation.decode_map(png)
    except ValueError as error:
        raise InvalidRequest(f"the map in the answer cannot be read: {error}") from None
    return Segmentation(
        class_map=class_map,
        map_box=found.map.box,
        png=png,
        class_ids=np.array([segment.class_id for segment in found.segments], np.int64),
        labels=tuple(segment.label for segment in found.segments),
        shares=np.array([segment.share for segment in found.segments], np.float32),
        boxes=np.array([segment.box for segment in found.segments], np.float32).reshape(-1, 4),
    )


@asynccontextmanager
async def _predictor(job: Job, settings: Settings) -> AsyncIterator[_Predictor]:
    if job.url is not None:
        key = {"x-api-key": settings.api_key.get_secret_value()} if settings.api_key else {}
        async with httpx.AsyncClient(base_url=job.url, headers=key, timeout=PATIENCE_SECONDS) as client:
            yield _Remote(client, job)
        return
    if len(job.pictures) < WORTH_TRYING:
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

    async def predict(self, name: str, content: bytes) -> Prediction:
        request = InferenceRequest(
            image=content,
            request_id=name,
            model=self._job.model,
            options=Options(score_threshold=self._job.score_threshold),
            deadline=Deadline.after(PATIENCE_SECONDS),
            source="cli",
        )
        service = self._core.service
        with service.admission.permit(Priority.INTERACTIVE) as permit:
            return Prediction.model_validate(to_wire(await service.infer(request, permit)))


class _Remote:
    """A running service; its refusals are told as its own words."""

    def __init__(self, client: httpx.AsyncClient, job: Job) -> None:
        self._client = client
        self._path = "/v1/predict" if job.model is None else f"/v1/models/{job.model}/predict"
        self._query = {} if job.score_threshold is None else {"score_threshold": job.score_threshold}

    async def predict(self, name: str, content: bytes) -> Prediction:
        headers = {"content-type": "application/octet-stream"}
        try:
            response = await self._client.post(self._path, params=self._query, content=content, headers=headers)
        except httpx.HTTPError as error:
            raise InvalidRequest(f"{self._client.base_url} cannot be asked: {error}") from None
        if response.is_error:
            raise InvalidRequest(_detail(response))
        try:
            return Prediction.model_validate_json(response.content)
        except ValidationError:
            raise InvalidRequest(f"{self._client.base_url} answered something that is not a prediction.") from None


def _detail(response: httpx.Response) -> str:
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return f"{response.status_code} {response.reason_phrase}"
