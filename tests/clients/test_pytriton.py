"""PyTriton's model clients, which ask for the configuration first and see the graph's own tensors."""

from collections.abc import Iterator

import numpy as np
import pytest
from pytriton.client import (
    AsyncioModelClient,
    DecoupledModelClient,
    FuturesModelClient,
    ModelClient,
)
from pytriton.client.exceptions import PyTritonClientInferenceServerError, PyTritonClientTimeoutError

from tests.fixtures.tensors import DTYPES, extremes


@pytest.fixture(params=["http", "grpc"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    return f"{request.param}://{request.getfixturevalue(request.param)}"


@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype(url: str, datatype: str) -> None:
    sent = extremes(datatype)
    with ModelClient(url, f"identity_{datatype.lower()}") as client:
        np.testing.assert_array_equal(client.infer_batch(x=sent)["y"], sent)
        np.testing.assert_array_equal(client.infer_sample(x=sent[0])["y"], sent[0])


def test_64_rows_of_a_version(url: str) -> None:
    sent = np.random.default_rng(0).random((64, 3, 16, 16), np.float32)
    with ModelClient(url, "colour", model_version="1") as client:
        assert client.is_batching_supported
        np.testing.assert_allclose(client.infer_batch(sent)["scores"], sent.mean((2, 3)), atol=1e-5)


async def test_the_asynchronous_client(url: str) -> None:
    async with AsyncioModelClient(url, "identity_fp32") as client:
        found = await client.infer_batch(x=np.ones((2, 3), np.float32), parameters={"deadline_ms": 60_000})
    assert found["y"].tolist() == [[1] * 3] * 2


def test_futures(http: str) -> None:
    with FuturesModelClient(f"http://{http}", "identity_fp32", max_workers=4) as client:
        asked = [client.infer_sample(x=np.full(3, number, np.float32)) for number in range(32)]
        assert [future.result()["y"][0] for future in asked] == list(range(32))


def test_what_is_not_there_and_what_is_wrong(url: str) -> None:
    with (
        pytest.raises(PyTritonClientTimeoutError, match="nobody/<latest> to be ready"),
        ModelClient(url, "nobody", init_timeout_s=1, lazy_init=False),
    ):
        pass
    with (
        ModelClient(url, "identity_fp32") as client,
        pytest.raises(PyTritonClientInferenceServerError, match=r"has the shape \[-1, 3\]"),
    ):
        client.infer_batch(x=np.zeros((1, 4), np.float32))


def test_what_streams_is_not_claimed(grpc: str) -> None:
    with (
        DecoupledModelClient(f"grpc://{grpc}", "identity_fp32") as client,
        pytest.raises(PyTritonClientInferenceServerError, match="config is coupled"),
    ):
        client.infer_batch(x=np.ones((1, 3), np.float32))
