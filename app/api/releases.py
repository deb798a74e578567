"""Shares and roll-outs, changed and told of by request."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path, Request

from app import errors
from app.api import problems
from app.core.registry import Registry
from app.core.rollouts import Rollouts
from app.wire.models import ModelInfo, to_model_info
from app.wire.releases import RolloutPlan, RolloutState, SharesChange, to_rollout

ModelName = Annotated[str, Path(examples=["shelf"])]
Authorise = Callable[[Request], None]
"""Raises `Forbidden` where who asks may not change what is served."""

_REFUSALS = problems.responses(errors.InvalidRequest, errors.Forbidden, errors.ModelNotFound, errors.Loading)
_ROLLOUT = "/v1/models/{name}/rollout"


def router(registry: Registry, rollouts: Rollouts, authorise: Authorise) -> APIRouter:
    """The endpoints."""
    routes = APIRouter(tags=["models"])

    @routes.post("/v1/models/{name}/traffic", summary="Change the shares of a model's versions", responses=_REFUSALS)
    async def change(name: ModelName, said: SharesChange, request: Request) -> ModelInfo:
        authorise(request)
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
        return to_model_info(versions, route, default=registry.is_default(name))

    @routes.post(_ROLLOUT, summary="Roll a version out step by step, behind guards", responses=_REFUSALS)
    async def begin(name: ModelName, plan: RolloutPlan, request: Request) -> RolloutState:
        authorise(request)
        return to_rollout(rollouts.begin(name, plan.to, plan.steps, plan.every, plan.guards))

    @routes.delete(_ROLLOUT, summary="Stop a roll-out, and go back to the shares before", responses=_REFUSALS)
    async def stop(name: ModelName, request: Request) -> RolloutState:
        authorise(request)
        return to_rollout(rollouts.stop(name))

    @routes.get(_ROLLOUT, summary="How far is a roll-out?", responses=problems.responses(errors.ModelNotFound))
    async def show(name: ModelName) -> RolloutState:
        return to_rollout(rollouts.state(name))

    return routes
