"""Shares and roll-outs, changed and told of by request."""

import asyncio
import logging
import socket
from dataclasses import replace
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Request

from app import errors
from app.api import problems
from app.api.control import authorise
from app.api.security.gate import caller_of
from app.api.small_body import documented, small_model
from app.core.registry import Registry
from app.core.rollouts import Rollouts
from app.loading.control import ModelControl
from app.telemetry.audit import Audit
from app.wire.models import ModelInfo, to_model_info
from app.wire.releases import RolloutPlan, RolloutState, SharesChange, to_rollout

log = logging.getLogger(__name__)

ModelName = Annotated[str, Path(examples=["shelf"])]


_REFUSALS = problems.responses(
    errors.InvalidRequest, errors.UploadTimeout, errors.Forbidden, errors.ModelNotFound, errors.Loading
)
_ROLLOUT = "/v1/models/{name}/rollout"


def router(registry: Registry, rollouts: Rollouts, control: ModelControl, audit: Audit) -> APIRouter:
    """The endpoints; `control` says who may change what is served."""
    routes = APIRouter(tags=["models"])
    told = partial(to_rollout, replica=socket.gethostname())

    @routes.post(
        "/v1/models/{name}/traffic",
        summary="Change the shares of a model's versions",
        responses=_REFUSALS,
        openapi_extra=documented(SharesChange),
    )
    async def change(name: ModelName, request: Request) -> ModelInfo:
        authorise(control, request)
        said = await small_model(request, SharesChange)
        registry.get(name)
        rollouts.refuse_while_running(name)
        if said.traffic is None and said.shadow is None:
            raise errors.InvalidRequest("The body changes nothing: give `traffic`, `shadow` or both.")
        route = registry.traffic.route(name)
        if said.traffic is not None:
            route = route.with_shares(said.traffic)
        if said.shadow is not None:
            route = replace(route, shadow=said.shadow)
        versions = registry.versions(name)
        try:
            route.check([model.version for model in versions])
        except ValueError as error:
            raise errors.InvalidRequest(f"{error}.") from None
        registry.traffic.change(name, route)
        log.info("%s: changed by hand: %s", name, route)
        audit.note(caller_of(request.scope), "share out", model=name, **said.model_dump(exclude_none=True))
        return to_model_info(versions, route, default=registry.is_default(name))

    @routes.post(
        _ROLLOUT,
        summary="Roll a version out step by step, behind guards",
        responses=_REFUSALS,
        openapi_extra=documented(RolloutPlan),
    )
    async def begin(name: ModelName, request: Request) -> RolloutState:
        authorise(control, request)
        plan = await small_model(request, RolloutPlan)
        state = told(await asyncio.to_thread(rollouts.begin, name, plan.to, plan.steps, plan.every, plan.guards))
        audit.note(caller_of(request.scope), "begin roll-out", model=name, **plan.model_dump())
        return state

    @routes.delete(_ROLLOUT, summary="Stop a roll-out, and go back to the shares before", responses=_REFUSALS)
    async def stop(name: ModelName, request: Request) -> RolloutState:
        authorise(control, request)
        state = told(await asyncio.to_thread(rollouts.stop, name))
        audit.note(caller_of(request.scope), "stop roll-out", model=name)
        return state

    not_told = problems.responses(errors.ModelNotFound, errors.Loading)

    @routes.get(_ROLLOUT, summary="How far is a roll-out?", responses=not_told)
    async def show(name: ModelName) -> RolloutState:
        return told(rollouts.state(name))

    return routes
