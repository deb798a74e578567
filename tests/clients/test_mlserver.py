"""MLServer's types and codecs over REST, its converters and stub over gRPC, and its command `mlserver infer`."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc as grpc_library
import numpy as np
import pytest
from mlserver.codecs import Base64Codec, NumpyCodec, NumpyRequestCodec, StringCodec
from mlserver.grpc import converters
from mlserver.grpc import dataplane_pb2 as messages
from mlserver.grpc import model_repository_pb2 as repository
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from mlserver.types import (
    InferenceErrorResponse,
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataServerResponse,
    Parameters,
    RepositoryIndexResponse,
    RequestInput,
    RequestOutput,
)

from tests.clients.conftest import png
from tests.fixtures.tensors import DTYPES, extremes

ORANGE, BLUE = (255, 128, 0), (0, 0, 255)
NUMBERS = sorted(DTYPES.keys() - {"BYTES"})


@pytest.fixture
def stub(grpc: str) -> Iterator[Any]:
    with grpc_library.insecure_channel(grpc) as channel:
        yield GRPCInferenceServiceStub(channel)


async def get(http: str, path: str) -> bytes:
    async with aiohttp.ClientSession(f"http://{http}") as session, session.get(path) as response:
        assert response.status == 200
        return await response.read()


async def over_rest(http: str, model: str, asked: InferenceRequest, status: int = 200) -> bytes:
    path, headers = f"/v2/models/{model}/infer", {"content-type": "application/json"}
    async with (
        aiohttp.ClientSession(f"http://{http}") as session,
        session.post(path, data=asked.model_dump_json(), headers=headers) as response,
    ):
        content = await response.read()
        assert response.status == status, content
        return content


def over_grpc(stub: Any, model: str, asked: InferenceRequest, *, raw: bool) -> InferenceResponse:
    message = converters.ModelInferRequestConverter.from_types(asked, model, use_raw=raw)
    return converters.ModelInferResponseConverter.to_types(stub.ModelInfer(message))


def numbers(datatype: str, content: Any) -> RequestInput:
    sent = NumpyCodec.encode_input("x", content)
    assert sent.datatype == datatype
    return sent


def pictures(*colours: tuple[int, int, int]) -> RequestInput:
    """As they go into JSON."""
    return Base64Codec.encode_input("image", [png(colour) for colour in colours], use_bytes=False)


def test_every_call_is_known() -> None:
    asked = {"ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelInfer"}
    not_asked = {"ModelStreamInfer", "RepositoryModelLoad", "RepositoryModelUnload"}
    service = messages.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert {method.name for method in service.methods} == asked | {"RepositoryIndex"} | not_asked


def test_what_is_loaded_over_grpc(stub: Any) -> None:
    assert len(stub.RepositoryIndex(repository.RepositoryIndexRequest()).models) > len(DTYPES)


def test_its_streams_are_not_those_of_triton() -> None:
    """It expects other messages than Triton sends, and this service sends Triton's."""
    service = messages.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert service.methods_by_name["ModelStreamInfer"].output_type.name == "ModelInferResponse"


async def test_what_is_told_fits_the_types(http: str) -> None:
    assert MetadataServerResponse.model_validate_json(await get(http, "/v2")).name == "roo-vision"
    described = MetadataModelResponse.model_validate_json(await get(http, "/v2/models/box"))
    assert described.inputs is not None
    assert described.inputs[0].parameters is not None
    assert described.inputs[0].parameters.way == "pictures"  # type: ignore[attr-defined]
    async with aiohttp.ClientSession(f"http://{http}") as session, session.post("/v2/repository/index") as response:
        assert len(RepositoryIndexResponse.model_validate_json(await response.read())) > len(DTYPES)


def test_what_is_told_over_grpc_fits_the_types(stub: Any) -> None:
    assert stub.ServerLive(messages.ServerLiveRequest()).live
    assert stub.ServerReady(messages.ServerReadyRequest()).ready
    assert stub.ModelReady(messages.ModelReadyRequest(name="colour")).ready
    server = converters.ServerMetadataResponseConverter.to_types(stub.ServerMetadata(messages.ServerMetadataRequest()))
    assert server.name == "roo-vision"
    told = stub.ModelMetadata(messages.ModelMetadataRequest(name="box"))
    described = converters.ModelMetadataResponseConverter.to_types(told)
    assert [each.name for each in described.inputs or ()] == ["image", "image"]


