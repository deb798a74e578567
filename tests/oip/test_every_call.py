"""Every public method of `tritonclient`'s clients is answered, or refused in words; a new one is noticed."""

import gc
import inspect
import warnings
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from tritonclient.utils import InferenceServerException

from app.oip.not_offered import METHODS
from tests.fixtures.server import Server
from tests.fixtures.waiting import until

LOCAL = {
    "close",
    "plugin",
    "register_plugin",
    "unregister_plugin",
    "generate_request_body",
    "parse_response_body",
}
"""They ask nobody."""
ELSEWHERE = {"load_model", "unload_model"}
"""What they do is up to the service's settings; tests of its repository have them."""
MODEL = "identity_fp32"
HANDLE = b"AAAA"
"""Of memory on a GPU, in base64."""


class Client(NamedTuple):
    """One of the four."""

    module: Any
    ports: str

    @property
    def methods(self) -> set[str]:
        kind = self.module.InferenceServerClient
        return {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}


CLIENTS = {
    "http": Client(triton_http, "port"),
    "http.aio": Client(triton_http_aio, "port"),
    "grpc": Client(triton_grpc, "grpc_port"),
    "grpc.aio": Client(triton_grpc_aio, "grpc_port"),
}
Ask = Callable[[Any, Any], Any]
ANSWERED: dict[str, Ask] = {
    "is_server_live": lambda client, _: client.is_server_live(),
    "is_server_ready": lambda client, _: client.is_server_ready(),
    "is_model_ready": lambda client, _: client.is_model_ready(MODEL),
    "get_server_metadata": lambda client, _: client.get_server_metadata(),
    "get_model_metadata": lambda client, _: client.get_model_metadata(MODEL),
    "get_model_config": lambda client, _: client.get_model_config(MODEL),
    "get_model_repository_index": lambda client, _: client.get_model_repository_index(),
    "get_inference_statistics": lambda client, _: client.get_inference_statistics(MODEL),
    "infer": lambda client, module: client.infer(MODEL, [row(module)]),
}
OWN_FORMS = {"async_infer", "async_stream_infer", "start_stream", "stop_stream", "stream_infer"}
"""Asked in a test each, because each client has its own."""
SHARED, TRACES, LOGS = "Shared memory is not", "Trace settings are not", "Log settings are not"
REFUSED: dict[str, tuple[Ask, str]] = {
    "get_system_shared_memory_status": (lambda client, _: client.get_system_shared_memory_status(), SHARED),
    "register_system_shared_memory": (lambda client, _: client.register_system_shared_memory("r", "/k", 4), SHARED),
    "unregister_system_shared_memory": (lambda client, _: client.unregister_system_shared_memory("r"), SHARED),
    "get_cuda_shared_memory_status": (lambda client, _: client.get_cuda_shared_memory_status(), SHARED),
    "register_cuda_shared_memory": (lambda client, _: client.register_cuda_shared_memory("r", HANDLE, 0, 4), SHARED),
    "unregister_cuda_shared_memory": (lambda client, _: client.unregister_cuda_shared_memory(), SHARED),
    "get_trace_settings": (lambda client, _: client.get_trace_settings(), TRACES),
    "update_trace_settings": (lambda client, _: client.update_trace_settings(MODEL, {"trace_rate": "1"}), TRACES),
    "get_log_settings": (lambda client, _: client.get_log_settings(), LOGS),
    "update_log_settings": (lambda client, _: client.update_log_settings({"log_info": True}), LOGS),
}
each_client = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)


def row(module: Any) -> Any:
    return triton_input(module).set_data_from_numpy(np.array([[1, 2, 3]], np.float32))


def triton_input(module: Any) -> Any:
    return module.InferInput("x", [1, 3], "FP32")


async def asked(client: Client, server: Server, ask: Ask) -> Any:
    open_client = client.module.InferenceServerClient(f"127.0.0.1:{getattr(server, client.ports)}")
    try:
        answer = ask(open_client, client.module)
        return await answer if inspect.isawaitable(answer) else answer
    finally:
        closed = open_client.close()
        if inspect.isawaitable(closed):
            await closed
        if client.module is triton_http_aio:
            forget_unread()


