"""From received pictures to the response: each through the core, then JSON, drawn, or both."""

import asyncio
import time
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app import errors
from app.api import negotiation, problems
from app.api.mixed import MixedResponse, Part
from app.api.negotiation import Reply
from app.api.uploads import ReceivedBody, Upload
from app.core.admission import Permit
from app.core.request import Caching, Deadline, InferenceRequest, InferenceResult
from app.core.service import InferenceService
from app.vision import image
from app.vision.detection import Detections
from app.vision.maps import Maps
from app.wire.notes import notes_of
from app.wire.rendering import DrawnType, Renderer
from app.wire.telling import to_wire

MANY_DETECTIONS = 500
POINTS_A_DETECTION = 3
"""So many keypoints take as long to be written as a detection does."""
"""So many take the event loop a millisecond to write; ten thousand would take it 27."""
AT_ONCE_BYTES = 64 * 1024
"""A larger answer is waited for until the client has taken most of it, so that its room is held for so long."""


class Call:
    """What all pictures of one HTTP request have in common."""

    def __init__(
        self,
        service: InferenceService,
        permit: Permit,
        request_id: str,
        model: str | None,
        version: str | None,
        key: str | None = None,
        caching: Caching | None = None,
    ) -> None:
        """Where versions share the traffic it goes with others of its `key`; all its pictures go to one version."""
        self.request_id = request_id
        self._arrived = time.monotonic()
        self._service = service
        self._permit = permit
        self._model = model
        self._version = version
        self._key = key or request_id
        self._caching = caching
        self.ages: list[float | None] = []
        """Of each picture's answer, how old it is in seconds; None where it was computed now."""

    async def answer(self, body: ReceivedBody, renderer: Renderer, reply: Reply) -> Response:
        """The response to all of it; raises the `RequestError` that says why there is none."""
        self._permit.priority = body.options.core_priority()  # a form or JSON may say another than the address did
        self._options = body.options.vision_options()
        deadline_ms = body.options.deadline_ms
        if deadline_ms is None:
            self._deadline = Deadline.after(self._service.limits.timeout)
        else:
            self._deadline = Deadline(self._arrived + deadline_ms / 1e3)
        if reply.drawn is not None:
            if reply.json:
                return await self._mixed(body, renderer, reply.drawn)
            return await self._drawn(body, renderer, reply.drawn)
        if body.single:
            result = await self._infer(body.uploads[0], 0)
            return Response(await _written(to_wire, result), media_type=negotiation.JSON)
        answers = await self._ask(body.uploads)
        try:
            return Response(await self._list(body.uploads, answers), media_type=negotiation.JSON)
        finally:
            answers.clear()  # see `_ask`

    async def _infer(self, upload: Upload, index: int) -> InferenceResult:
        if isinstance(upload.content, errors.RequestError):
            raise copy(upload.content)  # raised itself it would lead to this frame, and so to itself
        result = await self._service.infer(
            InferenceRequest(
                image=upload.content,
                request_id=f"{self.request_id}/{index}" if index else self.request_id,
                model=self._model,
                version=self._version,
                options=self._options,
                deadline=self._deadline,
                key=self._key,
                caching=self._caching,
            ),
            self._permit,
        )
        self.ages.append(result.age)
        return result

    async def _ask(self, uploads: list[Upload]) -> list[InferenceResult | BaseException]:
        """Every picture gets its own answer; where all fail for one reason, that is the request's.

        Whoever takes the list clears it: errors hold the frames that they came through, and those the list; without a
        cut all pictures would live on until the garbage collector finds the ring.
        """
        answers = await asyncio.gather(
            *(self._infer(upload, index) for index, upload in enumerate(uploads)), return_exceptions=True
        )
        try:
            _raise_common(answers)
        except BaseException:
            answers.clear()
            raise
        return answers

    async def _list(self, uploads: list[Upload], answers: list[InferenceResult | BaseException]) -> bytes:
        items = []
        for upload, answer in zip(uploads, answers, strict=True):
            if isinstance(answer, InferenceResult):
                items.append(await _written(partial(_with_id, upload.id), answer))
            else:
                items.append(to_json({"id": upload.id, "prediction": None, "error": self._problem(answer)}))
            await asyncio.sleep(0)  # many boxes take a while to write: others have their turn in between
        return b'{"results":[%s]}' % b",".join(items)

    def _problem(self, answer: BaseException) -> dict[str, Any]:
        assert isinstance(answer, errors.RequestError)
        return problems.problem_of(answer, self.request_id).model_dump()

    async def _mixed(self, body: ReceivedBody, renderer: Renderer, media_type: DrawnType) -> Response:
        """The JSON, then each picture drawn, or the problem that it has instead."""
        uploads, answers = body.uploads, await self._ask(body.uploads)
        try:
            if body.single:
                assert isinstance(answers[0], InferenceResult)
                text = await _written(to_wire, answers[0])
            else:
                text = await self._list(uploads, answers)
            pictures = await self._draw_all(uploads, answers, renderer, media_type)
        finally:
            answers.clear()
        try:
            _raise_common(pictures)
            parts = [self._part(index, picture, media_type) for index, picture in enumerate(pictures)]
        finally:
            pictures.clear()
        return MixedResponse([Part(negotiation.JSON, "answer", text), *parts])

    async def _draw_all(
        self,
        uploads: list[Upload],
        answers: list[InferenceResult | BaseException],
        renderer: Renderer,
        media_type: DrawnType,
    ) -> list[bytes | BaseException]:
        """No more at a time than are drawn at once, so that others' turns come in between."""
        turns = asyncio.Semaphore(renderer.workers)

        async def one(upload: Upload, answer: InferenceResult | BaseException) -> bytes | BaseException:
            if isinstance(answer, BaseException):
                return answer
            async with turns:
                return await self._draw(upload, answer, renderer, media_type)

        return list(await asyncio.gather(*map(one, uploads, answers), return_exceptions=True))

    def _part(self, index: int, picture: bytes | BaseException, media_type: str) -> Part:
        if isinstance(picture, bytes):
            return Part(media_type, str(index), picture)
        return Part(problems.MEDIA_TYPE, str(index), to_json(self._problem(picture)))

    async def _draw(self, upload: Upload, answer: InferenceResult, renderer: Renderer, media_type: DrawnType) -> bytes:
        """A picture with its answer; room for the file is taken of the permit."""
        assert isinstance(upload.content, bytes)
        header = image.read_header(upload.content)
        picture = await renderer.draw(
            upload.content,
            header,
            answer.prediction,
            media_type,
            self._deadline,
            answer.levels,
            answer.memory,
            notes_of(answer),
        )
        self._permit.take_bytes(len(picture))
        return picture

    async def _drawn(self, body: ReceivedBody, renderer: Renderer, media_type: DrawnType) -> Response:
        if len(body.uploads) != 1:
            raise errors.NotAcceptable(
                "A drawn answer is one picture; send one, or ask for multipart/mixed or application/json."
            )
        upload = body.uploads[0]
        answer = await self._infer(upload, 0)
        picture = await self._draw(upload, answer, renderer, media_type)
        who = {"Roo-Model": answer.model, "Roo-Version": answer.version}
        return Response(picture, media_type=media_type, headers=who)


