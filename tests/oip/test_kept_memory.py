"""Once a request of the protocol is over nothing of it is left, without the garbage collector."""

import asyncio
import gc
import json

import httpx
import numpy as np
import pytest

from app.api.app import create_app
from app.api.body import UploadLimits
from app.core.admission import Permit
from app.core.health import Health
from app.core.request import AdmittedRequest, AdmittedRow, InferenceRequest, TensorRequest
from app.engines.devices import Device
from app.oip.call import Call, InputTensor
from tests.api.test_kept_memory import BAD, CUT, GOOD, garbage
from tests.fixtures.engines import SIZE, MeanColourEngine
from tests.fixtures.service import LIMITS, colour_model, running_core

__all__ = ["garbage"]


def pictures(*contents: bytes) -> tuple[bytes, bytes]:
    tensor = b"".join(len(each).to_bytes(4, "little") + each for each in contents)
    return request("BYTES", [len(contents)], tensor), tensor


def rows(count: int, size: int = SIZE) -> tuple[bytes, bytes]:
    tensor = np.zeros((count, 3, size, size), np.float32)
    return request("FP32", list(tensor.shape), tensor.tobytes()), tensor.tobytes()


def request(datatype: str, shape: list[int], tensor: bytes) -> bytes:
    described = {"name": "image", "datatype": datatype, "shape": shape}
    return json.dumps({"inputs": [{**described, "parameters": {"binary_data_size": len(tensor)}}]}).encode()


@pytest.mark.parametrize(
    "sent",
    [
        pictures(GOOD),
        pictures(BAD),
        pictures(CUT),
        pictures(GOOD, CUT, GOOD),
        pictures(BAD, BAD),
        rows(3),
        rows(1, 4),
        (b"{", b""),
    ],
    ids=["good", "bad", "cut", "one cut", "all bad", "rows", "another shape", "no JSON"],
)
async def test_nothing_is_left(garbage: list[object], sent: tuple[bytes, bytes]) -> None:
    head, tensor = sent
    with running_core(colour_model(MeanColourEngine())) as core:
        service = core.service
        health = Health(service.registry, core.executor, core.capacity, Device("auto", "cpu", 0, ""))
        app = create_app(service, health, UploadLimits(4000, 10**6, 4, LIMITS.timeout), lambda _: (b"", "text/plain"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            headers = {"inference-header-content-length": str(len(head))}
            await client.post("/v2/models/colour/infer", content=head + tensor, headers=headers)
            await asyncio.sleep(0)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
        assert service.admission.used.image_bytes == 0
        assert service.admission.used.pictures == 0
    kinds = Call | InputTensor | InferenceRequest | AdmittedRequest | TensorRequest | AdmittedRow | Permit
    assert [type(item).__name__ for item in garbage if isinstance(item, kinds)] == []
