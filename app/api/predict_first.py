"""The predict endpoints before everything else that FastAPI puts around an endpoint."""

from collections.abc import Sequence

from fastapi.exceptions import RequestValidationError
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import problems
from app.errors import RequestError


class PredictFirst:
    """Answers what the `routes` match, errors included, and hands everything else to the application.

    On its way to an endpoint FastAPI passes eight layers, each with a wrapped `send`, which none of these endpoints
    needs; they took a sixth of the event loop's time for a picture.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self._app = app
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry point."""
        route = self._matched(scope) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        try:
            await route.handle(scope, receive, send)
        except Exception as error:
            if "status" in scope["state"]:  # too late for another answer
                raise
            if isinstance(error, RequestError):
                response = problems.response_of(error, scope)
            elif isinstance(error, RequestValidationError):
                response = problems.of_validation(error, scope)
            else:
                await problems.unexpected(scope)(scope, receive, send)
                raise  # to the server, which logs it
            await response(scope, receive, send)

    def _matched(self, scope: Scope) -> BaseRoute | None:
        for route in self._routes:
            match, found = route.matches(scope)
            if match is Match.FULL:
                scope.update(found)
                return route
        return None
