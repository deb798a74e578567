"""What other people's clients send, and what they may expect of an answer."""

import base64
import gzip
import http.client
import json
import socket
import zlib
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.test_predict import RED, seen
from tests.api.test_problems import check
from tests.fixtures.pictures import solid
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import PATIENCE

GREEN, BLUE = (0, 255, 0), (0, 0, 255)


@pytest.mark.parametrize(
    "declared",
    ["image/jpg", "image/pjpeg", "image/x-png", "binary/octet-stream", "IMAGE/JPEG; q=1", ""],
)
def test_a_picture_is_known_by_its_bytes(client: httpx.Client, declared: str) -> None:
    response = client.post("/v1/predict", content=solid(RED), headers={"content-type": declared})
    assert response.status_code == 200
    assert seen(response.json()) == RED


def test_fields_of_a_form_are_options(client: httpx.Client) -> None:
    answer = client.post(
        "/v1/predict?top_k=3", data={"top_k": "1", "priority": "bulk"}, files={"image": ("a.png", solid(RED))}
    )
    assert len(answer.json()["results"][0]["prediction"]["classes"]) == 1


def test_a_part_without_a_file_name_is_a_picture(client: httpx.Client) -> None:
    results = client.post("/v1/predict", files={"photo": (None, solid(GREEN))}).json()["results"]
    assert seen(results[0]["prediction"]) == GREEN
    assert results[0]["id"] == "photo"


def test_a_misspelt_option_of_a_form_is_told(client: httpx.Client) -> None:
    files = {"image": ("a.png", solid(RED))}
    problem = check(client.post("/v1/predict", data={"topk": "1"}, files=files), 400, "invalid_request")
    assert "'topk'" in problem["detail"]
    assert "top_k" in problem["detail"]


FAILING: list[tuple[bytes, int, str]] = [
    (solid(RED, (400, 300), "JPEG")[:900], 422, "invalid_image"),
    (b"no picture at all, " * 60, 415, "unsupported_image"),
    (solid(RED) + bytes(2**20), 413, "too_many_bytes"),
]


@pytest.mark.parametrize(("content", "status", "code"), FAILING)
@pytest.mark.parametrize("count", [1, 2])
def test_where_all_pictures_fail_for_one_reason_that_is_the_answer(
    client: httpx.Client, content: bytes, status: int, code: str, count: int
) -> None:
    files = [("image", ("a.jpg", content))] * count
    check(client.post("/v1/predict", files=files), status, code)
    items = [{"image": base64.b64encode(content).decode()}] * count
    check(client.post("/v1/predict", json={"images": items}), status, code)


def test_pictures_that_fail_for_different_reasons_are_told_each(client: httpx.Client) -> None:
    files = [("image", ("a.jpg", content)) for content, _, _ in FAILING]
    results = client.post("/v1/predict", files=files).json()["results"]
    assert [item["error"]["code"] for item in results] == [code for _, _, code in FAILING]


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "deflate", "identity"])
def test_a_compressed_body_is_read(client: httpx.Client, encoding: str) -> None:
    pack: dict[str, Any] = {"gzip": gzip.compress, "x-gzip": gzip.compress, "deflate": zlib.compress}
    body = json.dumps({"images": [{"image": base64.b64encode(solid(BLUE)).decode()}]}).encode()
    for kind, content in (("application/json", body), ("image/png", solid(BLUE))):
        packed = pack.get(encoding, bytes)(content)
        headers = {"content-type": kind, "content-encoding": encoding}
        answer = client.post("/v1/predict", content=packed, headers=headers).json()
        assert seen(answer["results"][0]["prediction"] if "results" in answer else answer) == BLUE


def test_gzip_in_several_members(client: httpx.Client) -> None:
    content = solid(BLUE)
    packed = gzip.compress(content[:100]) + gzip.compress(content[100:])
    assert client.post("/v1/predict", content=packed, headers={"content-encoding": "gzip"}).status_code == 200


