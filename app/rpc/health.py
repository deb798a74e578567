"""gRPC's own health service (`grpc.health.v1.Health`): serving while /readyz would say so."""

import asyncio
from collections.abc import AsyncIterator

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from app.core.health import Health
from app.rpc.calls import Context
from app.rpc.messages import SERVICE

LOOK_SECONDS = 0.5
"""How often a watched status is looked at: nothing tells when it changes."""
_KNOWN = ("", SERVICE, "grpc.health.v1.Health")


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
    """Open to anybody, as probes are. Watches end when the server does, for which it would else wait."""

    def __init__(self, health: Health, ending: asyncio.Event) -> None:
        self._health = health
        self._ending = ending

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> health_pb2.HealthCheckResponse:
        """The status now."""
        if request.service not in _KNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"There is no service {request.service[:100]!r}.")
        return self._response()

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The status, and whenever it has changed."""
        if request.service not in _KNOWN:
            yield health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
            await self._ending.wait()
            return
        told = None
        while not self._ending.is_set():
            response = self._response()
            if response.status != told:
                told = response.status
                yield response
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._ending.wait()
            except TimeoutError:
                continue

    def _response(self) -> health_pb2.HealthCheckResponse:
        serving = self._health.ready().ok
        status = health_pb2.HealthCheckResponse
        return status(status=status.SERVING if serving else status.NOT_SERVING)
