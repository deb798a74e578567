"""`X-Request-Id`: the caller's is echoed, or one is made; it stands in every line that is logged about the request."""

import re
import uuid

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.telemetry import logs

HEADER = "x-request-id"
_ACCEPTED = re.compile(rb"[\x21-\x7e]{1,128}")


class RequestIdMiddleware:
    """Gives every request an id and every response the header, errors included."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry point."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _read(scope) or uuid.uuid4().hex
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        logs.request_id.set(request_id)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                state["status"] = message["status"]
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        await self._app(scope, receive, send_with_id)


def request_id_of(request: HTTPConnection) -> str:
    """The id that the middleware gave this request."""
    request_id: str = request.scope["state"]["request_id"]
    return request_id


def _read(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == HEADER.encode() and _ACCEPTED.fullmatch(value):
            return str(value.decode("ascii"))
    return None
