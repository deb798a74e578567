"""The gRPC port of a real process: who may ask, how it is watched, how it listens and how it ends."""

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
import tritonclient.http.aio as triton_http
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from tests.api.test_auth import OLD, key_file
from tests.e2e.test_lifecycle import in_flight
from tests.fixtures.certificates import certificate
from tests.fixtures.models import add_identity_model, add_slow_colour_model
from tests.fixtures.pictures import solid
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import PATIENCE, until

RED = (255, 0, 0)
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[Server]:
    with serving(repository, default_model="colour", grpc_port=0) as running:
        yield running
        assert "Traceback" not in running.log


@pytest.fixture(scope="module")
def slow_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("slow")
    add_slow_colour_model(root)
    return root


def address(server: Server) -> str:
    return f"127.0.0.1:{server.grpc_port}"


def metrics_of(server: Server) -> str:
    return httpx.get(f"{server.url}/metrics", timeout=PATIENCE).text


def picture() -> triton.InferInput:
    return triton.InferInput("image", [1], "BYTES").set_data_from_numpy(np.array([solid(RED)], object))


def message(model: str) -> service_pb2.ModelInferRequest:
    image = solid(RED)
    content = len(image).to_bytes(4, "little") + image
    request = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=[content])
    request.inputs.add(name="image", datatype="BYTES", shape=[1])
    return request


def test_keys_and_limits_hold_here_too(repository: Path, tmp_path: Path) -> None:
    keys = key_file(tmp_path, f"camera:{OLD}")
    limits = {"auth": "keys", "api_keys_file": keys, "rate_limit": 0.001, "rate_burst": 3}
    with (
        serving(repository, default_model="colour", grpc_port=0, **limits) as server,
        triton.InferenceServerClient(address(server)) as client,
    ):
        assert client.is_server_live()
        assert client.is_server_ready()
        with grpc.insecure_channel(address(server)) as channel:
            checked = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            assert checked.status == SERVING
        for headers in ({}, {"x-api-key": "wrong" * 8}):
            with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
                client.infer("colour", [picture()], headers=headers)
        known = {"x-api-key": OLD}
        assert client.get_server_metadata(headers=known).name == "roo-vision"
        answers: list[str] = []
        client.start_stream(lambda result, error: answers.append("" if error is None else str(error)), headers=known)
        for _ in range(3):
            client.async_stream_infer("colour", [picture()])
        until(lambda: len(answers) == 3)
        client.stop_stream()
        assert [text.partition(" requests")[0] for text in answers] == ["", "", "More than 0.001"]
        with pytest.raises(InferenceServerException, match="RESOURCE_EXHAUSTED"):
            client.infer("colour", [picture()], headers=known)
        with server.client() as http:  # the same bucket, whichever way
            assert http.get("/v1/models", headers=known).status_code == 429


def test_it_describes_itself(server: Server) -> None:
    with grpc.insecure_channel(address(server)) as channel:
        known = ProtoReflectionDescriptorDatabase(channel)
        services = known.get_services()
        assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= set(services)
        for symbol in services:
            assert known.FindFileContainingSymbol(symbol).name


def test_calls_are_counted_and_told_of_with_the_callers_id(server: Server) -> None:
    with triton.InferenceServerClient(address(server)) as client:
        client.infer("colour", [picture()], headers={"x-request-id": "from-the-caller"})
    until(lambda: '"message": "gRPC ModelInfer OK", "request_id": "from-the-caller"' in server.log)
    with server.client() as http:
        text = http.get("/metrics").text
    assert 'rpc_server_call_duration_seconds_count{rpc_method="ModelInfer",rpc_response_status_code="OK"}' in text
    assert 'roo_requests_total{model="colour",outcome="ok",source="grpc",version="2"}' in text


@pytest.mark.parametrize(
    "method",
    [
        "inference.GRPCInferenceService/ServerReady",
        "inference.GRPCInferenceService/ModelMetadata",
        "inference.GRPCInferenceService/ModelStatistics",
        "inference.GRPCInferenceService/ModelInfer",
        "grpc.health.v1.Health/Check",
        "grpc.health.v1.Health/Watch",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ],
)
def test_bytes_that_are_no_message(server: Server, method: str) -> None:
    with grpc.insecure_channel(address(server)) as channel:
        ask = channel.unary_stream(f"/{method}")
        with pytest.raises(grpc.RpcError) as raised:
            list(ask(b"\xff" * 9, timeout=PATIENCE))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert raised.value.details().startswith("The message is no ")


def test_questions_that_reflection_cannot_answer(server: Server) -> None:
    number = reflection_pb2.ExtensionRequest(containing_type="inference.ModelInferRequest", extension_number=-1)
    asked = [
        reflection_pb2.ServerReflectionRequest(),
        reflection_pb2.ServerReflectionRequest(file_by_filename="\0" * 2000),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="..x"),
        reflection_pb2.ServerReflectionRequest(file_containing_extension=number),
        reflection_pb2.ServerReflectionRequest(all_extension_numbers_of_type="nothing"),
        reflection_pb2.ServerReflectionRequest(list_services=""),
    ]
    with grpc.insecure_channel(address(server)) as channel:
        answers = list(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter(asked)))
    assert [answer.HasField("error_response") for answer in answers] == [True] * 5 + [False]


def test_errors_of_a_stream_name_their_message(server: Server) -> None:
    sent = [
        service_pb2.ModelInferRequest(id="no-model"),
        service_pb2.ModelInferRequest(id="odd", model_name="colour", parameters={"odd": {"int64_param": 1}}),
        service_pb2.ModelInferRequest(id="unknown", model_name="nobody"),
    ]
    with grpc.insecure_channel(address(server)) as channel:
        answers = list(service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(iter(sent)))
    assert [answer.infer_response.id for answer in answers] == ["no-model", "odd", "unknown"]
    assert all(answer.error_message for answer in answers)
    assert all(answer.infer_response.parameters["triton_final_response"].bool_param for answer in answers)


