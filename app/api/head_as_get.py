"""`HEAD` is answered as `GET` is, without the body (RFC 9110 section 9.3.2): the server leaves that out by itself."""

from starlette.types import ASGIApp, Receive, Scope, Send


class HeadAsGet:
    """Stands right before the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry point."""
        if scope.get("method") != "HEAD":
            await self._app(scope, receive, send)
            return
        asked = {**scope, "method": "GET"}  # a copy: the server goes by the original
        try:
            await self._app(asked, receive, send)
        finally:
            if "route" in asked:
                scope["route"] = asked["route"]
