"""KServe's inference clients, over REST and gRPC."""

from collections.abc import AsyncIterator
from typing import Any

import grpc as grpc_library
import httpx
import numpy as np
import pytest
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

from tests.clients.conftest import png
from tests.fixtures.tensors import DTYPES, extremes

ORANGE, BLUE = (255, 128, 0), (0, 0, 255)


@pytest.fixture
async def rest() -> AsyncIterator[InferenceRESTClient]:
    async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=30)) as client:
        yield client


@pytest.fixture
async def rpc(grpc: str) -> AsyncIterator[InferenceGRPCClient]:
    async with InferenceGRPCClient(grpc, timeout=30) as client:
        yield client


def tensor(name: str, datatype: str, content: Any, *, binary: bool = True) -> InferInput:
    found = InferInput(name, list(content.shape), datatype)
    found.set_data_from_numpy(content, binary_data=binary)
    return found


def pictures(*colours: tuple[int, int, int]) -> InferInput:
    return tensor("image", "BYTES", np.array([png(colour) for colour in colours], object))


def as_text(elements: Any) -> Any:
    """BYTES as this client gives them over REST."""
    return np.array([[each.decode() for each in row] for row in elements], object).reshape(elements.shape)


def request(model: str, *inputs: InferInput, wanted: str | None = None, **parameters: Any) -> InferRequest:
    outputs = [RequestedOutput(wanted, {"binary_data": True})] if wanted else None
    return InferRequest(model, list(inputs), "mine", parameters=parameters or None, request_outputs=outputs)


def test_every_method_is_known() -> None:
    known = {"close", "infer", "is_model_ready", "is_server_live", "is_server_ready"}
    of_v1 = {"explain"}  # which the client itself refuses in version 2
    assert {name for name in dir(InferenceRESTClient) if not name.startswith("_")} == known | of_v1
    assert {name for name in dir(InferenceGRPCClient) if not name.startswith("_")} == known


async def test_health_over_rest(rest: InferenceRESTClient, http: str) -> None:
    assert await rest.is_server_live(f"http://{http}") is True
    assert await rest.is_server_ready(f"http://{http}") is True
    assert await rest.is_model_ready(f"http://{http}", "colour") is True
    assert await rest.is_model_ready(f"http://{http}", "nobody") is False


async def test_health_over_grpc(rpc: InferenceGRPCClient) -> None:
    assert await rpc.is_server_live() is True
    assert await rpc.is_server_ready() is True
    assert await rpc.is_model_ready("colour") is True
    assert await rpc.is_model_ready("nobody") is False


async def test_pictures_over_rest(rest: InferenceRESTClient, http: str) -> None:
    found = await rest.infer(f"http://{http}", request("colour", pictures(ORANGE, BLUE)), "colour")
    assert (found.id, found.model_name) == ("mine", "colour")
    np.testing.assert_allclose(found.outputs[0].as_numpy(), np.array([ORANGE, BLUE]) / 255, atol=0.01)
    boxes = await rest.infer(f"http://{http}", request("box", pictures(ORANGE), wanted="labels"), "box")
    assert boxes.outputs[0].as_numpy().tolist() == [["red"]]


async def test_pictures_over_grpc(rpc: InferenceGRPCClient) -> None:
    found = await rpc.infer(request("colour", pictures(ORANGE, BLUE)))
    assert (found.id, found.model_name, found.model_version) == ("mine", "colour", "2")
    np.testing.assert_allclose(found.outputs[0].as_numpy(), np.array([ORANGE, BLUE]) / 255, atol=0.01)


@pytest.mark.parametrize("datatype", DTYPES)
@pytest.mark.parametrize("rows", [2, 0])
async def test_every_datatype_over_rest(rest: InferenceRESTClient, http: str, datatype: str, rows: int) -> None:
    sent, model = extremes(datatype)[:rows], f"identity_{datatype.lower()}"
    found = await rest.infer(f"http://{http}", request(model, tensor("x", datatype, sent), wanted="y"), model)
    assert found.outputs[0].as_numpy().dtype == sent.dtype
    np.testing.assert_array_equal(found.outputs[0].as_numpy(), as_text(sent) if datatype == "BYTES" else sent)


@pytest.mark.parametrize("datatype", sorted(DTYPES.keys() - {"FP16"}))  # which the client itself refuses to write
async def test_every_datatype_in_json(rest: InferenceRESTClient, http: str, datatype: str) -> None:
    sent, model = extremes(datatype), f"identity_{datatype.lower()}"
    found = await rest.infer(f"http://{http}", request(model, tensor("x", datatype, sent, binary=False)), model)
    assert found.outputs[0].data == (as_text(sent) if datatype == "BYTES" else sent).reshape(-1).tolist()


@pytest.mark.parametrize("datatype", DTYPES)
@pytest.mark.parametrize("rows", [2, 0])
async def test_every_datatype_over_grpc(rpc: InferenceGRPCClient, datatype: str, rows: int) -> None:
    sent, model = extremes(datatype)[:rows], f"identity_{datatype.lower()}"
    found = (await rpc.infer(request(model, tensor("x", datatype, sent)))).outputs[0].as_numpy()
    assert found.dtype == sent.dtype
    np.testing.assert_array_equal(found, sent)


async def test_typed_contents_over_grpc(rpc: InferenceGRPCClient) -> None:
    asked = request("identity_fp32", InferInput("x", [1, 3], "FP32", data=[1.0, 2.0, 3.0]))
    assert (await rpc.infer(asked)).outputs[0].as_numpy().tolist() == [[1, 2, 3]]


async def test_64_rows(rest: InferenceRESTClient, rpc: InferenceGRPCClient, http: str) -> None:
    sent = np.random.default_rng(0).random((64, 3, 16, 16), np.float32)
    over_rest = await rest.infer(f"http://{http}", request("colour", tensor("image", "FP32", sent)), "colour")
    over_grpc = await rpc.infer(request("colour", tensor("image", "FP32", sent)))
    for found in (over_rest, over_grpc):
        np.testing.assert_allclose(found.outputs[0].as_numpy(), sent.mean((2, 3)), atol=1e-5)


async def test_options_are_parameters(rest: InferenceRESTClient, rpc: InferenceGRPCClient, http: str) -> None:
    dark = pictures((200, 0, 0))
    over_rest = await rest.infer(f"http://{http}", request("box", dark, score_threshold=0.9), "box")
    over_grpc = await rpc.infer(request("box", dark, score_threshold="0.9"))  # this client knows no fractions
    for found in (over_rest, over_grpc):
        (count,) = (output for output in found.outputs if output.name == "count")
        assert count.as_numpy().tolist() == [0]


@pytest.mark.parametrize(
    ("model", "sent", "words"),
    [
        ("nobody", ("x", "FP32", np.zeros((1, 3), np.float32)), "There is no model 'nobody'"),
        ("identity_fp32", ("x", "FP32", np.zeros((1, 4), np.float32)), r"has the shape \[-1, 3\]"),
        ("identity_fp32", ("w", "FP32", np.zeros((1, 3), np.float32)), "has no input 'w'"),
        ("colour", ("image", "BYTES", np.array([b"no picture"], object)), "JPEG"),
    ],
)
async def test_errors_are_readable(
    rest: InferenceRESTClient, rpc: InferenceGRPCClient, http: str, model: str, sent: Any, words: str
) -> None:
    with pytest.raises(httpx.HTTPStatusError, match=words):
        await rest.infer(f"http://{http}", request(model, tensor(*sent)), model)
    with pytest.raises(grpc_library.RpcError, match=words):
        await rpc.infer(request(model, tensor(*sent)))
