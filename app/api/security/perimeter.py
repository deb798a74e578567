"""All that is put around the application, from the settings."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from app.api import documentation, problems
from app.api.console import routes as console
from app.api.security.api_keys import ApiKeys
from app.api.security.gate import Doorkeeper, Gate
from app.api.security.rate_limit import RateLimiter
from app.api.security.scheme import Role, Scheme
from app.errors import Forbidden, IdentityUnavailable, RateLimited, RequestError, Unauthorized
from app.settings import Settings

log = logging.getLogger(__name__)

ALWAYS_OPEN = (
    *("/livez", "/startupz", "/readyz", "/v2/health/live", "/v2/health/ready"),
    *documentation.PATHS,
    *console.PATHS,
)
"""Probes, because platforms send no keys; the documentation and the console's program, which are nobody's data."""
METRICS = "/metrics"

_MAY_BE_SENT = (
    "Authorization",
    "Content-Type",
    "Inference-Header-Content-Length",
    "Roo-Sticky",
    "X-Api-Key",
    "X-Request-Id",
)
_MAY_BE_READ = (
    "Age",
    "Cache-Status",
    "Inference-Header-Content-Length",
    "Retry-After",
    "Roo-Model",
    "Roo-Version",
    "WWW-Authenticate",
    "X-Request-Id",
)

RESPONSE_HEADERS = [
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    # A page adds a narrower policy of its own: where there are several, all of them hold.
    (
        "Content-Security-Policy",
        "frame-ancestors 'none'; object-src 'none'; base-uri 'none'; form-action 'self'; connect-src 'self'",
    ),
]
STRICT_TRANSPORT = ("Strict-Transport-Security", "max-age=31536000")


@dataclass(frozen=True)
class Perimeter:
    """What stands around the application. As it comes, it lets everybody in and costs nothing."""

    schemes: tuple[Scheme, ...] = ()
    limiter: RateLimiter | None = None
    cors_origins: tuple[str, ...] = ()
    metrics_open: bool = False

    @property
    def open_paths(self) -> tuple[str, ...]:
        """Paths that anybody may ask for."""
        return (*ALWAYS_OPEN, METRICS) if self.metrics_open else ALWAYS_OPEN

    def doorkeeper(self) -> Doorkeeper:
        """The same gate, for callers that do not come over HTTP."""
        return Doorkeeper(self.schemes, self.limiter)

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """The application with the gate before it, and before that what browsers ask without a key (CORS)."""
        if self.schemes or self.limiter is not None:
            app = Gate(app, self.schemes, self.limiter, self.open_paths, (METRICS,))
        if self.cors_origins:
            app = CORSMiddleware(
                app,
                allow_origins=self.cors_origins,
                allow_methods=("GET", "POST"),
                allow_headers=_MAY_BE_SENT,
                expose_headers=_MAY_BE_READ,
            )
        return app

    @asynccontextmanager
    async def kept_fresh(self) -> AsyncIterator[None]:
        """Keys are renewed in the background inside this block."""
        tasks = [asyncio.create_task(scheme.keep_fresh(), name="keep-keys-fresh") for scheme in self.schemes]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def document(self, openapi: dict[str, Any]) -> None:
        """Say in the OpenAPI document what is asked of callers."""
        schemes = {type(scheme).__name__: scheme.documented for scheme in self.schemes}
        if schemes:
            openapi["components"]["securitySchemes"] = schemes
            openapi["security"] = [{name: []} for name in schemes]
        for path, operations in openapi["paths"].items():
            responses = problems.responses(*self._refusals(), path=path)
            for operation in operations.values():
                if path not in self.open_paths:
                    for status, response in responses.items():
                        operation["responses"].setdefault(str(status), response)
                elif schemes:
                    operation["security"] = []

    def _refusals(self) -> list[type[RequestError]]:
        refusals: list[type[RequestError]] = [Unauthorized, Forbidden, IdentityUnavailable] if self.schemes else []
        return refusals if self.limiter is None else [*refusals, RateLimited]


def build(settings: Settings) -> Perimeter:
    """Put it together; raises `StartupError` where a key file cannot be used."""
    schemes: list[Scheme] = []
    if settings.api_keys_file is not None:
        schemes.append(ApiKeys(settings.api_keys_file))
    if "entra" in settings.auth:
        schemes.append(_tokens(settings))
    limiter = None
    if settings.rate_limit:
        limiter = RateLimiter(settings.rate_limit, settings.rate_burst or max(1, math.ceil(settings.rate_limit)))
    if not schemes and settings.http and settings.host not in ("127.0.0.1", "localhost", "::1"):
        log.warning("auth=none: whoever reaches port %d may ask; ROO_AUTH changes that", settings.port)
    return Perimeter(tuple(schemes), limiter, settings.cors_origins, settings.metrics_open)


def _tokens(settings: Settings) -> Scheme:
    # Cryptography takes a while to import; only those who use it wait for it.
    from app.api.security import signing_keys
    from app.api.security.tokens import Tokens

    keys = signing_keys.SigningKeys(partial(signing_keys.fetch, settings.issuer))
    granted = {
        Role.VIEWER: settings.entra_viewer_roles,
        Role.OPERATOR: settings.entra_operator_roles,
        Role.ADMIN: settings.entra_admin_roles,
    }
    return Tokens(keys, settings.issuer, settings.entra_audience, settings.entra_roles, granted=granted)


def response_headers(settings: Settings) -> list[tuple[str, str]]:
    """What the server puts on every response, its own errors included."""
    return [*RESPONSE_HEADERS, STRICT_TRANSPORT] if settings.environment == "production" else RESPONSE_HEADERS
