"""NVIDIA's own client, as it comes from PyPI, asks a real service over gRPC."""

import base64
import queue
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from tests.fixtures.models import IDENTITIES
from tests.fixtures.pictures import solid
from tests.fixtures.server import Server
from tests.fixtures.tensors import extremes
from tests.fixtures.waiting import PATIENCE

ORANGE, BLUE = (255, 128, 0), (0, 0, 255)


@pytest.fixture
def address(protocol_server: Server) -> str:
    return f"127.0.0.1:{protocol_server.grpc_port}"


@pytest.fixture
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address) as client:
        yield client


@pytest.fixture
def stub(address: str) -> Iterator[Any]:
    """The protocol's own stub, for what no client library would send."""
    with grpc.insecure_channel(address) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def tensor(name: str, datatype: str, content: NDArray[Any]) -> Any:
    return triton.InferInput(name, list(content.shape), datatype).set_data_from_numpy(content)


def pictures(*colours: tuple[int, int, int]) -> Any:
    return tensor("image", "BYTES", np.array([solid(colour) for colour in colours], object))


def row(level: float) -> Any:
    return tensor("x", "FP32", np.full((1, 3), level, np.float32))


def test_what_the_server_says_of_itself(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("colour", "1")
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready("colour", "9")
    assert client.get_server_metadata().name == "roo-vision"
    described = client.get_model_metadata("colour")
    assert [(each.name, each.datatype, list(each.shape)) for each in described.inputs] == [
        ("image", "BYTES", [-1]),
        ("image", "FP32", [-1, 3, 16, 16]),
    ]
    assert list(described.versions) == ["1", "2"]
    assert client.get_model_config("colour").config.max_batch_size == 4
    assert len(client.get_model_repository_index().models) == 8 + len(IDENTITIES)


def test_statistics_count_what_was_asked(client: triton.InferenceServerClient) -> None:
    def success() -> int:
        (found,) = client.get_inference_statistics("parts", "1").model_stats
        count: int = found.inference_stats.success.count
        return count

    before = success()
    client.infer("parts", [pictures(ORANGE, BLUE)])
    assert success() == before + 2
    assert len(client.get_inference_statistics().model_stats) == 8 + len(IDENTITIES)


def test_pictures_are_answered_by_the_task(client: triton.InferenceServerClient) -> None:
    result = client.infer("colour", [pictures(ORANGE, BLUE)], request_id="orange", priority=2, timeout=60_000_000)
    assert (result.get_response().id, result.get_response().model_version) == ("orange", "2")
    np.testing.assert_allclose(result.as_numpy("probabilities"), np.array([ORANGE, BLUE]) / 255, atol=0.01)
    found = client.infer("box", [pictures(ORANGE)], outputs=[triton.InferRequestedOutput("labels")])
    assert found.as_numpy("labels").tolist() == [[b"red"]]
    assert found.as_numpy("boxes") is None
    wanted = [triton.InferRequestedOutput("probabilities", class_count=1)]
    assert client.infer("colour", [pictures(BLUE)], outputs=wanted).as_numpy("probabilities").tolist() == [
        [b"1.000000:2:blue"]
    ]


@pytest.mark.parametrize("datatype", IDENTITIES)
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_every_datatype_comes_back_as_it_went(
    client: triton.InferenceServerClient, datatype: str, compression: str | None
) -> None:
    sent = extremes(datatype)
    model = f"identity_{datatype.lower()}"
    found = client.infer(model, [tensor("x", datatype, sent)], compression_algorithm=compression).as_numpy("y")
    assert found.dtype == sent.dtype
    np.testing.assert_array_equal(found, sent)
    assert client.infer(model, [tensor("x", datatype, sent[:0])]).as_numpy("y").shape == (0, 3)


def test_64_rows_are_answered_in_their_order(client: triton.InferenceServerClient) -> None:
    sent = np.random.default_rng(0).random((64, 3, 16, 16), np.float32)
    found = client.infer("colour", [tensor("image", "FP32", sent)]).as_numpy("scores")
    np.testing.assert_allclose(found, sent.mean((2, 3)), atol=1e-5)


@pytest.mark.parametrize("datatype", sorted(IDENTITIES.keys() - {"FP16"}))
def test_typed_contents_are_answered_in_typed_contents(stub: Any, datatype: str) -> None:
    sent = extremes(datatype)
    field = {"BOOL": "bool", "INT64": "int64", "UINT64": "uint64", "FP32": "fp32", "FP64": "fp64", "BYTES": "bytes"}
    name = f"{field.get(datatype, 'uint' if datatype.startswith('U') else 'int')}_contents"
    contents = service_pb2.InferTensorContents(**{name: sent.reshape(-1).tolist()})
    request = service_pb2.ModelInferRequest(model_name=f"identity_{datatype.lower()}")
    request.inputs.add(name="x", datatype=datatype, shape=sent.shape, contents=contents)
    response = stub.ModelInfer(request)
    assert not response.raw_output_contents
    found = getattr(response.outputs[0].contents, name)
    assert np.array(list(found), sent.dtype).tolist() == sent.reshape(-1).tolist()


def test_errors_are_readable_in_the_clients_own_words(client: triton.InferenceServerClient) -> None:
    def error(model: str, *sent: Any, **options: Any) -> str:
        with pytest.raises(InferenceServerException) as raised:
            client.infer(model, list(sent), **options)
        return str(raised.value)

    assert error("nobody", row(1)).startswith("[StatusCode.NOT_FOUND] There is no model 'nobody'")
    assert "[StatusCode.INVALID_ARGUMENT] The model identity_fp32 has no input" in error(
        "identity_fp32", tensor("y", "FP32", np.zeros((1, 3), np.float32))
    )
    assert "is there twice" in error("identity_fp32", row(1), row(1))
    assert "has the shape [-1, 3]" in error("identity_fp32", tensor("x", "FP32", np.zeros((1, 4), np.float32)))
    assert "no output 'z'" in error("identity_fp32", row(1), outputs=[triton.InferRequestedOutput("z")])
    assert "INVALID_ARGUMENT" in error("colour", tensor("image", "BYTES", np.array([b"no picture"], object)))
    assert "at most 8" in error("colour", pictures(*[BLUE] * 9))
    assert "asks for a sequence" in error("colour", pictures(BLUE), sequence_id=3, sequence_start=True)
    large = tensor("x", "FP32", np.zeros((400_000, 3), np.float32))
    assert "RESOURCE_EXHAUSTED" in error("identity_fp32", large)


def raw(*contents: bytes, **changes: Any) -> Any:
    request = service_pb2.ModelInferRequest(model_name="identity_fp32", raw_input_contents=list(contents))
    request.inputs.add(**{"name": "x", "datatype": "FP32", "shape": [1, 3], **changes})
    return request


def twice(request: Any) -> Any:
    request.inputs.append(request.inputs[0])
    return request


def wanting(request: Any, *names: str) -> Any:
    for name in names:
        request.outputs.add(name=name)
    return request


TYPED = service_pb2.InferTensorContents(fp32_contents=[1, 2, 3])


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (service_pb2.ModelInferRequest(), "names no model"),
        (service_pb2.ModelInferRequest(model_name="identity_fp32"), "takes one input"),
        (raw(b"\0" * 11), "takes 12 bytes; 11 were sent"),
        (raw(b"\0" * 12, b""), "1 inputs and 2 raw_input_contents"),
        (raw(b"\0" * 12, contents=TYPED), "typed contents, and there are raw_input_contents"),
        (raw(), "has 3 elements; 0 were sent"),
        (raw(shape=[1, 4], contents=TYPED), "has 4 elements; 3 were sent"),
        (raw(datatype="FP64", contents=TYPED), "belong into fp64_contents, not into fp32_contents"),
        (raw(datatype="FP16", contents=TYPED), "has no typed contents"),
        (raw(datatype="BF16"), "BF16 is not taken"),
        (raw(datatype="FP31"), "no datatype"),
        (raw(b"\0" * 12, shape=[-1, 3]), "negative side"),
        (raw(b"\0" * 12, shape=[2**62, 3]), "more elements than any request"),
        (raw(b"\0" * 12, shape=[2**62, 2]), "more elements than any request"),
        (raw(b"\0" * 12, shape=[2**63 - 1]), "more elements than any request"),
        (raw(b"\0" * 12, name="w"), "has no input 'w'"),
        (twice(raw(b"\0" * 12, b"\0" * 12)), "is there twice"),
        (wanting(raw(b"\0" * 12), "z"), "no output 'z'"),
        (wanting(raw(b"\0" * 12), "y", "y"), "is there twice"),
        (
            service_pb2.ModelInferRequest(model_name="identity_fp32", raw_input_contents=[b"\0" * 12]),
            "0 inputs and 1 raw_input_contents",
        ),
        (raw(b"\0" * 12, parameters={"depth": service_pb2.InferParameter(int64_param=1)}), "no parameter 'depth'"),
        (raw(b"\0" * 12, parameters={"depth": service_pb2.InferParameter()}), "has no value"),
        (raw(b"\0" * 12, parameters={"shared_memory_region": service_pb2.InferParameter(string_param="a")}), "Shared"),
        (raw(datatype="UINT8", contents=service_pb2.InferTensorContents(uint_contents=[256, 0, 0])), "cannot hold"),
        (
            raw(shape=[2**17, 3], contents=service_pb2.InferTensorContents(fp32_contents=[0.0] * 3 * 2**17)),
            "More than 300000 typed elements",
        ),
    ],
)
def test_messages_that_are_wrong(stub: Any, request_: Any, words: str) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        stub.ModelInfer(request_)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert words in raised.value.details()
    assert dict(raised.value.trailing_metadata())["code"] == "invalid_request"
    assert list(stub.ModelInfer(raw(b"\0" * 12)).raw_output_contents) == [b"\0" * 12]