def _with_id(identifier: str | None, result: InferenceResult) -> dict[str, Any]:
    return {"id": identifier, "prediction": to_wire(result), "error": None}


async def _written(shape: Callable[[InferenceResult], dict[str, Any]], result: InferenceResult) -> bytes:
    """In JSON; a long result in a thread, which lets the event loop have its turn while it makes the objects."""
    found = result.prediction
    many = isinstance(found, Detections) and (found.masks is not None or _told(found) > MANY_DETECTIONS)
    if many or result.chain is not None or isinstance(found, Maps):
        return await asyncio.to_thread(lambda: to_json(shape(result)))
    return to_json(shape(result))


def _told(found: Detections) -> int:
    """How many objects are made of it: a detection's, and a smaller one for each of its points."""
    points = 0 if found.keypoints is None else len(found.keypoints.names)
    return len(found.labels) * (1 + points // POINTS_A_DETECTION)


def _raise_common(answers: Sequence[object]) -> None:
    """Raise what is nobody's answer, and the error that is everybody's."""
    failures = [answer for answer in answers if isinstance(answer, BaseException)]
    defects = [failure for failure in failures if not isinstance(failure, errors.RequestError)]
    try:
        if defects:
            raise defects[0]
        if len(failures) == len(answers) and len({type(failure) for failure in failures}) == 1:
            raise failures[0].with_traceback(None)
    finally:
        failures.clear()
        defects.clear()


async def hand_over(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send the response; a large one until the client has taken most of it."""
    chunks = response.chunks if isinstance(response, MixedResponse) else [response.body]
    if len(chunks) == 1 and len(chunks[0]) <= AT_ONCE_BYTES:
        await response(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})  # waits while the first is underway
