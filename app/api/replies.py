"""From received pictures to the response: each through the core, then JSON, or the one picture drawn."""

import asyncio
import time
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app import errors
from app.api import negotiation, problems
from app.api.uploads import ReceivedBody, Upload
from app.core.admission import Permit
from app.core.request import Deadline, InferenceRequest, InferenceResult
from app.core.service import InferenceService
from app.vision import image
from app.vision.detection import Detections
from app.wire.prediction import to_wire
from app.wire.rendering import DrawnType, Renderer

MANY_DETECTIONS = 500
"""So many take the event loop a millisecond to write; ten thousand would take it 27."""
AT_ONCE_BYTES = 64 * 1024
"""A larger answer is waited for until the client has taken most of it, so that its room is held for so long."""


class Call:
    """What all pictures of one HTTP request have in common."""

    def __init__(
        self, service: InferenceService, permit: Permit, request_id: str, model: str | None, version: str | None
    ) -> None:
        self.request_id = request_id
        self._arrived = time.monotonic()
        self._service = service
        self._permit = permit
        self._model = model
        self._version = version

    async def answer(self, body: ReceivedBody, renderer: Renderer, drawn: DrawnType | None) -> Response:
        """The response to all of it; raises the `RequestError` that says why there is none."""
        self._permit.priority = body.options.core_priority()  # a form or JSON may say another than the address did
        self._options = body.options.vision_options()
        deadline_ms = body.options.deadline_ms
        if deadline_ms is None:
            self._deadline = Deadline.after(self._service.limits.timeout)
        else:
            self._deadline = Deadline(self._arrived + deadline_ms / 1e3)
        if drawn is not None:
            return await self._drawn(body, renderer, drawn)
        if body.single:
            result = await self._infer(body.uploads[0], 0)
            return Response(await _written(to_wire, result), media_type=negotiation.JSON)
        return Response(await self._several(body.uploads), media_type=negotiation.JSON)

    async def _infer(self, upload: Upload, index: int) -> InferenceResult:
        if isinstance(upload.content, errors.RequestError):
            raise copy(upload.content)  # raised itself it would lead to this frame, and so to itself
        return await self._service.infer(
            InferenceRequest(
                image=upload.content,
                request_id=f"{self.request_id}/{index}" if index else self.request_id,
                model=self._model,
                version=self._version,
                options=self._options,
                deadline=self._deadline,
            ),
            self._permit,
        )

    async def _several(self, uploads: list[Upload]) -> bytes:
        """Every picture gets its own answer; where all fail for one reason, that is the request's."""
        answers = await asyncio.gather(
            *(self._infer(upload, index) for index, upload in enumerate(uploads)), return_exceptions=True
        )
        try:
            _raise_common(answers)
            items = []
            for upload, answer in zip(uploads, answers, strict=True):
                if isinstance(answer, InferenceResult):
                    items.append(await _written(partial(_with_id, upload.id), answer))
                else:
                    items.append(to_json(self._failed(upload, answer)))
                await asyncio.sleep(0)  # many boxes take a while to write: others have their turn in between
            return b'{"results":[%s]}' % b",".join(items)
        finally:
            # Errors hold the frames that they came through, these here too: without a cut all pictures would live on
            # until the garbage collector finds the ring.
            answers.clear()

    def _failed(self, upload: Upload, answer: BaseException) -> dict[str, Any]:
        assert isinstance(answer, errors.RequestError)
        problem = problems.problem_of(answer, self.request_id)
        return {"id": upload.id, "prediction": None, "error": problem.model_dump()}

    async def _drawn(self, body: ReceivedBody, renderer: Renderer, media_type: DrawnType) -> Response:
        if len(body.uploads) != 1:
            raise errors.NotAcceptable("A drawn answer is one picture; send one, or ask for application/json.")
        upload = body.uploads[0]
        result = await self._infer(upload, 0)
        assert isinstance(upload.content, bytes)
        header = image.read_header(upload.content)
        model = self._service.registry.get(self._model, self._version)
        levels, memory = model.input_spec.range, model.memory
        picture = await renderer.draw(
            upload.content, header, result.prediction, media_type, self._deadline, levels, memory
        )
        return Response(picture, media_type=media_type)


def _with_id(identifier: str | None, result: InferenceResult) -> dict[str, Any]:
    return {"id": identifier, "prediction": to_wire(result), "error": None}


async def _written(shape: Callable[[InferenceResult], dict[str, Any]], result: InferenceResult) -> bytes:
    """In JSON; a long result in a thread, which lets the event loop have its turn while it makes the objects."""
    found = result.prediction
    if isinstance(found, Detections) and len(found.labels) > MANY_DETECTIONS:
        return await asyncio.to_thread(lambda: to_json(shape(result)))
    return to_json(shape(result))


def _raise_common(answers: list[InferenceResult | BaseException]) -> None:
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
    if len(response.body) <= AT_ONCE_BYTES:
        await response(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})  # waits while the first is underway
