"""The working group's own clients, generated from the protocol's documents: open-inference-openapi and -grpc."""

from collections.abc import Callable, Iterator
from typing import Any

import grpc as grpc_library
import pytest
from open_inference.grpc import protocol as messages
from open_inference.grpc.service import GRPCInferenceServiceStub
from open_inference.openapi import types
from open_inference.openapi.client import AsyncOpenInferenceClient, OpenInferenceClient
from open_inference.openapi.errors import BadRequestError, NotFoundError

from tests.fixtures.tensors import DTYPES, extremes

ASKED: dict[str, Callable[[Any], Any]] = {
    "check_server_liveness": lambda client: client.check_server_liveness(),
    "check_server_readiness": lambda client: client.check_server_readiness(),
    "read_server_metadata": lambda client: client.read_server_metadata().name,
    "check_model_readiness": lambda client: client.check_model_readiness("colour"),
    "check_model_version_readiness": lambda client: client.check_model_version_readiness("colour", "1"),
    "read_model_metadata": lambda client: client.read_model_metadata("colour").name,
    "read_model_version_metadata": lambda client: client.read_model_version_metadata("colour", "1").name,
    "model_infer": lambda client: client.model_infer("identity_fp32", request=row()).model_name,
    "model_version_infer": lambda client: client.model_version_infer("identity_fp32", "1", request=row()).model_name,
}
TOLD = {
    "read_server_metadata": "roo-vision",
    "read_model_metadata": "colour",
    "read_model_version_metadata": "colour",
    "model_infer": "identity_fp32",
    "model_version_infer": "identity_fp32",
}
"""What the others tell is that they raise nothing."""


def request(datatype: str, shape: list[int], data: list[Any], name: str = "x") -> Any:
    tensor = types.RequestInput(name=name, shape=shape, datatype=datatype, data=types.TensorData(__root__=data))
    return types.InferenceRequest(inputs=[tensor])


def row() -> Any:
    return request("FP32", [1, 3], [1, 2, 3])


@pytest.fixture
def client(http: str) -> OpenInferenceClient:
    return OpenInferenceClient(base_url=f"http://{http}")


@pytest.fixture
def stub(grpc: str) -> Iterator[Any]:
    with grpc_library.insecure_channel(grpc) as channel:
        yield GRPCInferenceServiceStub(channel)


@pytest.mark.parametrize("kind", [OpenInferenceClient, AsyncOpenInferenceClient])
def test_every_method_is_known(kind: type) -> None:
    assert {name for name in vars(kind) if not name.startswith("_")} == ASKED.keys()


@pytest.mark.parametrize("method", ASKED)
def test_it_is_answered(client: OpenInferenceClient, method: str) -> None:
    assert ASKED[method](client) == TOLD.get(method)


async def test_with_asyncio(http: str) -> None:
    client = AsyncOpenInferenceClient(base_url=f"http://{http}")
    await client.check_server_readiness()
    assert (await client.model_infer("identity_fp32", request=row())).outputs[0].data.__root__ == [1, 2, 3]


@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype(client: OpenInferenceClient, datatype: str) -> None:
    sent = extremes(datatype)
    data = [each.decode() for each in sent.reshape(-1)] if datatype == "BYTES" else sent.reshape(-1).tolist()
    if datatype in ("INT64", "UINT64"):
        data = [1, 2, 2**53 - 1] * 2  # this client makes a fraction of every number, which holds no more
    found = client.model_infer(f"identity_{datatype.lower()}", request=request(datatype, [2, 3], data))
    assert found.outputs[0].data.__root__ == data


def test_errors_are_readable(client: OpenInferenceClient) -> None:
    with pytest.raises(NotFoundError, match="There is no model 'nobody'"):
        client.check_model_readiness("nobody")
    with pytest.raises(BadRequestError, match="has no input 'w'"):
        client.model_infer("identity_fp32", request=request("FP32", [1, 3], [1, 2, 3], "w"))


def test_over_grpc(stub: Any) -> None:
    assert stub.ServerLive(messages.ServerLiveRequest()).live
    assert stub.ServerReady(messages.ServerReadyRequest()).ready
    assert stub.ModelReady(messages.ModelReadyRequest(name="colour")).ready
    assert stub.ServerMetadata(messages.ServerMetadataRequest()).name == "roo-vision"
    assert len(stub.ModelMetadata(messages.ModelMetadataRequest(name="box")).inputs) == 2
    asked = messages.ModelInferRequest(model_name="identity_fp32")
    contents = messages.InferTensorContents(fp32_contents=[1, 2, 3])
    asked.inputs.add(name="x", datatype="FP32", shape=[1, 3], contents=contents)
    assert list(stub.ModelInfer(asked).outputs[0].contents.fp32_contents) == [1, 2, 3]
    assert len(vars(stub)) == 6