def forget_unread() -> None:
    """Collect what that client leaves open where only a status counts, lest it be a warning in another test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@each_client
def test_every_method_is_known(client: Client) -> None:
    known = LOCAL | ELSEWHERE | OWN_FORMS | ANSWERED.keys() | REFUSED.keys()
    assert client.methods - known == set()
    assert ANSWERED.keys() | REFUSED.keys() | ELSEWHERE <= client.methods


@each_client
@pytest.mark.parametrize("method", ANSWERED)
async def test_it_is_answered(client: Client, method: str, protocol_server: Server) -> None:
    answer = await asked(client, protocol_server, ANSWERED[method])
    if method == "infer":
        assert answer.as_numpy("y").tolist() == [[1, 2, 3]]
    else:
        assert answer


@each_client
@pytest.mark.parametrize("method", REFUSED)
async def test_it_is_refused_in_words(client: Client, method: str, protocol_server: Server) -> None:
    ask, words = REFUSED[method]
    with pytest.raises(InferenceServerException) as raised:
        await asked(client, protocol_server, ask)
    status = "[StatusCode.UNIMPLEMENTED]" if client.ports == "grpc_port" else "[404]"
    assert str(raised.value).startswith(f"{status} {words} supported: ")


async def test_infer_without_waiting_over_http(protocol_server: Server) -> None:
    found = await asked(
        CLIENTS["http"],
        protocol_server,
        lambda client, module: client.async_infer(MODEL, [row(module)]).get_result(),
    )
    assert found.as_numpy("y").tolist() == [[1, 2, 3]]


async def test_infer_without_waiting_over_grpc(protocol_server: Server) -> None:
    answers: list[Any] = []

    def ask(client: Any, module: Any) -> None:
        client.async_infer(MODEL, [row(module)], callback=lambda result, error: answers.append(error or result))
        until(lambda: len(answers) == 1)

    await asked(CLIENTS["grpc"], protocol_server, ask)
    assert answers[0].as_numpy("y").tolist() == [[1, 2, 3]]


async def test_a_stream_of_callbacks(protocol_server: Server) -> None:
    answers: list[Any] = []

    def ask(client: Any, module: Any) -> None:
        client.start_stream(lambda result, error: answers.append(error or result))
        client.async_stream_infer(MODEL, [row(module)])
        until(lambda: len(answers) == 1)
        client.stop_stream()

    await asked(CLIENTS["grpc"], protocol_server, ask)
    assert answers[0].as_numpy("y").tolist() == [[1, 2, 3]]


async def test_a_stream_of_asyncio(protocol_server: Server) -> None:
    async def ask(client: Any, module: Any) -> list[Any]:
        async def requests() -> AsyncIterator[dict[str, Any]]:
            yield {"model_name": MODEL, "inputs": [row(module)]}

        return [error or result async for result, error in client.stream_infer(requests())]

    (answer,) = await asked(CLIENTS["grpc.aio"], protocol_server, ask)
    assert answer.as_numpy("y").tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("place", ["/generate", "/generate_stream", "/versions/1/generate"])
def test_what_other_servers_have_is_refused_in_words(protocol_server: Server, place: str) -> None:
    with protocol_server.client() as client:
        answer = client.post(f"/v2/models/{MODEL}{place}", json={"text_input": "a"})
    assert answer.status_code == 404
    assert " is not supported: " in answer.json()["error"]


def test_every_call_of_the_protocol_is_known() -> None:
    """Of gRPC's service, as the client's stub has it."""
    service = triton_grpc.service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    offered = {
        "ServerLive",
        "ServerReady",
        "ModelReady",
        "ServerMetadata",
        "ModelMetadata",
        "ModelInfer",
        "ModelStreamInfer",
        "ModelConfig",
        "ModelStatistics",
        "RepositoryIndex",
        "RepositoryModelLoad",
        "RepositoryModelUnload",
    }
    assert {method.name for method in service.methods} == offered | METHODS.keys()
