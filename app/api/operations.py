"""What operators and platforms ask: is it alive, is it ready, what does it serve, how is it doing."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.api import problems
from app.core.health import Health, Probe
from app.core.model import Model
from app.core.registry import Registry
from app.errors import ModelNotFound, RequestError
from app.repository.pipeline import ChainEntry
from app.wire.models import FailedModel, ModelInfo, ModelList, to_chain_info, to_model_info

MetricsText = Callable[[str], tuple[bytes, str]]
"""From an `Accept` header to the metrics and their media type."""


class ProbeAnswer(BaseModel):
    """What a probe says: whether all is well, and how each part is."""

    status: str
    checks: dict[str, str]


def router(registry: Registry, health: Health, metrics_text: MetricsText) -> APIRouter:
    """Probes, the model list and metrics."""
    routes = APIRouter(tags=["operations"])
    unavailable: dict[int | str, dict[str, Any]] = {
        503: {"model": ProbeAnswer, "description": "Not now; the checks say why."}
    }

    @routes.get("/livez", summary="Is the process alive?", response_model=ProbeAnswer, responses=unavailable)
    async def livez() -> Response:
        return _answer(health.live())

    @routes.get("/startupz", summary="Has the start finished?", response_model=ProbeAnswer, responses=unavailable)
    async def startupz() -> Response:
        return _answer(health.started())

    @routes.get("/readyz", summary="Should it get traffic?", response_model=ProbeAnswer, responses=unavailable)
    async def readyz() -> Response:
        return _answer(health.ready())

    @routes.get("/v1/models", summary="What is served?")
    async def models() -> ModelList:
        stale = registry.stale
        failed = [
            FailedModel(name=name, reason=reason, serving=name in stale)
            for name, reason in sorted(registry.failures.items())
        ]
        return ModelList(
            models=[_describe(registry, name) for name in sorted({*registry.names(), *registry.chains})],
            failed=failed,
            not_loaded=registry.away,
        )

    @routes.get("/v1/models/{name}", summary="Describe a model", responses=problems.responses(ModelNotFound))
    async def model(name: Annotated[str, Path(examples=["shelf"])]) -> ModelInfo:
        return _describe(registry, name)

    @routes.get("/metrics", summary="Metrics as Prometheus text or OpenMetrics", response_class=Response)
    def metrics(request: Request) -> Response:  # not async: reading them takes a moment, and runs beside the event loop
        text, media_type = metrics_text(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": media_type})

    return routes


def _answer(probe: Probe) -> JSONResponse:
    status = HTTPStatus.OK if probe.ok else HTTPStatus.SERVICE_UNAVAILABLE
    return JSONResponse({"status": "ok" if probe.ok else "unavailable", "checks": probe.checks}, status)


def _describe(registry: Registry, name: str) -> ModelInfo:
    if (chain := registry.chains.get(name)) is not None:
        return to_chain_info(chain, _first_model(registry, chain), default=registry.is_default(name))
    versions = registry.versions(name)
    return to_model_info(versions, registry.traffic.route(name), default=registry.is_default(name))


def _first_model(registry: Registry, chain: ChainEntry) -> Model | None:
    try:
        return registry.get(*next(chain.pipeline.models()))
    except RequestError:  # it is away until somebody asks it
        return None
