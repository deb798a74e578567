"""What happens before a request is one: upgrades, damaged and endless heads, pipelines, connections that end."""

import json
import re
import socket

import httpx
import pytest

from tests.fixtures.pictures import solid
from tests.fixtures.server import Server
from tests.fixtures.waiting import PATIENCE

RED = (255, 0, 0)
H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
LAST = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


def post(body: bytes, *more: bytes) -> bytes:
    return b"POST /v1/predict HTTP/1.1\r\nhost: x\r\n%scontent-length: %d\r\n\r\n%s" % (b"".join(more), len(body), body)


def talk(server: Server, *pieces: bytes) -> bytes:
    """Send the pieces, and read until the service hangs up."""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def problem(answer: bytes, status: int, code: str) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0].startswith(f"http/1.1 {status} "), answer
    assert "content-type: application/problem+json" in lines
    assert "connection: close" in lines
    assert "x-content-type-options: nosniff" in lines
    told = json.loads(body)
    assert (told["status"], told["code"]) == (status, code)
    assert f"x-request-id: {told['request_id']}" in lines
    return str(told["detail"])


@pytest.mark.parametrize("wish", [H2C, b"upgrade: websocket\r\nconnection: upgrade\r\n", b"Upgrade: TLS/1.0\r\n"])
def test_a_wish_for_another_protocol_is_passed_over(server: Server, wish: bytes) -> None:
    question = b"GET /livez HTTP/1.1\r\nhost: x\r\n%s\r\n" % wish
    answer = talk(server, post(solid(RED), wish), question, post(solid(RED), wish) + question + LAST)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 5
    assert answer.count(b'"label":"red","class_id":0,"score":1.0') == 2


def test_a_wish_whose_body_comes_later_and_byte_by_byte(server: Server) -> None:
    whole = post(solid(RED), H2C)
    answer = talk(server, *(whole[place : place + 1] for place in range(len(whole))), LAST)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon here\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
        b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "GET /ä HTTP/1.1\r\nhost: x\r\n\r\n".encode("latin-1"),
    ],
)
def test_what_is_no_request_is_a_problem(server: Server, request_bytes: bytes) -> None:
    assert "HTTP/1.1" in problem(talk(server, request_bytes), 400, "invalid_request")


def test_what_is_no_request_is_counted(server: Server) -> None:
    def count() -> float:
        text = httpx.get(f"{server.url}/metrics", timeout=PATIENCE).text
        found = re.search(r'^roo_refusals_total\{code="invalid_request"\} (\S+)$', text, re.MULTILINE)
        return float(found.group(1)) if found else 0.0

    before = count()
    talk(server, b"nonsense\r\n\r\n")
    assert count() == before + 1


def test_a_damaged_request_keeps_its_id(server: Server) -> None:
    answer = talk(server, b"GET / HTTP/1.1\r\nx-request-id: mine\r\nhost: x\r\nbroken\r\n\r\n")
    assert b"x-request-id: mine\r\n" in answer


@pytest.mark.parametrize("size", [66_000, 200_000, 500_000])
def test_headers_that_are_too_large_are_told_so(server: Server, size: int) -> None:
    # What the client had sent by then must not cost it the answer.
    answer = talk(server, b"GET /livez HTTP/1.1\r\n", b"x-large: " + b"a" * size, b"\r\n\r\n")
    assert "65536" in problem(answer, 431, "headers_too_large")


def test_a_body_in_chunks_of_a_byte_is_refused(server: Server) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    assert "larger ones" in problem(talk(server, head, b"1\r\nx\r\n" * 40_000), 400, "invalid_request")


def test_a_picture_in_small_chunks_is_taken(server: Server) -> None:
    content = solid(RED, (500, 500), "JPEG")
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(content[at : at + 16]), content[at : at + 16]) for at in range(0, 4096, 16)
    )
    rest = content[4096:]
    chunked = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    whole = chunked + chunks + b"%x\r\n%s\r\n0\r\n\r\n" % (len(rest), rest)
    assert talk(server, whole + LAST).count(b"HTTP/1.1 200 OK\r\n") == 2


def test_a_pipeline_without_end_is_cut_off(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\n\r\n" * 8000)
        answered = 0
        try:
            while piece := connection.recv(65536):
                answered += piece.count(b"HTTP/1.1 200 OK")
        except ConnectionError:
            pass
    assert answered < 8000
