"""The FastAPI application, put together from what it is given."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

import app as package
from app.api import control as model_control
from app.api import dead_letters, documentation, inference, operations, problems, releases, session
from app.api import live as live_figures
from app.api.access_log import AccessLogMiddleware
from app.api.body import UploadLimits
from app.api.console import routes as console_page
from app.api.console.examples import Examples
from app.api.head_as_get import HeadAsGet
from app.api.oip import routes as oip
from app.api.oip.schemas import InferRequest
from app.api.predict_first import PredictFirst
from app.api.request_id import RequestIdMiddleware
from app.api.schemas import JsonPredictRequest
from app.api.security.perimeter import Perimeter
from app.core.health import Health
from app.core.rollouts import Rollouts
from app.core.service import InferenceService
from app.host.process import usable_cores
from app.loading.control import ModelControl
from app.telemetry.audit import Audit
from app.wire.dead_letters import Removal, Resubmission
from app.wire.releases import RolloutPlan, SharesChange
from app.wire.rendering import Renderer

DESCRIPTION = """\
Send a picture, get what is on it. `curl --data-binary @shelf.jpg -H 'Content-Type: image/jpeg'
localhost:8000/v1/predict`

Boxes are pixels of the picture you sent (upright, after its EXIF orientation), labels are text, scores are 0 to 1.
Every error is `application/problem+json` (RFC 9457) with a stable `code`.
"""

EVERYBODY = Perimeter()


def create_app(
    service: InferenceService,
    health: Health,
    limits: UploadLimits,
    metrics_text: operations.MetricsText,
    perimeter: Perimeter = EVERYBODY,
    *,
    control: ModelControl | None = None,
    rollouts: Rollouts | None = None,
    examples: Examples | None = None,
    queues: dead_letters.QueueAccess | None = None,
    audit: Audit | None = None,
    live: live_figures.Live | None = None,
    predict: bool = True,
) -> FastAPI:
    """The HTTP front of one service. `metrics_text` gives the answer of `/metrics`, `perimeter` says who may ask,
    `control` and `rollouts` change what is served. With `examples` there is a console, which offers these pictures;
    `queues` lets people look at dead letters and work them off, which `audit` keeps; `live` tells pages the figures of
    now.

    Without `predict` there are only probes, metrics, the list of models, and what changes it.
    """
    renderer = Renderer(usable_cores())
    audit = audit or Audit()

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        application.openapi()  # kept from now on: made for the first who asks, it would hold up all others
        async with perimeter.kept_fresh():
            yield
        renderer.close()

    app = _Application(
        perimeter,
        title="Roo Vision",
        version=package.__version__,
        description=DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    problems.install(app)
    if predict:
        app.predict_first(
            [
                *inference.router(service, limits, renderer).routes,
                *oip.inference(service, limits).routes,
            ]
        )
    app.include_router(oip.descriptions(service, health))
    app.include_router(operations.router(service.registry, health, metrics_text))
    if control is not None:
        app.include_router(model_control.router(control, audit))
        if rollouts is not None:
            app.include_router(releases.router(service.registry, rollouts, control, audit))
    if queues is not None:
        app.include_router(dead_letters.router(queues, audit, service, renderer))
    examples = examples if predict else None
    if examples is not None:
        app.include_router(console_page.router(service.registry, examples))
        app.include_router(session.router(queues))
        if live is not None:
            app.include_router(live_figures.router(live))
    app.include_router(documentation.router(console=examples is not None))
    return app


class _Application(FastAPI):
    """FastAPI, with all that stands around it, and with the schemas documented that only `openapi_extra` refers to,
    which it cannot see by itself.
    """

    def __init__(self, perimeter: Perimeter, **options: Any) -> None:
        super().__init__(**options)
        self._perimeter = perimeter
        self._predict: list[BaseRoute] = []

    def predict_first(self, routes: list[BaseRoute]) -> None:
        """Have these answered before all others, which are asked less; the document knows them too."""
        self._predict = routes
        self.router.routes[:0] = routes

    def build_middleware_stack(self) -> ASGIApp:
        """Around everything, where added middleware would stand inside of what answers unexpected errors."""
        inner = PredictFirst(HeadAsGet(super().build_middleware_stack()), self._predict)
        return RequestIdMiddleware(AccessLogMiddleware(self._perimeter.wrap(inner)))

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document; made once."""
        if self.openapi_schema is not None:
            return self.openapi_schema
        document = super().openapi()
        for model in (
            JsonPredictRequest,
            InferRequest,
            SharesChange,
            RolloutPlan,
            Resubmission,
            Removal,
            problems.Problem,
            problems.InferenceError,
        ):
            schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
            document["components"]["schemas"].update(schema.pop("$defs", {}))
            document["components"]["schemas"][model.__name__] = schema
        self._perimeter.document(document)
        return document
