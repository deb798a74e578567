"""Once a request is over nothing of its pictures is left, whatever became of it, and without the garbage collector."""

import asyncio
import base64
import gc
import json
from collections.abc import Iterator

import httpx
import pytest

from app.api.app import create_app
from app.api.body import UploadLimits
from app.api.form_body import FormBody
from app.api.json_body import JsonBody
from app.api.picture_buffer import PictureBuffer
from app.api.uploads import Upload
from app.core.admission import Permit
from app.core.health import Health
from app.core.request import AdmittedRequest, InferenceRequest
from app.engines.devices import Device
from tests.fixtures.engines import MeanColourEngine
from tests.fixtures.pictures import solid
from tests.fixtures.service import LIMITS, colour_model, running_core

GOOD, BAD = solid((1, 2, 3)), b"no picture, " * 200
LARGE = bytes(5000)
CUT = solid((1, 2, 3), (640, 480), "JPEG")[:2000]
"""Its header is whole: it fails in a lane."""


@pytest.fixture
def garbage() -> Iterator[list[object]]:
    """What only the garbage collector would have freed."""
    gc.collect()
    gc.disable()
    gc.freeze()  # what was there before is not looked at again, which takes longer than the test
    yield gc.garbage
    gc.set_debug(0)
    gc.garbage.clear()
    gc.unfreeze()
    gc.enable()


def as_json(*contents: bytes) -> bytes:
    return json.dumps({"images": [{"image": base64.b64encode(content).decode()} for content in contents]}).encode()


def as_form(*contents: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    return b"".join(head + content + b"\r\n" for content in contents) + b"--b--\r\n"


@pytest.mark.parametrize(
    "contents", [(GOOD,), (BAD,), (BAD, BAD), (GOOD, BAD), (LARGE, GOOD), (LARGE,), (CUT,), (CUT, GOOD)]
)
@pytest.mark.parametrize("kind", ["raw", "form", "json", "broken json"])
@pytest.mark.parametrize("accept", ["application/json", "multipart/mixed"])
async def test_nothing_is_left(garbage: list[object], kind: str, contents: tuple[bytes, ...], accept: str) -> None:
    types = {"raw": "image/png", "form": "multipart/form-data; boundary=b"}
    bodies = {"raw": contents[0], "form": as_form(*contents), "json": as_json(*contents)}
    body = bodies.get(kind, as_json(*contents)[:-1])
    with running_core(colour_model(MeanColourEngine())) as core:
        service = core.service
        health = Health(service.registry, core.executor, core.capacity, Device("auto", "cpu", 0, ""))
        limits = UploadLimits(4000, 10**6, 4, LIMITS.timeout)
        app = create_app(service, health, limits, lambda _: (b"", "text/plain"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            headers = {"content-type": types.get(kind, "application/json"), "accept": accept}
            await client.post("/v1/predict", content=body, headers=headers)
            await asyncio.sleep(0)
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
        assert service.admission.used.image_bytes == 0
    kinds = InferenceRequest | AdmittedRequest | Upload | PictureBuffer | FormBody | JsonBody | Permit
    assert [item for item in garbage if isinstance(item, kinds)] == []