@pytest.mark.parametrize(
    ("encoding", "content", "status", "code"),
    [
        ("br", b"x", 415, "unsupported_encoding"),
        ("gzip, gzip", gzip.compress(b"x"), 415, "unsupported_encoding"),
        ("gzip", b"not packed", 400, "invalid_request"),
        ("gzip", gzip.compress(solid(RED))[:-9], 400, "invalid_request"),
        ("gzip", gzip.compress(bytes(2**26)), 413, "too_many_bytes"),
        ("gzip", gzip.compress(b"") * 100, 400, "invalid_request"),
    ],
    # Not from the bytes, which say when they were compressed: each process that runs tests must see the same ones.
    ids=["br", "twice", "not-packed", "cut", "bomb", "members"],
)
def test_a_compressed_body_that_is_not_taken(
    client: httpx.Client, encoding: str, content: bytes, status: int, code: str
) -> None:
    headers = {"content-encoding": encoding}
    check(client.post("/v1/predict", content=content, headers=headers), status, code)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("image/png", "image/png"),
        ("*/*", "application/json"),
        ("image/png, */*", "image/png"),
        ("image/*;q=0, */*", "application/json"),
        ("application/json;q=0, */*", "image/jpeg"),
        ("image/jpeg;q=0, image/*", "image/png"),
        ("application/json;q=0.5, */*", "image/jpeg"),
        ("text/html;level=1, application/*;q=0.2, image/png;q=0.1", "application/json"),
        ("image/jpeg;q=nan, */*;q=0.1", "application/json"),
    ],
)
def test_the_most_specific_wish_counts(client: httpx.Client, accept: str, expected: str) -> None:
    response = client.post("/v1/models/box/predict", content=solid(GREEN), headers={"accept": accept})
    assert response.headers["content-type"] == expected


@pytest.mark.parametrize("accept", ["application/json;q=0, image/*;q=0", "*/*;q=0", "application/json;q=0"])
def test_what_is_not_wanted_at_all_is_not_given(client: httpx.Client, accept: str) -> None:
    check(client.post("/v1/predict", content=solid(RED), headers={"accept": accept}), 406, "not_acceptable")


def test_several_accept_lines_are_one(server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.putrequest("POST", "/v1/models/box/predict")
    connection.putheader("accept", "text/html")
    connection.putheader("accept", "image/png")
    content = solid(GREEN)
    connection.putheader("content-length", str(len(content)))
    connection.endheaders(content)
    assert connection.getresponse().getheader("content-type") == "image/png"
    connection.close()


@pytest.mark.parametrize("kind", ["image/png", "multipart/form-data; boundary=b", "application/json"])
def test_an_answer_before_the_body_s_end_reaches_who_still_sends(server: Server, kind: str) -> None:
    head = f"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: 30000000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        connection.sendall(head.encode() + bytes(500_000))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nconnection: close\r\n" in answer
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "too_many_bytes"


def test_a_picture_too_large_by_its_header_is_refused_before_it_is_sent(server: Server) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1048577\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        connection.sendall(head)
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_query_without_end_is_refused(client: httpx.Client) -> None:
    query = "&".join(f"a{number}=1" for number in range(5000))
    check(client.post(f"/v1/predict?{query}", content=solid(RED)), 400, "invalid_request")


def test_a_body_that_drips_is_not_waited_for(repository: Path) -> None:
    with (
        serving(repository, default_model="colour", min_upload_rate=10**6) as server,
        socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection,
    ):
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nonly this")
        answer = b""
        while not answer.endswith(b"}") and (part := connection.recv(4096)):
            answer += part
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"less than 1000000 bytes a second" in answer


def test_a_length_with_many_zeros_is_a_length(server: Server) -> None:
    content = solid(RED)
    head = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: %s%d\r\n\r\n" % (b"0" * 5000, len(content))
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        connection.sendall(head + content)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
