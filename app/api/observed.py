"""Every request is measured, traced and told of: one value, one span, one line."""

import logging
import time

from opentelemetry.trace import Span
from starlette.types import ASGIApp, Receive, Scope, Send

from app.telemetry import metrics, tracing

log = logging.getLogger(__name__)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_QUIET = frozenset({"/livez", "/readyz", "/startupz", "/metrics"})
"""Asked every few seconds by platforms; a line for each would drown the others."""
_FAILED = 500

Labels = dict[str, str | int]


class ObservedMiddleware:
    """Belongs inside `RequestIdMiddleware`, which notes the id and the status of the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._labels: dict[tuple[str, str, int], Labels] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry point."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.monotonic()
        with tracing.server(scope["method"], scope["headers"]) as span:
            try:
                await self._app(scope, receive, send)
            finally:
                self._tell(scope, time.monotonic() - started, span)

    def _tell(self, scope: Scope, seconds: float, span: Span) -> None:
        method: str = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        route = _route(scope)
        status: int = scope["state"].get("status", _FAILED)
        metrics.http_seconds.record(seconds, self._labels_of(method, route, status))
        tracing.end_server(span, method, route, status, scope["state"]["request_id"])
        level = logging.DEBUG if route in _QUIET else logging.INFO
        if log.isEnabledFor(level):
            fields = {"method": method, "route": route, "status": status, "duration_ms": round(seconds * 1e3, 2)}
            path = scope.get("raw_path", b"").decode("ascii", "replace")
            log.log(level, "%s %s %d", method, path, status, extra={"fields": fields})

    def _labels_of(self, method: str, route: str, status: int) -> Labels:
        """Made once for each combination: there are few, and requests are many."""
        key = method, route, status
        if key not in self._labels:
            self._labels[key] = {"http.request.method": method, "http.response.status_code": status}
            if route:
                self._labels[key]["http.route"] = route
        return self._labels[key]


def _route(scope: Scope) -> str:
    """The template of what was asked for, or nothing where there is no such thing."""
    route = scope.get("route")
    return getattr(route, "path", "") if route is not None else ""
