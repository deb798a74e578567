"""Models loaded, reloaded and unloaded by request: as Triton's and MLServer's clients ask, and in words of our own."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from app import errors
from app.api import problems
from app.api.security.gate import caller_of, role_of
from app.api.security.origin import refuse_foreign_pages
from app.api.security.scheme import Role
from app.api.small_body import small_object
from app.loading.control import Change, ModelControl, Verb, refuse_parameters
from app.telemetry.audit import Audit
from app.wire.models import ModelChange

ModelName = Annotated[str, Path(examples=["shelf"])]
_REFUSALS = (
    errors.InvalidRequest,
    errors.UploadTimeout,
    errors.Forbidden,
    errors.ModelNotFound,
    errors.CannotLoad,
    errors.Loading,
    errors.Draining,
)
_OF_UNLOADING = {"unload_dependents"}


def router(control: ModelControl, audit: Audit) -> APIRouter:
    """The endpoints that change what is served."""
    routes = APIRouter(tags=["models"])

    async def change(verb: Verb, name: str, request: Request) -> Change:
        authorise(control, request)
        audit.note(caller_of(request.scope), verb, model=name)
        # Who asked may go; what was begun is finished.
        return await asyncio.shield(asyncio.wrap_future(control.ask(verb, name)))

    def ours(verb: Verb) -> Callable[[str, Request], Awaitable[ModelChange]]:
        async def endpoint(name: ModelName, request: Request) -> ModelChange:
            done = await change(verb, name, request)
            return ModelChange(name=done.name, outcome=done.outcome, versions=[*done.versions], seconds=done.seconds)

        return endpoint

    def protocols(verb: Verb, allowed: set[str]) -> Callable[[str, Request], Awaitable[Response]]:
        async def endpoint(name: ModelName, request: Request) -> Response:
            refuse_parameters(await _parameters(request) - allowed)
            await change(verb, name, request)
            return Response()

        return endpoint

    told: dict[Verb, str] = {
        "load": "Load a model, or what has changed of it, beside what answers",
        "reload": "Open a model anew, whether it has changed or not",
        "unload": "Have a model answer no more",
    }
    for verb, summary in told.items():
        path, refusals = f"/v1/models/{{name}}/{verb}", problems.responses(*_REFUSALS)
        routes.add_api_route(path, ours(verb), methods=["POST"], summary=summary, responses=refusals)
    for verb, allowed in (("load", set[str]()), ("unload", _OF_UNLOADING)):
        path = f"{problems.OIP_PREFIX}/repository/models/{{name}}/{verb}"
        refusals = problems.responses(*_REFUSALS, path=path)
        endpoint = protocols(verb, allowed)
        routes.add_api_route(path, endpoint, methods=["POST"], summary=told[verb], responses=refusals)
    return routes


def authorise(control: ModelControl, request: Request) -> None:
    """Raises `Forbidden` where who asks may not change what is served."""
    refuse_foreign_pages(request)
    control.authorise(role_of(request.scope) >= Role.ADMIN)


async def _parameters(request: Request) -> set[str]:
    """The names of the parameters in the body; raises `InvalidRequest` where it is not what the protocol says."""
    parameters = (await small_object(request)).get("parameters") or {}
    if not isinstance(parameters, dict):
        raise errors.InvalidRequest("`parameters` must be an object.")
    return set(parameters)