def test_a_call_without_a_message_and_a_stream_without_any(server: Server) -> None:
    with grpc.insecure_channel(address(server)) as channel:
        ask = channel.stream_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as raised:
            ask(iter(()))
        assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert list(service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(iter(()))) == []


def test_an_answers_bytes_are_held_until_it_is_taken_but_not_for_ever(tmp_path: Path) -> None:
    add_identity_model(tmp_path, "BYTES")
    element = b"x" * 2**20
    sent = service_pb2.ModelInferRequest(
        model_name="identity_bytes", raw_input_contents=[(len(element).to_bytes(4, "little") + element) * 3]
    )
    sent.inputs.add(name="x", datatype="BYTES", shape=[1, 3])
    limits = {"default_model": "identity_bytes", "grpc_port": 0, "upload_timeout": 3}
    limits |= {"max_image_bytes": 2**20, "max_body_bytes": 2**22, "max_inflight_bytes": 2**23}
    # Without the probe the client's window stays small, and the answer with the service.
    options = [("grpc.max_receive_message_length", -1), ("grpc.http2.bdp_probe", 0)]
    with serving(tmp_path, **limits) as server, grpc.insecure_channel(address(server), options=options) as channel:
        # Asked as a stream, so that nothing reads the answer before somebody wants it.
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelInfer")(iter([sent.SerializeToString()]))
        until(lambda: 'outcome="ok",source="grpc"' in metrics_of(server))
        assert "roo_in_flight 0" in metrics_of(server)  # its places are free already
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

        def refusal() -> str:
            try:
                stub.ModelInfer(sent)
            except grpc.RpcError as error:
                return str(error)
            return ""

        assert "as many bytes as it takes" in refusal()
        until(lambda: not refusal())
        assert next(call).count(element) == 3
        assert call.code() is grpc.StatusCode.OK


async def test_callers_who_go_away_leave_nothing(server: Server) -> None:
    async with grpc.aio.insecure_channel(address(server)) as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

        async def go_away(milliseconds: int) -> None:
            call = ask(message("colour").SerializeToString())
            await asyncio.sleep(milliseconds / 1e3)
            call.cancel()

        for _ in range(8):
            await asyncio.gather(*(go_away(milliseconds) for milliseconds in range(16)))
    await asyncio.to_thread(until, lambda: in_flight(server) == 0)


def test_another_service_on_the_same_port_is_an_error(repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = {"ROO_MODELS_DIR": str(repository), "ROO_PORT": "0", "ROO_HOST": "127.0.0.1"}
        done = subprocess.run(
            [sys.executable, "-m", "app", "serve"],
            env={**os.environ, **settings, "ROO_DEFAULT_MODEL": "colour", "ROO_GRPC_PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert f"Cannot listen for gRPC on 127.0.0.1:{port}" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_without_pictures_over_http_there_is_no_grpc_either(repository: Path) -> None:
    with serving(repository, default_model="colour", grpc_port=0, http="false") as server:
        assert server.grpc_port == 0


def test_tls_by_files(repository: Path, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    files = {"grpc_tls_cert_file": cert, "grpc_tls_key_file": key}
    with serving(repository, default_model="colour", grpc_port=0, **files) as server:
        with triton.InferenceServerClient(address(server), ssl=True, root_certificates=str(cert)) as client:
            assert client.infer("colour", [picture()]).as_numpy("probabilities")[0, 0] == 1
        with triton.InferenceServerClient(address(server)) as client, pytest.raises(InferenceServerException):
            client.get_server_metadata(client_timeout=5)


async def test_the_callers_deadline_holds(slow_models: Path) -> None:
    with serving(slow_models, grpc_port=0) as server:
        async with triton_aio.InferenceServerClient(address(server)) as client:
            with pytest.raises(InferenceServerException, match="DEADLINE_EXCEEDED"):
                await client.infer("slow", [picture()], client_timeout=0.05)
            with pytest.raises(InferenceServerException, match="DEADLINE_EXCEEDED"):
                await client.infer("slow", [picture()], timeout=50_000)
        async with triton_http.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            image = triton_http.InferInput("image", [1], "BYTES")
            image.set_data_from_numpy(np.array([solid(RED)], object))
            with pytest.raises(InferenceServerException, match=r"\[504\] The deadline"):
                await client.infer("slow", [image], timeout=50_000)
        await asyncio.to_thread(until, lambda: in_flight(server) == 0)


async def test_sigterm_loses_nothing_and_ends_streams_and_watches(slow_models: Path) -> None:
    with serving(slow_models, grpc_port=0) as server:
        async with (
            grpc.aio.insecure_channel(address(server)) as channel,
            triton_aio.InferenceServerClient(address(server)) as client,
        ):
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert (await watch.read()).status == SERVING
            stream = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer()
            await stream.write(message("slow"))
            asked = [asyncio.create_task(client.infer("slow", [picture()])) for _ in range(6)]
            await asyncio.to_thread(until, lambda: in_flight(server) == 7)
            server.terminate()
            answers = await asyncio.gather(*asked)
            assert [answer.as_numpy("probabilities")[0, 0] for answer in answers] == [1] * 6
            assert not (await stream.read()).error_message
            with pytest.raises(grpc.aio.AioRpcError, match="shutting down") as raised:
                await stream.read()
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
            async with asyncio.timeout(PATIENCE):
                while await watch.read() is not grpc.aio.EOF:
                    pass
        assert await asyncio.to_thread(server.wait) == 0
        assert "Traceback" not in server.log
