"""The calls of `GRPCInferenceService`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import grpc

from app.core.health import Health
from app.errors import RequestError
from app.loading.control import ModelControl, Verb, refuse_parameters
from app.oip import metadata
from app.oip.not_offered import METHODS
from app.oip.statistics import statistics
from app.rpc import responses
from app.rpc.answering import Answering
from app.rpc.calls import Context, abort
from app.rpc.messages import SERVICE, message, parse
from app.rpc.stream import Stream


@dataclass(frozen=True, slots=True)
class Inference:
    """What the calls ask through."""

    answering: Answering
    health: Health
    control: ModelControl

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service, for a server."""
        telling = {
            "ServerLive": lambda _: {"live": self.health.live().ok},
            "ServerReady": lambda _: {"ready": self.health.ready().ok},
            "ModelReady": self._model_ready,
            "ServerMetadata": lambda _: metadata.server(),
            "ModelMetadata": self._model_metadata,
            "ModelConfig": self._model_config,
            "ModelStatistics": self._model_statistics,
            "RepositoryIndex": self._index,
        }
        methods = {name: self._unary(name, tell) for name, tell in telling.items()}
        methods["RepositoryModelLoad"] = self._changing("RepositoryModelLoad", "load")
        methods["RepositoryModelUnload"] = self._changing("RepositoryModelUnload", "unload", "unload_dependents")
        methods |= {name: _refusal(words) for name, words in METHODS.items()}
        # These read their messages themselves, within a time.
        methods["ModelInfer"] = grpc.stream_unary_rpc_method_handler(self._infer)
        methods["ModelStreamInfer"] = grpc.stream_stream_rpc_method_handler(self._stream)
        return grpc.method_handlers_generic_handler(SERVICE, methods)

    def _unary(self, name: str, tell: Callable[[Any], dict[str, Any]]) -> grpc.RpcMethodHandler:
        request, response = message(f"{name}Request"), message(f"{name}Response")

        async def answer(content: bytes, context: Context) -> Any:
            async with self.answering.calls.open(name, context):
                return response(**tell(parse(request, content)))

        return grpc.unary_unary_rpc_method_handler(answer, response_serializer=response.SerializeToString)

    def _changing(self, method: str, verb: Verb, *allowed: str) -> grpc.RpcMethodHandler:
        request, response = message(f"{method}Request"), message(f"{method}Response")

        async def answer(content: bytes, context: Context) -> Any:
            async with self.answering.calls.open(method, context) as caller:
                self.control.authorise(caller.admin)
                asked = parse(request, content)
                refuse_parameters({*asked.parameters} - {*allowed})
                # Who asked may go; what was begun is finished.
                await asyncio.shield(asyncio.wrap_future(self.control.ask(verb, asked.model_name)))
                return response()

        return grpc.unary_unary_rpc_method_handler(answer, response_serializer=response.SerializeToString)

    def _model_ready(self, request: Any) -> dict[str, Any]:
        """As Triton answers: a model that is not there is no error, but not ready."""
        try:
            metadata.check(self.answering.asking.service.registry, request.name, request.version or None)
        except RequestError:
            return {"ready": False}
        return {"ready": self.health.ready().ok}

    def _index(self, request: Any) -> dict[str, Any]:
        registry = self.answering.asking.service.registry
        return {"models": metadata.repository_index(registry, ready=request.ready)}

    def _model_metadata(self, request: Any) -> dict[str, Any]:
        registry = self.answering.asking.service.registry
        found = metadata.described(registry, request.name, request.version or None)
        for tensor in (*found["inputs"], *found["outputs"]):
            tensor["parameters"] = {name: {"string_param": value} for name, value in tensor["parameters"].items()}
        return found

    def _model_config(self, request: Any) -> dict[str, Any]:
        registry = self.answering.asking.service.registry
        return {"config": metadata.configured(registry, request.name, request.version or None)}

    def _model_statistics(self, request: Any) -> dict[str, Any]:
        service = self.answering.asking.service
        if not request.name:
            return statistics(service, service.registry)
        version = request.version or None
        registry = service.registry
        chosen = registry.versions(request.name) if version is None else [registry.get(request.name, version)]
        return statistics(service, chosen)

    async def _infer(self, _: AsyncIterator[bytes], context: Context) -> bytes:
        """The answer is returned, not written: gRPC then sends it with the status, in one step instead of two."""
        answering = self.answering
        async with answering.calls.open("ModelInfer", context) as caller:
            with ExitStack() as room:
                permit = room.enter_context(answering.permit(caller))
                content = await answering.read(context)
                call = answering.read_call(content, permit, caller)
                answered = await answering.asking.ask(call, permit, caller.request_id, caller.key)
                answer = responses.inference(call, answered, permit)
                permit.give_back_pictures()
                answering.keep_until_taken(room.pop_all(), context)
                return answer

    async def _stream(self, _: AsyncIterator[bytes], context: Context) -> None:
        async with self.answering.calls.open("ModelStreamInfer", context) as caller:
            await Stream(self.answering, context, caller).run()


def _refusal(words: str) -> grpc.RpcMethodHandler:
    async def refuse(_: bytes, context: Context) -> bytes:
        await abort(context, grpc.StatusCode.UNIMPLEMENTED, words)

    return grpc.unary_unary_rpc_method_handler(refuse)
