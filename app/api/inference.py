"""POST pictures, get predictions, or the picture itself with the predictions drawn in."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.datastructures import QueryParams
from starlette.routing import request_response

from app import errors
from app.api import negotiation, problems, uploads
from app.api.request_id import request_id_of
from app.api.schemas import PredictionList, PredictOptions
from app.api.uploads import ReceivedBody, Upload, UploadLimits
from app.core.admission import Permit
from app.core.request import Deadline, InferenceRequest, InferenceResult
from app.core.service import InferenceService
from app.wire.prediction import Prediction, to_wire
from app.wire.rendering import DrawnType, Renderer

T = TypeVar("T")

_BINARY = {"schema": {"type": "string", "format": "binary"}}

OPENAPI = {
    "requestBody": {
        "required": True,
        "content": {
            **dict.fromkeys(uploads.RAW_TYPES, _BINARY),
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"image": {"type": "array", "items": {"type": "string", "format": "binary"}}},
                    "required": ["image"],
                }
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/JsonPredictRequest"}},
        },
    }
}

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One prediction for a raw picture, a list for a multipart or JSON body, or a drawn picture.",
        "content": {"image/jpeg": _BINARY, "image/png": _BINARY},
    },
    **problems.responses(
        errors.InvalidRequest,
        errors.ModelNotFound,
        errors.NotAcceptable,
        errors.UploadTimeout,
        errors.PayloadTooLarge,
        errors.UnsupportedImage,
        errors.InvalidImage,
        errors.ImageTooLarge,
        errors.EngineFailure,
        errors.Loading,
        errors.Overloaded,
        errors.Draining,
        errors.DeadlineExceeded,
    ),
}

OptionsQuery = Annotated[PredictOptions, Query()]
_NO_OPTIONS = PredictOptions()
_REMEMBERED_BYTES = 256
"""Longest query that is kept: what a stranger sends must not fill the memory."""
ModelName = Annotated[str, Path(examples=["shelf"])]
VersionName = Annotated[str, Path(examples=["1"])]


class _PredictRoute(APIRoute):
    """FastAPI documents the endpoint's parameters; they are read here, and nothing is kept open for dependencies.

    Its general resolver took a quarter of the event loop's time for a picture, its exit stacks a twentieth.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.app = request_response(self.get_route_handler())

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request to this route."""
        endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            response: Response = await endpoint(request, options=_options(request), **request.path_params)
            return response

        return handle


def router(service: InferenceService, limits: UploadLimits, renderer: Renderer) -> APIRouter:
    """The predict endpoints."""
    routes = APIRouter(tags=["inference"], route_class=_PredictRoute)

    async def respond(request: Request, options: PredictOptions, model: str | None, version: str | None) -> Response:
        media_type = negotiation.choose(request.headers.get("accept"))
        service.registry.get(model, version)
        with service.admission.permit(options.core_priority()) as permit:
            body = await uploads.receive(request, options, permit, limits)
            permit.priority = body.options.core_priority()  # a JSON body may say another
            call = _Call(service, permit, request_id_of(request), model, version, body.options)
            if media_type is not None:
                return await _or_hang_up(request, _drawn(call, body, renderer, media_type))
            if body.single:
                result = await _or_hang_up(request, call.infer(body.uploads[0], 0))
                return _json(to_wire(result))
            return _json(await _or_hang_up(request, _several(call, body.uploads)))

    documented: dict[str, Any] = {
        "openapi_extra": OPENAPI,
        "responses": RESPONSES,
        "response_model": Prediction | PredictionList,
    }

    @routes.post("/v1/predict", summary="Ask the default model", **documented)
    async def predict_default(request: Request, options: OptionsQuery) -> Response:
        return await respond(request, options, None, None)

    @routes.post("/v1/models/{name}/predict", summary="Ask a model", **documented)
    async def predict(request: Request, name: ModelName, options: OptionsQuery) -> Response:
        return await respond(request, options, name, None)

    @routes.post("/v1/models/{name}/versions/{version}/predict", summary="Ask one version of a model", **documented)
    async def predict_version(
        request: Request, name: ModelName, version: VersionName, options: OptionsQuery
    ) -> Response:
        return await respond(request, options, name, version)

    return routes


def _options(request: Request) -> PredictOptions:
    query: bytes = request.scope["query_string"]
    if not query:
        return _NO_OPTIONS
    return _read_options(query) if len(query) <= _REMEMBERED_BYTES else _read_options.__wrapped__(query)


@lru_cache(maxsize=256)
def _read_options(query: bytes) -> PredictOptions:
    """Callers send the same few queries again and again; reading one takes longer than finding what it said."""
    try:
        return PredictOptions.model_validate(dict(QueryParams(query)))
    except ValidationError as error:
        found = [{**item, "loc": ("query", *item["loc"])} for item in error.errors()]
        raise RequestValidationError(found) from None


class _Call:
    """What all pictures of one HTTP request have in common."""

    def __init__(
        self,
        service: InferenceService,
        permit: Permit,
        request_id: str,
        model: str | None,
        version: str | None,
        options: PredictOptions,
    ) -> None:
        self.request_id = request_id
        self._service = service
        self._permit = permit
        self._model = model
        self._version = version
        self._options = options
        self._deadline = None if options.deadline_ms is None else Deadline.after(options.deadline_ms / 1e3)

    async def infer(self, upload: Upload, index: int) -> InferenceResult:
        """One picture through the core; raises its `RequestError`."""
        if isinstance(upload.content, errors.InvalidRequest):
            raise upload.content
        return await self._service.infer(
            InferenceRequest(
                image=upload.content,
                request_id=f"{self.request_id}/{index}" if index else self.request_id,
                model=self._model,
                version=self._version,
                options=self._options.vision_options(),
                deadline=self._deadline,
            ),
            self._permit,
        )


async def _several(call: _Call, pictures: list[Upload]) -> dict[str, Any]:
    """Every picture gets its own answer; where the service took none of them for now, the request as a whole is
    refused.
    """
    answers = await asyncio.gather(
        *(call.infer(upload, index) for index, upload in enumerate(pictures)), return_exceptions=True
    )
    for answer in answers:
        if isinstance(answer, BaseException) and not isinstance(answer, errors.RequestError):
            raise answer
    refusals = [answer for answer in answers if isinstance(answer, errors.Overloaded | errors.Draining)]
    if len(refusals) == len(answers):
        raise refusals[0]
    return {"results": [_item(call, upload, answer) for upload, answer in zip(pictures, answers, strict=True)]}


def _item(call: _Call, upload: Upload, answer: InferenceResult | BaseException) -> dict[str, Any]:
    if isinstance(answer, InferenceResult):
        return {"id": upload.id, "prediction": to_wire(answer), "error": None}
    assert isinstance(answer, errors.RequestError)
    problem = problems.problem_of(answer, call.request_id)
    return {"id": upload.id, "prediction": None, "error": problem.model_dump()}


async def _drawn(call: _Call, body: ReceivedBody, renderer: Renderer, media_type: DrawnType) -> Response:
    if len(body.uploads) != 1:
        raise errors.NotAcceptable("A drawn answer is one picture; send one, or ask for application/json.")
    upload = body.uploads[0]
    result = await call.infer(upload, 0)
    assert isinstance(upload.content, bytes)
    return Response(await renderer.draw(upload.content, result.prediction, media_type), media_type=media_type)


def _json(body: dict[str, Any]) -> Response:
    return Response(to_json(body), media_type=negotiation.JSON)


async def _or_hang_up(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do the work unless the client goes away first: then it is cancelled, and its place is free for others."""
    working = asyncio.current_task()
    assert working is not None
    watching = asyncio.ensure_future(_cancel_when_gone(request, working))
    try:
        return await work
    except asyncio.CancelledError:
        if not watching.done() or working.uncancel():
            raise  # not the client but the server ends this request
        raise errors.InvalidRequest("The client closed the connection before the answer was there.") from None
    finally:
        watching.cancel()


async def _cancel_when_gone(request: Request, working: asyncio.Task[Any]) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    working.cancel()
