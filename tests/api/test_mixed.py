"""JSON and drawn pictures in one answer, read by Python's own parser of mail."""

import base64
import io
import json
from dataclasses import replace
from email.message import Message
from email.parser import BytesParser
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from app.api.app import create_app
from app.api.body import UploadLimits
from app.core.health import Health
from app.core.request import Priority
from app.engines.devices import Device
from tests.fixtures.engines import MeanColourEngine
from tests.fixtures.pictures import solid
from tests.fixtures.service import LIMITS, ROOMY, colour_model, running_core

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
MIXED = {"accept": "multipart/mixed"}
PATH = "/v1/models/box/predict"
CUT = solid(GREEN, (400, 300), "JPEG")[:900]
"""Its header is whole: it fails when it is decoded."""


def parts_of(response: httpx.Response) -> tuple[Any, list[Message]]:
    """The JSON, and the other parts."""
    assert response.status_code == 200, response.text
    assert int(response.headers["content-length"]) == len(response.content)
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + response.content)
    assert message.get_content_type() == "multipart/mixed"
    assert message.defects == []
    first, *others = message.get_payload()
    assert first.get_content_type() == "application/json"
    for part in (first, *others):
        assert len(part.get_payload(decode=True)) == int(part["content-length"])
    return json.loads(first.get_payload(decode=True)), others


def seen(part: Message) -> Image.Image:
    picture = Image.open(io.BytesIO(part.get_payload(decode=True)))  # type: ignore[arg-type]
    assert part.get_content_type() == picture.get_format_mimetype()
    return picture


def test_one_picture_with_its_prediction(client: httpx.Client) -> None:
    content = solid(GREEN, (640, 400))
    response = client.post(PATH, content=content, headers=MIXED)
    answer, (part,) = parts_of(response)
    assert answer["detections"][0]["label"] == "green"
    assert (part.get_filename(), part.get_param("name", header="content-disposition")) == ("0.jpg", "0")
    alone = client.post(PATH, content=content, headers={"accept": "image/jpeg"})
    assert part.get_payload(decode=True) == alone.content


@pytest.mark.parametrize("kind", ["form", "json"])
def test_several_pictures_each_with_its_own(client: httpx.Client, kind: str) -> None:
    contents = [solid(RED, (64, 32)), CUT, solid(BLUE, (32, 64))]
    if kind == "form":
        response = client.post(
            PATH, files=[("image", (f"{index}.x", each)) for index, each in enumerate(contents)], headers=MIXED
        )
    else:
        images = [{"image": base64.b64encode(each).decode()} for each in contents]
        response = client.post(PATH, json={"images": images}, headers=MIXED)
    answer, parts = parts_of(response)
    assert [item["error"] and item["error"]["code"] for item in answer["results"]] == [None, "invalid_image", None]
    red, cut, blue = parts
    for part, size, colour in ((red, (64, 32), RED), (blue, (32, 64), BLUE)):
        assert seen(part).size == size
        assert np.allclose(np.asarray(seen(part).convert("RGB"))[-3, -3], colour, atol=8)
    assert cut.get_content_type() == "application/problem+json"
    assert json.loads(cut.get_payload(decode=True)) == answer["results"][1]["error"]
    assert [part.get_filename() for part in parts] == ["0.jpg", None, "2.jpg"]


def test_one_picture_in_a_form_is_a_list_all_the_same(client: httpx.Client) -> None:
    answer, (part,) = parts_of(client.post(PATH, files={"image": solid(GREEN)}, headers=MIXED))
    assert len(answer["results"]) == 1
    assert part.get_content_type() == "image/jpeg"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("multipart/*", "image/jpeg"),
        ("multipart/mixed, image/png;q=0.5", "image/png"),
        ("multipart/mixed, */*;q=0.1", "image/jpeg"),
        ("application/json;q=0.2, multipart/mixed;q=0.3, image/*;q=0.1", "image/jpeg"),
    ],
)
def test_the_pictures_are_of_the_type_that_is_wanted_most(client: httpx.Client, accept: str, expected: str) -> None:
    _, (part,) = parts_of(client.post(PATH, content=solid(GREEN), headers={"accept": accept}))
    assert seen(part).get_format_mimetype() == expected


@pytest.mark.parametrize("accept", ["*/*", "application/json, multipart/mixed", "multipart/mixed;q=0.5, */*"])
def test_it_is_given_to_those_alone_who_ask(client: httpx.Client, accept: str) -> None:
    response = client.post(PATH, content=solid(GREEN), headers={"accept": accept})
    assert response.headers["content-type"] == "application/json"


def test_what_fails_as_a_whole_is_a_problem(client: httpx.Client) -> None:
    files = [("image", ("a", CUT)), ("image", ("b", CUT))]
    for response, status in (
        (client.post(PATH, content=CUT, headers=MIXED), 422),
        (client.post(PATH, files=files, headers=MIXED), 422),
        (client.post(f"{PATH}?deadline_ms=1", files=[("image", solid(GREEN, (900, 900)))] * 4, headers=MIXED), 504),
        (client.post("/v1/models/nobody/predict", content=solid(GREEN), headers=MIXED), 404),
    ):
        assert response.status_code == status
        assert response.headers["content-type"] == "application/problem+json"
    several = client.post(PATH, files=[("image", solid(GREEN))] * 2, headers={"accept": "image/jpeg"})
    assert several.status_code == 406
    assert "multipart/mixed" in several.json()["detail"]


def test_a_large_answer_arrives_whole(client: httpx.Client) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "JPEG", quality=90)
    accept = {"accept": "multipart/mixed, image/png;q=0.1"}
    _, parts = parts_of(client.post(PATH, files=[("image", buffer.getvalue())] * 4, headers=accept))
    assert len(parts) == 4
    assert {seen(part).size for part in parts} == {(640, 480)}
    assert sum(len(part.get_payload(decode=True)) for part in parts) > 2**20


async def test_drawn_pictures_take_room_as_uploads_do() -> None:
    content = solid((1, 2, 3), (900, 900), "JPEG")
    with running_core(colour_model(MeanColourEngine()), budget=replace(ROOMY, image_bytes=4 * len(content))) as core:
        service = core.service
        health = Health(service.registry, core.executor, core.capacity, Device("auto", "cpu", 0, ""))
        app = create_app(service, health, UploadLimits(10**6, 10**7, 4, LIMITS.timeout), lambda _: (b"", "text/plain"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client:
            with service.admission.permit(Priority.INTERACTIVE) as others:
                others.take_bytes(2 * len(content))
                refused = await client.post("/v1/predict", content=content, headers=MIXED)
            taken = await client.post("/v1/predict", content=content, headers=MIXED)
        assert service.admission.used.image_bytes == 0
    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert taken.status_code == 200
