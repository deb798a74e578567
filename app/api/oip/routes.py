"""`/v2`: what clients of Triton, KServe and MLServer ask."""

import asyncio
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from app import errors
from app.api import problems
from app.api.body import UploadLimits
from app.api.hang_up import or_hang_up
from app.api.oip import reading, schemas, writing
from app.api.replies import hand_over
from app.api.security.gate import caller_of
from app.api.small_body import small_object
from app.api.uploads import read_head
from app.core.admission import Permit
from app.core.health import Health
from app.core.request import Priority
from app.core.service import InferenceService
from app.oip import metadata
from app.oip.ask import Asking
from app.oip.call import Call
from app.oip.statistics import statistics
from app.wire import stickiness

ModelName = Annotated[str, Path(examples=["shelf"])]
VersionName = Annotated[str, Path(examples=["1"])]

_PREFIX = problems.OIP_PREFIX
_MODEL = "/models/{name}"
_VERSION = "/models/{name}/versions/{version}"


def _errors(*kinds: type[errors.RequestError]) -> dict[int | str, dict[str, Any]]:
    return problems.responses(*kinds, path=_PREFIX)


_NOT_THERE = _errors(errors.ModelNotFound, errors.Loading)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_INDEX: dict[str, Any] = {
    "requestBody": {"content": {"application/json": {"schema": schemas.IndexRequest.model_json_schema()}}}
}
_INFER: dict[str, Any] = {
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/InferRequest"}},
                "application/octet-stream": _BINARY,
            },
        },
        "parameters": [
            stickiness.DOCUMENTED,
            {
                "name": "Inference-Header-Content-Length",
                "in": "header",
                "required": False,
                "description": "Bytes of the JSON, where binary tensors follow it.",
                "schema": {"type": "integer", "minimum": 0},
            },
        ],
    },
    "response_model": schemas.InferResponse,
    "responses": {
        200: {
            "description": "The outputs, as JSON, or as JSON with the tensors behind it.",
            "content": {"application/octet-stream": _BINARY},
        },
        **_errors(*problems.COMPUTING),
    },
}


def inference(service: InferenceService, limits: UploadLimits) -> APIRouter:
    """The endpoints that compute."""
    routes = APIRouter(prefix=_PREFIX, tags=["open inference protocol"])
    asking = Asking(service, limits.images, "http")
    turns = asyncio.Lock()

    # FastAPI reads these signatures for its document; `answer` does what they say.
    @routes.post(_MODEL + "/infer", summary="Ask a model with tensors or pictures", **_INFER)
    async def infer(name: ModelName) -> None: ...

    @routes.post(_VERSION + "/infer", summary="Ask one version of a model with tensors or pictures", **_INFER)
    async def infer_version(name: ModelName, version: VersionName) -> None: ...

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        arrived = time.monotonic()
        head = read_head(scope, receive)
        model, version = scope["path_params"]["name"], scope["path_params"].get("version")
        service.registry.check(model, version)
        request_id, key = scope["state"]["request_id"], stickiness.key_in(scope["headers"])
        with service.admission.permit(Priority.INTERACTIVE, caller_of(scope)) as permit:
            body = await reading.receive(head.body, permit, limits, turns)
            size = reading.json_size(scope["headers"], body)
            async with turns:
                call = await reading.read(body, size, model, version, permit, arrived)
            del body
            response = await or_hang_up(scope, _answer(asking, call, permit, request_id, key, scope))
            del call
            await hand_over(response, scope, receive, send)

    for route in routes.routes:
        assert isinstance(route, APIRoute)
        route.app = answer  # the permit is held until the answer has been handed over
    return routes


async def _answer(
    asking: Asking, call: Call, permit: Permit, request_id: str, key: str | None, scope: Scope
) -> Response:
    answered = await asking.ask(call, permit, request_id, key)
    codings = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding")
    return await writing.respond(call, answered, permit, codings)


def descriptions(service: InferenceService, health: Health) -> APIRouter:
    """The endpoints that tell what is there and how it is."""
    routes = APIRouter(prefix=_PREFIX, tags=["open inference protocol"])
    registry = service.registry

    @routes.get("", summary="What is this server?", response_model=schemas.ServerMetadata)
    async def server() -> dict[str, Any]:
        return metadata.server()

    @routes.get("/health/live", summary="Is the process alive?", responses={503: {"model": schemas.Live}})
    async def live(response: Response) -> schemas.Live:
        return schemas.Live(live=_told(response, health.live().ok))

    @routes.get("/health/ready", summary="Should it get traffic?", responses={503: {"model": schemas.Ready}})
    async def ready(response: Response) -> schemas.Ready:
        return schemas.Ready(ready=_told(response, health.ready().ok))

    @routes.get("/models/stats", summary="How often was each model asked?", response_model=schemas.Statistics)
    async def all_statistics() -> dict[str, Any]:
        return statistics(service, registry)

    @routes.post(
        "/repository/index",
        summary="What is loaded?",
        response_model=list[schemas.IndexEntry],
        responses=_errors(errors.InvalidRequest, errors.UploadTimeout),
        openapi_extra=_INDEX,
    )
    async def index(request: Request) -> list[dict[str, str]]:
        ready = (await small_object(request)).get("ready", False)
        if not isinstance(ready, bool):
            raise errors.InvalidRequest("`ready` must be true or false.")
        return metadata.repository_index(registry, ready=ready)

    def of_a_model(suffix: str, summary: str, tell: Callable[[str, str | None], Any], model: Any) -> None:
        async def newest(name: ModelName) -> Any:
            return tell(name, None)

        async def one_version(name: ModelName, version: VersionName) -> Any:
            return tell(name, version)

        for path, endpoint in ((_MODEL, newest), (_VERSION, one_version)):
            routes.add_api_route(path + suffix, endpoint, summary=summary, responses=_NOT_THERE, response_model=model)

    def describe(name: str, version: str | None) -> dict[str, Any]:
        return metadata.described(registry, name, version)

    def model_ready(name: str, version: str | None) -> JSONResponse:
        metadata.check(registry, name, version)
        ok = health.ready().ok
        return JSONResponse({"name": name, "ready": ok}, HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE)

    def configuration(name: str, version: str | None) -> dict[str, Any]:
        return metadata.configured(registry, name, version)

    def model_statistics(name: str, version: str | None) -> dict[str, Any]:
        chosen = registry.versions(name) if version is None else [registry.get(name, version)]
        return statistics(service, chosen)

    of_a_model("", "Describe a model's inputs and outputs", describe, schemas.ModelMetadata)
    of_a_model("/ready", "Should a model get traffic?", model_ready, schemas.Ready)
    of_a_model("/config", "A model's configuration, as Triton tells it", configuration, dict[str, Any])
    of_a_model("/stats", "How often was a model asked?", model_statistics, schemas.Statistics)
    return routes


def _told(response: Response, ok: bool) -> bool:
    response.status_code = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
    return ok
