"""`X-Request-Id`: the caller's is echoed, or one is made; it stands in every line that is logged about the request."""

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.telemetry import logs
from app.telemetry.request_ids import HEADER, id_for

__all__ = ["HEADER", "RequestIdMiddleware", "id_for", "request_id_of"]


class RequestIdMiddleware:
    """Gives every request an id and every response the header, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry point."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = id_for(scope["headers"])
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        logs.request_id.set(request_id)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                state["status"] = message["status"]
                message["headers"] = [*message.get("headers", ()), (HEADER, request_id.encode())]
            await send(message)

        await self._app(scope, receive, send_with_id)


def request_id_of(request: HTTPConnection) -> str:
    """The id that the middleware gave this request."""
    request_id: str = request.scope["state"]["request_id"]
    return request_id