async def test_pictures(http: str, stub: Any) -> None:
    asked = InferenceRequest(id="mine", inputs=[pictures(ORANGE, BLUE)], outputs=[RequestOutput(name="probabilities")])
    found = InferenceResponse.model_validate_json(await over_rest(http, "colour", asked))
    assert (found.id, found.model_name, found.model_version) == ("mine", "colour", "2")
    np.testing.assert_allclose(NumpyCodec.decode_output(found.outputs[0]), np.array([ORANGE, BLUE]) / 255, atol=0.01)
    boxes = InferenceResponse.model_validate_json(
        await over_rest(
            http, "box", InferenceRequest(inputs=[pictures(ORANGE)], outputs=[RequestOutput(name="labels")])
        )
    )
    assert StringCodec.decode_output(boxes.outputs[0]) == ["red"]
    image = RequestInput(name="image", shape=[1], datatype="BYTES", data=[png(BLUE)])
    for raw in (True, False):
        found = over_grpc(stub, "colour", InferenceRequest(inputs=[image.model_copy()]), raw=raw)
        assert NumpyCodec.decode_output(found.outputs[0]).tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("raw", [True, False])
def test_pictures_in_base64_over_grpc(stub: Any, raw: bool) -> None:
    asked = InferenceRequest(inputs=[Base64Codec.encode_input("image", [png(BLUE)])])
    assert NumpyCodec.decode_output(over_grpc(stub, "colour", asked, raw=raw).outputs[0]).tolist() == [[0, 0, 1]]


@pytest.mark.parametrize("datatype", NUMBERS)
@pytest.mark.parametrize("rows", [2, 0])
async def test_every_datatype(http: str, stub: Any, datatype: str, rows: int) -> None:
    sent, model = extremes(datatype)[:rows], f"identity_{datatype.lower()}"
    asked = InferenceRequest(inputs=[numbers(datatype, sent)])
    answers = [InferenceResponse.model_validate_json(await over_rest(http, model, asked))]
    answers += [over_grpc(stub, model, InferenceRequest(inputs=[numbers(datatype, sent)]), raw=True)]
    if datatype != "FP16":  # which has no typed contents
        answers += [over_grpc(stub, model, asked, raw=False)]
    for found in answers:
        y = NumpyCodec.decode_output(found.outputs[0])
        assert (y.dtype, y.shape) == (sent.dtype, sent.shape)
        np.testing.assert_array_equal(y, sent)


async def test_text(http: str, stub: Any) -> None:
    text = ["", "a\0b", "é"]
    sent = StringCodec.encode_input("x", text, use_bytes=False)
    sent.shape = [1, 3]
    found = InferenceResponse.model_validate_json(
        await over_rest(http, "identity_bytes", InferenceRequest(inputs=[sent]))
    )
    assert StringCodec.decode_output(found.outputs[0]) == text
    sent = StringCodec.encode_input("x", text)
    sent.shape = [1, 3]
    for raw in (False, True):
        found = over_grpc(stub, "identity_bytes", InferenceRequest(inputs=[sent]), raw=raw)
        assert StringCodec.decode_output(found.outputs[0]) == text


async def test_a_request_codec_and_its_parameters(http: str) -> None:
    asked = NumpyRequestCodec.encode_request(np.zeros((64, 3), np.float32))
    asked.inputs[0].name = "x"
    asked.parameters = Parameters(content_type="np", headers={"x": "y"}, priority=2)  # type: ignore[call-arg]
    found = InferenceResponse.model_validate_json(await over_rest(http, "identity_fp32", asked))
    assert NumpyRequestCodec.decode_response(found).shape == (64, 3)


async def test_errors_fit_the_types(http: str, stub: Any) -> None:
    asked = InferenceRequest(inputs=[numbers("FP32", np.zeros((1, 4), np.float32))])
    told = InferenceErrorResponse.model_validate_json(await over_rest(http, "identity_fp32", asked, 400))
    assert "has the shape [-1, 3]" in str(told.error)
    told = InferenceErrorResponse.model_validate_json(await over_rest(http, "nobody", asked, 404))
    assert "There is no model 'nobody'" in str(told.error)
    with pytest.raises(grpc_library.RpcError, match="has the shape"):
        over_grpc(stub, "identity_fp32", asked, raw=False)


@pytest.mark.parametrize("binary", [True, False])
def test_the_command(http: str, tmp_path: Path, binary: bool) -> None:
    asked, answered = tmp_path / "asked.jsonl", tmp_path / "answered.jsonl"
    lines = [
        InferenceRequest(id=str(number), inputs=[numbers("FP32", np.full((1, 3), number, np.float32))])
        for number in range(20)
    ]
    asked.write_text("".join(line.model_dump_json() + "\n" for line in lines))
    command = [str(Path(sys.executable).with_name("mlserver")), "infer", "-u", http, "-m", "identity_fp32"]
    command += ["-i", str(asked), "-o", str(answered), "-s", "4", "-w", "3"] + ["-b"] * binary
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = [InferenceResponse.model_validate(json.loads(line)) for line in answered.read_text().splitlines()]
    values = {each.id: NumpyCodec.decode_output(each.outputs[0])[0, 0] for each in found}
    assert values == {str(number): number for number in range(20)}
