"""tritony, a small client around tritonclient: it asks for what the configuration names, so for the graph's tensors."""

import os
from typing import Any

os.environ["TRITON_RETRIES"] = "1"  # read when it is imported; what is refused would be asked for a minute

import numpy as np
import pytest
from tritony import InferenceClient

ROWS = np.arange(6, dtype=np.float32).reshape(2, 3)
KNOWN = {"create_with", "create_with_asyncio", "aio_infer"}
"""What is asked here; calling a client is `__call__`."""
LOCAL = {
    "init_triton_client",
    "triton_client",
    "default_model_spec",
    "async_default_model_spec",
    "async_close",
    "get_model_spec",
    "async_get_model_spec",
    "build_triton_input",
}
"""Parts of these."""


@pytest.fixture(params=["http", "grpc"])
def place(request: pytest.FixtureRequest, http: str, grpc: str) -> dict[str, Any]:
    return {"url": http if request.param == "http" else grpc, "protocol": request.param, "input_dims": 1}


def test_every_method_is_known() -> None:
    assert {name for name in vars(InferenceClient) if not name.startswith("_")} == KNOWN | LOCAL


def test_rows(place: dict[str, Any]) -> None:
    client = InferenceClient.create_with("identity_fp32", **place)
    np.testing.assert_array_equal(client(ROWS), ROWS)


def test_rows_without_threads(grpc: str) -> None:  # over HTTP tritony itself has no such call
    client = InferenceClient.create_with("identity_fp32", grpc, input_dims=1, run_async=False)
    np.testing.assert_array_equal(client(ROWS), ROWS)


def test_more_rows_than_a_batch(place: dict[str, Any]) -> None:
    client = InferenceClient.create_with("identity_fp32", **place)
    rows = np.arange(300, dtype=np.float32).reshape(100, 3)
    np.testing.assert_array_equal(client(rows), rows)


async def test_rows_with_asyncio(place: dict[str, Any]) -> None:
    client = InferenceClient.create_with_asyncio("identity_fp32", **place)
    try:
        np.testing.assert_array_equal(await client.aio_infer(ROWS), ROWS)
    finally:
        await client.async_close()


def test_errors_are_readable(place: dict[str, Any]) -> None:
    client = InferenceClient.create_with("nobody", **place)
    with pytest.raises(Exception, match="There is no model 'nobody'"):
        client(ROWS)
