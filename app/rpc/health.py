"""gRPC's own health service (`grpc.health.v1.Health`): serving while /readyz would say so."""

import asyncio
from collections.abc import AsyncIterator

import grpc
from grpc_health.v1 import health_pb2

from app.core.health import Health
from app.errors import InvalidRequest
from app.rpc.calls import Context, abort
from app.rpc.messages import SERVICE, parse

LOOK_SECONDS = 0.5
"""How often a watched status is looked at: nothing tells when it changes."""
NAME: str = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
_KNOWN = ("", SERVICE, NAME)


class HealthService:
    """Open to anybody, as probes are. Watches end when the server does, for which it would else wait."""

    def __init__(self, health: Health, ending: asyncio.Event) -> None:
        self._health = health
        self._ending = ending

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service, for a server."""
        written = health_pb2.HealthCheckResponse.SerializeToString
        methods = {
            "Check": grpc.unary_unary_rpc_method_handler(self._check, response_serializer=written),
            "Watch": grpc.unary_stream_rpc_method_handler(self._watch, response_serializer=written),
        }
        return grpc.method_handlers_generic_handler(NAME, methods)

    async def _check(self, content: bytes, context: Context) -> health_pb2.HealthCheckResponse:
        """The status now."""
        request = await _read(content, context)
        if request.service not in _KNOWN:
            await abort(context, grpc.StatusCode.NOT_FOUND, f"There is no service {request.service[:100]!r}.")
        return self._response()

    async def _watch(self, content: bytes, context: Context) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """The status, and whenever it has changed."""
        request = await _read(content, context)
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


async def _read(content: bytes, context: Context) -> health_pb2.HealthCheckRequest:
    try:
        return parse(health_pb2.HealthCheckRequest, content)
    except InvalidRequest as error:
        await abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
