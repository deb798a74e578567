"""POST pictures, get predictions, the picture itself with the predictions drawn in, or both."""

from functools import lru_cache
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.datastructures import QueryParams
from starlette.types import Receive, Scope, Send

from app import errors
from app.api import caching as caches
from app.api import negotiation, problems
from app.api.body import UploadLimits
from app.api.hang_up import or_hang_up
from app.api.mixed import MEDIA_TYPE as MIXED
from app.api.replies import Call, hand_over
from app.api.schemas import PredictionList
from app.api.security.gate import caller_of
from app.api.uploads import RAW_TYPES, Uploads, read_head
from app.core.service import InferenceService
from app.wire import stickiness
from app.wire.predict_options import PredictOptions
from app.wire.prediction import Prediction
from app.wire.rendering import Renderer

_BINARY = {"schema": {"type": "string", "format": "binary"}}

OPENAPI = {
    "parameters": [stickiness.DOCUMENTED],
    "requestBody": {
        "required": True,
        "content": {
            **dict.fromkeys(RAW_TYPES, _BINARY),
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "image": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        **PredictOptions.model_json_schema()["properties"],
                    },
                    "required": ["image"],
                }
            },
            "application/json": {"schema": {"$ref": "#/components/schemas/JsonPredictRequest"}},
        },
    },
}

RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "One prediction for a raw picture, a list for a multipart or JSON body; a drawn picture; or "
        "both, for several pictures too: first a part with the JSON, then one for each picture, in their order, which "
        "is a problem where it could not be drawn.",
        "content": {"image/jpeg": _BINARY, "image/png": _BINARY, MIXED: _BINARY},
    },
    **problems.responses(*problems.COMPUTING, errors.NotAcceptable),
}

OptionsQuery = Annotated[PredictOptions, Query()]
_NO_OPTIONS = PredictOptions()
MOST_QUERY_BYTES = 2048
_REMEMBERED_BYTES = 256
"""Longest query that is kept: what a stranger sends must not fill the memory."""
ModelName = Annotated[str, Path(examples=["shelf"])]
VersionName = Annotated[str, Path(examples=["1"])]


def router(service: InferenceService, limits: UploadLimits, renderer: Renderer) -> APIRouter:
    """The predict endpoints."""
    routes = APIRouter(tags=["inference"])
    reading = Uploads(limits)
    documented: dict[str, Any] = {
        "openapi_extra": OPENAPI,
        "responses": RESPONSES,
        "response_model": Prediction | PredictionList,
    }

    # FastAPI reads these signatures for its document; `answer` does what they say.
    @routes.post("/v1/predict", summary="Ask the default model", **documented)
    async def predict_default(options: OptionsQuery) -> None: ...

    @routes.post("/v1/models/{name}/predict", summary="Ask a model", **documented)
    async def predict(name: ModelName, options: OptionsQuery) -> None: ...

    @routes.post("/v1/models/{name}/versions/{version}/predict", summary="Ask one version of a model", **documented)
    async def predict_version(name: ModelName, version: VersionName, options: OptionsQuery) -> None: ...

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        head = read_head(scope, receive)
        reply = negotiation.choose(head.accept)
        options = _options(scope["query_string"])
        model, version = scope["path_params"].get("name"), scope["path_params"].get("version")
        key = stickiness.key_in(scope["headers"])
        service.registry.check(model, version)
        with service.admission.permit(options.core_priority(), caller_of(scope)) as permit:
            caching = caches.read(scope["headers"], caller_of(scope)) if service.cache is not None else None
            call = Call(service, permit, scope["state"]["request_id"], model, version, key, caching)
            body = await reading.receive(head, options, permit)
            response = await or_hang_up(scope, call.answer(body, renderer, reply))
            if caching is not None:
                response.headers.update(caches.told(call.ages))
            del body  # the pictures are not needed for sending what was made of them
            await hand_over(response, scope, receive, send)

    for route in routes.routes:
        # In place of FastAPI's: its general resolver took a quarter of the event loop's time for a picture, its exit
        # stacks a twentieth; and the permit is held until the answer has been handed over.
        assert isinstance(route, APIRoute)
        route.app = answer
    return routes


def _options(query: bytes) -> PredictOptions:
    if not query:
        return _NO_OPTIONS
    if len(query) > MOST_QUERY_BYTES:
        raise errors.InvalidRequest(f"The query is longer than the {MOST_QUERY_BYTES} bytes that its options need.")
    return _read_options(query) if len(query) <= _REMEMBERED_BYTES else _read_options.__wrapped__(query)


@lru_cache(maxsize=256)
def _read_options(query: bytes) -> PredictOptions:
    """Callers send the same few queries again and again; reading one takes longer than finding what it said."""
    try:
        said = QueryParams(query)
        named = {"classes": ",".join(said.getlist("classes"))} if "classes" in said else {}
        return PredictOptions.model_validate({**said, **named})
    except ValidationError as error:
        found = [{**item, "loc": ("query", *item["loc"])} for item in error.errors()]
        raise RequestValidationError(found) from None