def test_what_other_clients_say_of_an_input(stub: Any) -> None:
    # KServe's tells its size, and MLServer's sends contents without elements, both beside raw contents.
    size = {"binary_data_size": service_pb2.InferParameter(int64_param=12)}
    sent = raw(b"\0" * 12, contents=service_pb2.InferTensorContents(), parameters=size)
    assert list(stub.ModelInfer(sent).raw_output_contents) == [b"\0" * 12]


def test_pictures_in_base64(stub: Any) -> None:
    said = {"content_type": service_pb2.InferParameter(string_param="base64")}

    def ask(text: bytes) -> Any:
        request = service_pb2.ModelInferRequest(model_name="colour")
        contents = service_pb2.InferTensorContents(bytes_contents=[text])
        request.inputs.add(name="image", datatype="BYTES", shape=[1], contents=contents, parameters=said)
        return stub.ModelInfer(request).outputs[0].contents.fp32_contents

    assert list(ask(base64.b64encode(solid(BLUE)))) == [0, 0, 1]
    with pytest.raises(grpc.RpcError, match="The data of image is not base64"):
        ask(b"*")


def test_bytes_that_are_no_message(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        for content in (b"\xff", b"\x3a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe", b"\x0b", b"\x00" * 3000):
            with pytest.raises(grpc.RpcError) as raised:
                ask(content)
            assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT, content


def test_a_stream_answers_in_order_and_survives_errors(client: triton.InferenceServerClient) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    for number in range(100):
        if number % 10 == 3:
            client.async_stream_infer("nobody", [row(number)], request_id=str(number))
        elif number % 2:
            client.async_stream_infer("colour", [pictures((number, 0, 0))], request_id=str(number))
        else:
            client.async_stream_infer("identity_fp32", [row(number)], request_id=str(number))
    for number in range(100):
        result, error = answers.get(timeout=PATIENCE)
        if number % 10 == 3:
            assert "There is no model 'nobody'" in str(error)
            continue
        assert error is None
        assert result.get_response().id == str(number)
        assert result.get_response().parameters["triton_final_response"].bool_param
        if number % 2:
            assert round(float(result.as_numpy("probabilities")[0, 0]) * 255) == number
        else:
            assert result.as_numpy("y")[0, 0] == number
    client.stop_stream()
    assert answers.empty()


async def test_the_asynchronous_client(address: str) -> None:
    async with triton_aio.InferenceServerClient(address) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert (await client.get_model_metadata("colour")).platform == "onnxruntime_onnx"
        result = await client.infer("colour", [pictures(ORANGE)])
        np.testing.assert_allclose(result.as_numpy("probabilities"), [[1, 0.5, 0]], atol=0.01)
        with pytest.raises(InferenceServerException, match="There is no model 'nobody'"):
            await client.infer("nobody", [pictures(ORANGE)])

        async def asked() -> AsyncIterator[dict[str, Any]]:
            for number in range(20):
                yield {"model_name": "identity_fp32", "inputs": [row(number)]}

        found = [result.as_numpy("y")[0, 0] async for result, error in client.stream_infer(asked()) if error is None]
        assert found == list(range(20))


def test_options_of_pictures_are_parameters(client: triton.InferenceServerClient) -> None:
    said = {"classes": "green,blue", "coordinates": "normalized", "class_agnostic": True}
    found = client.infer("box", [pictures(BLUE)], parameters=said)
    assert found.as_numpy("labels").tolist() == [[b"blue"]]
    np.testing.assert_allclose(found.as_numpy("boxes"), [[[0.25, 0.25, 0.75, 0.75]]])
    with pytest.raises(InferenceServerException, match="Near it is: blue"):
        client.infer("box", [pictures(BLUE)], parameters={"classes": "bleu"})
