"""The gate before the application. What it refuses has cost a look at the headers: the body is not read."""

import ipaddress
from collections.abc import Collection, Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import problems
from app.api.security.rate_limit import RateLimiter
from app.api.security.scheme import Identity, Role, Scheme
from app.errors import CallerError, Forbidden, Unauthorized
from app.telemetry import metrics

Headers = Sequence[tuple[bytes, bytes]]


class Doorkeeper:
    """Lets through who proves who it is, and not more often than it may, whichever way it comes.

    Without `schemes` everybody may ask, and the network address is whom the limit is for.
    """

    def __init__(self, schemes: Sequence[Scheme], limiter: RateLimiter | None) -> None:
        self._schemes = {scheme.header: scheme for scheme in schemes}
        self._limiter = limiter
        self._hint = "Send " + " or ".join(scheme.hint for scheme in schemes) + "."

    async def admit(self, headers: Headers, host: str, *, counted: bool = True) -> Identity:
        """Who asks, from `host`, an IP address; `headers` have their names in lower case. Raises a `CallerError`."""
        caller = await self._identify(headers) if self._schemes else Identity(address_of(host))
        if counted:
            self.count(caller.name)
        return caller

    def count(self, caller: str) -> None:
        """One request more of theirs; raises `RateLimited`."""
        if self._limiter is not None:
            self._limiter.take(caller)

    async def _identify(self, headers: Headers) -> Identity:
        sent = [(name, value) for name, value in headers if name in self._schemes]
        if len(sent) != 1:
            raise Unauthorized(self._hint if not sent else f"More than one proof of who is asking. {self._hint}")
        name, value = sent[0]
        return await self._schemes[name].identify(value)


class Gate:
    """ASGI middleware with a `Doorkeeper`.

    `open_paths` are answered to anybody, without counting; every other path is guarded, also those that do not exist.
    `uncounted` ones are guarded, but asked for as often as a scraper likes.
    """

    def __init__(
        self,
        app: ASGIApp,
        schemes: Sequence[Scheme],
        limiter: RateLimiter | None,
        open_paths: Collection[str],
        uncounted: Collection[str] = (),
    ) -> None:
        self._app = app
        self._door = Doorkeeper(schemes, limiter)
        self._open = frozenset(open_paths)
        self._uncounted = frozenset(uncounted)
        self._challenges = ", ".join(scheme.challenge for scheme in schemes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry point."""
        if scope["type"] == "lifespan" or scope["path"] in self._open:
            await self._app(scope, receive, send)
            return
        try:
            counted = scope["path"] not in self._uncounted
            caller = await self._door.admit(scope["headers"], _host(scope), counted=counted)
        except CallerError as error:
            await self._refuse(error, scope, receive, send)
            return
        scope["state"]["caller"] = caller.name
        scope["state"]["role"] = caller.role
        await self._app(scope, receive, send)

    async def _refuse(self, error: CallerError, scope: Scope, receive: Receive, send: Send) -> None:
        metrics.refusals.add(1, (error.code,))
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = {}
        if isinstance(error, Unauthorized | Forbidden):
            headers["www-authenticate"] = self._challenges
        response = problems.response_of(error, scope, headers)
        await response(scope, receive, send)


def caller_of(scope: Scope) -> str:
    """Who asks: by key or token where one was shown, else by network address."""
    caller: str | None = scope["state"].get("caller")
    return caller or address_of(_host(scope))


def role_of(scope: Scope) -> Role:
    """What who asks has proven to be; nothing is proven where nobody is asked."""
    role: Role = scope["state"].get("role", Role.CALLER)
    return role


def _host(scope: Scope) -> str:
    return scope["client"][0] if scope.get("client") else "unknown"


def address_of(host: str) -> str:
    """Whom a connection from that IP address is counted to; of IPv6 the network, for one machine has all of it."""
    if ":" in host:
        network = ipaddress.IPv6Address(host.partition("%")[0])
        host = str(network.ipv4_mapped or ipaddress.IPv6Network((network, 64), strict=False))
    return f"address:{host}"
