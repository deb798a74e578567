"""gRPC's reflection service (`grpc.reflection.v1alpha`): which services there are, and how their messages look."""

from collections.abc import AsyncIterator

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from app.errors import InvalidRequest
from app.rpc import messages
from app.rpc.calls import Context, abort
from app.rpc.health import NAME as HEALTH


class ReflectionService:
    """Open to anybody. Reads its messages itself: gRPC would log a traceback for bytes that are none."""

    def __init__(self) -> None:
        names = (messages.SERVICE, HEALTH, reflection.SERVICE_NAME)
        self._answering = reflection.aio.ReflectionServicer(names, pool=_described())

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service, for a server."""
        written = reflection_pb2.ServerReflectionResponse.SerializeToString
        method = grpc.stream_stream_rpc_method_handler(self._answer, response_serializer=written)
        return grpc.method_handlers_generic_handler(reflection.SERVICE_NAME, {"ServerReflectionInfo": method})

    async def _answer(
        self, contents: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[reflection_pb2.ServerReflectionResponse]:
        try:
            async for answer in self._answering.ServerReflectionInfo(_parsed(contents), context):
                yield answer
        except InvalidRequest as error:
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))


async def _parsed(contents: AsyncIterator[bytes]) -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
    async for content in contents:
        yield messages.parse(reflection_pb2.ServerReflectionRequest, content)


def _described() -> DescriptorPool:
    """The protocol's messages, and those of the standard services."""
    pool = messages.pool()
    for file in (health_pb2.DESCRIPTOR, reflection_pb2.DESCRIPTOR):
        pool.AddSerializedFile(file.serialized_pb)
    return pool
