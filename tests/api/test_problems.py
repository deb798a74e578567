"""Every error has one shape, RFC 9457, and comes from one table."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app import errors
from app.api.problems import MEDIA_TYPE, STATUS
from tests.fixtures.pictures import png_header_claiming, solid
from tests.fixtures.server import Server

RED = (255, 0, 0)
MEMBERS = {"type", "title", "status", "detail", "code", "retryable", "request_id"}


def check(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    problem: dict[str, Any] = response.json()
    assert set(problem) == MEMBERS
    assert problem["status"] == status
    assert problem["code"] == code
    assert problem["request_id"] == response.headers["x-request-id"]
    assert "Traceback" not in response.text
    return problem


def kinds(base: type[errors.RequestError]) -> Iterator[type[errors.RequestError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


def test_the_table_knows_every_error_and_no_other() -> None:
    of_messages_alone = {errors.MessageError, *kinds(errors.MessageError)}
    assert set(STATUS) == set(kinds(errors.RequestError)) - of_messages_alone - {errors.CallerError}


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in kinds(errors.RequestError) if kind not in (errors.MessageError, errors.CallerError)]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("GET", "/v1/models/", 404, "not_found"),
        ("DELETE", "/v1/predict", 405, "method_not_allowed"),
        ("POST", "/livez", 405, "method_not_allowed"),
        ("GET", "/v1/models/nobody", 404, "model_not_found"),
        ("POST", "/v1/models/nobody/predict", 404, "model_not_found"),
        ("POST", "/v1/models/colour/versions/77/predict", 404, "model_not_found"),
        ("POST", "/v1/predict", 400, "invalid_request"),
        ("POST", "/v1/predict?score_threshold=2", 400, "invalid_request"),
        ("POST", "/v1/predict?scorethreshold=0.2", 400, "invalid_request"),
        ("POST", "/v1/predict?deadline_ms=soon", 400, "invalid_request"),
        ("POST", "/v1/predict?priority=urgent", 400, "invalid_request"),
    ],
)
def test_wrong_addresses_and_options(client: httpx.Client, method: str, path: str, status: int, code: str) -> None:
    check(client.request(method, path), status, code)


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (solid(RED, (300, 200), "JPEG")[:700], 422, "invalid_image"),
        (b"\xff\xd8\xff\xe0 not really", 422, "invalid_image"),
        (b"GIF89a" + bytes(40), 415, "unsupported_image"),
        (b"hello", 415, "unsupported_image"),
        (png_header_claiming(50_000, 50_000), 422, "too_many_pixels"),
        (solid(RED) + bytes(2**20), 413, "too_many_bytes"),
        (bytes(2**22 + 1), 413, "too_many_bytes"),
    ],
)
def test_bad_pictures(client: httpx.Client, content: bytes, status: int, code: str) -> None:
    check(client.post("/v1/predict", content=content), status, code)


@pytest.mark.parametrize(
    ("content_type", "content", "status", "code"),
    [
        ("text/plain", b"x", 415, "unsupported_image"),
        ("application/json", b"{", 400, "invalid_request"),
        ("application/json", b"{}", 400, "invalid_request"),
        ("application/json", b'{"images": []}', 400, "invalid_request"),
        ("application/json", b'{"images": [{"image": "aa"}], "typo": 1}', 400, "invalid_request"),
        ("application/json", json.dumps({"images": [{"image": "aaaa"}] * 5}).encode(), 400, "invalid_request"),
        ("multipart/form-data", b"x", 400, "invalid_request"),
        ("multipart/form-data; boundary=b", b"x", 400, "invalid_request"),
        ("multipart/form-data; boundary=b", b"--b--\r\n", 400, "invalid_request"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: x\r\n\r\n1\r\n--b--", 400, "invalid_request"),
    ],
)
def test_bad_bodies(client: httpx.Client, content_type: str, content: bytes, status: int, code: str) -> None:
    check(client.post("/v1/predict", content=content, headers={"content-type": content_type}), status, code)


def test_too_many_files(client: httpx.Client) -> None:
    files = [("image", (f"{number}.png", solid(RED), "image/png")) for number in range(5)]
    check(client.post("/v1/predict", files=files), 400, "invalid_request")


def test_nothing_that_is_accepted_can_be_given(client: httpx.Client) -> None:
    check(client.post("/v1/predict", content=solid(RED), headers={"accept": "text/html"}), 406, "not_acceptable")
    files = [("image", ("a.png", solid(RED))), ("image", ("b.png", solid(RED)))]
    check(client.post("/v1/predict", files=files, headers={"accept": "image/png"}), 406, "not_acceptable")


def test_a_picture_too_wide_for_jpeg_cannot_be_drawn_as_one(client: httpx.Client) -> None:
    wide = solid(RED, (66_000, 15))
    check(client.post("/v1/predict", content=wide, headers={"accept": "image/jpeg"}), 406, "not_acceptable")
    assert client.post("/v1/predict", content=wide, headers={"accept": "image/png"}).status_code == 200


def test_a_chunked_body_that_is_too_large_is_refused_while_it_comes(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(200):
            yield bytes(2**16)

    check(client.post("/v1/predict", content=chunks()), 413, "too_many_bytes")


def test_a_chunked_picture_is_taken(client: httpx.Client) -> None:
    content = solid(RED, (500, 500), "JPEG")
    pieces = iter([content[:100], content[100:]])
    assert client.post("/v1/predict", content=pieces).status_code == 200


def test_an_announced_body_that_is_too_large_is_refused_before_it_is_sent(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("POST", "/v1/predict")
    connection.putheader("content-length", str(10**12))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413
    assert json.loads(response.read())["code"] == "too_many_bytes"
    connection.close()


def test_a_deadline_that_cannot_be_met(client: httpx.Client) -> None:
    large = solid(RED, (1000, 1000))
    problem = check(client.post("/v1/predict?deadline_ms=1", content=large), 504, "deadline_exceeded")
    assert problem["retryable"] is True
