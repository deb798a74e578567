"""Every request is measured, traced and told of: one value, one span, one line."""

import logging
import time
from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from app.telemetry import asked, logs, metrics, tracing

log = logging.getLogger(__name__)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUIET = frozenset({"/livez", "/readyz", "/startupz", "/metrics", "/v2/health/live", "/v2/health/ready"})
"""Asked every few seconds by platforms: a line and a span for each would drown the others."""
_UNTIMED = frozenset({"/console/live"})
"""Takes as long as somebody looks, which is nobody's latency."""
_FAILED = 500
_MOST_PATH = 200


class AccessLogMiddleware:
    """Belongs inside `RequestIdMiddleware`, which notes the id and the status of the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry point."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, answered = time.monotonic(), asked.begin()
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        quiet = scope["path"] in _QUIET
        tracing_it = (
            tracing.NOTHING if quiet else tracing.server(method, scope["scheme"], _path(scope), scope["headers"])
        )
        with tracing_it as span:
            try:
                await self._app(scope, receive, send)
            finally:
                seconds = time.monotonic() - started
                _tell(scope, method, seconds, logging.DEBUG if quiet else logging.INFO, answered)
                tracing.tell_model(span, answered)
                tracing.end_server(span, method, _route(scope), _status(scope), scope["state"]["request_id"])


def _tell(scope: Scope, method: str, seconds: float, level: int, answered: Mapping[str, str]) -> None:
    route, status = _route(scope), _status(scope)
    if route not in _UNTIMED:
        metrics.http_seconds.record(seconds, (method, route, status), tracing.sampled_context())
    said: logs.Fields = {"method": method, "route": route, "status": status, "duration_ms": round(seconds * 1e3, 2)}
    fields = {**said, **answered}
    logs.tell(log, level, f"{method} {_path(scope)} {status}", fields)


def _status(scope: Scope) -> int:
    """What was answered; what fell over before an answer began, the server answers with 500."""
    status: int = scope["state"].get("status", _FAILED)
    return status


def _route(scope: Scope) -> str:
    """The template of what was asked for, or nothing where there is no such thing."""
    route = scope.get("route")
    return getattr(route, "path", "") if route is not None else ""


def _path(scope: Scope) -> str:
    """As it was asked for, percent-encoded, without the query, which may hold what should not be written down."""
    path: bytes = scope.get("raw_path", b"")
    return path[:_MOST_PATH].decode("ascii", "replace")
