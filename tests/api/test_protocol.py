"""What happens before a request is one: upgrades, damaged and endless heads, pipelines, connections that end."""

import json
import re
import socket

import httpx
import pytest

from app.api import protocol
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
        b"GET / HTTP/1.1\r\nhost: x\r\nno colon here\r\n\r\n",
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


GET = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"
CHUNKED = b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
BAD: list[tuple[bytes, int]] = [
    (b"BAD\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\n\r\n", 400),
    (CHUNKED + b"xyz\r\n", 400),
    (CHUNKED + b"1\r\nx\r\n" * 2000, 400),
    (b"GET / HTTP/1.1\r\nx-large: " + b"a" * 100_000 + b"\r\n\r\n", 431),
]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("before", [1, 2, 5])
@pytest.mark.parametrize(("bad", "status"), BAD)
def test_what_came_before_what_is_no_request_is_answered_first(
    server: Server, bad: bytes, status: int, before: int, together: bool
) -> None:
    sent = [*(post(solid(RED)) for _ in range(before)), bad]
    answers = split(talk(server, *([b"".join(sent)] if together else sent)))
    assert [status for status, _, _ in answers] == [200] * before + [status]
    assert all(b'"label":"red"' in body for _, _, body in answers[:-1])
    assert b"\r\nconnection: close\r\n" in answers[-1][1]


@pytest.mark.parametrize("large", [b"/", b"/" + b"a" * 70_000])
def test_a_head_is_measured_from_where_it_began_though_a_request_ended_in_the_same_read(
    server: Server, large: bytes
) -> None:
    head = b"GET " + large + b" HTTP/1.1\r\nx-large: " + b"a" * (100_000 - len(large)) + b"\r\nhost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        connection.sendall(post(solid(RED)) + head[:50_000])
        answers = connection.recv(65536)  # so these bytes have been read before the others are sent
        connection.sendall(head[50_000:])
        answers += b"".join(iter(lambda: connection.recv(65536), b""))
    assert [status for status, _, _ in split(answers)] == [200, 431]


def test_a_head_within_bounds_is_taken_though_much_was_read_before_it(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        connection.sendall(post(solid(RED) + b"\0" * 100_000) + b"GET /livez HTTP/1.1\r\n")
        answers = connection.recv(65536)
        connection.sendall(b"x-large: " + b"a" * 60_000 + b"\r\nhost: x\r\nconnection: close\r\n\r\n")
        answers += b"".join(iter(lambda: connection.recv(65536), b""))
    assert [status for status, _, _ in split(answers)] == [200, 200]


def split(said: bytes) -> list[tuple[int, bytes, bytes]]:
    """Status, head and body of each answer."""
    answers = []
    while said:
        head, _, said = said.partition(b"\r\n\r\n")
        found = re.search(rb"content-length: (\d+)", head)
        assert found, head
        length = int(found.group(1))
        answers.append((int(head.split()[1]), head + b"\r\n", said[:length]))
        said = said[length:]
    return answers


@pytest.mark.parametrize("number", [60, 64, 66, 100, 8000])
def test_so_many_requests_at_once_are_answered_and_the_last_answer_says_it_is_the_last(
    server: Server, number: int
) -> None:
    answers = split(talk(server, GET * number + (LAST if number < 65 else b"")))
    assert {status for status, _, _ in answers} == {200}
    assert len(answers) == min(number + 1, protocol.MOST_PIPELINED + 1)
    assert [b"\r\nconnection: close\r\n" in head for _, head, _ in answers] == [False] * (len(answers) - 1) + [True]


@pytest.mark.parametrize(
    ("head", "status", "code"),
    [
        (b"GET /livez HTTP/1.1\r\n", 400, "invalid_request"),
        (b"GET /livez HTTP/1.1\r\nhost: x\r\nHost: x\r\n", 400, "invalid_request"),
        (b"GET /livez HTTP/1.0\r\nhost: x\r\nHost: y\r\n", 400, "invalid_request"),
        (b"GET /livez HTTP/2.0\r\nhost: x\r\n", 505, "http_version"),
        (b"GET /livez\r\n", 505, "http_version"),
        (b"POST /livez HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n", 501, "transfer_encoding"),
        (
            b"POST /livez HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
            501,
            "transfer_encoding",
        ),
        (b"POST /livez HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked, chunked\r\n", 400, "invalid_request"),
        (b"POST /livez HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n", 501, "transfer_encoding"),
    ],
)
def test_heads_that_may_be_read_in_two_ways_are_refused(server: Server, head: bytes, status: int, code: str) -> None:
    problem(talk(server, head + b"\r\n0\r\n\r\n"), status, code)


@pytest.mark.parametrize("head", [b"GET /livez HTTP/1.0\r\n", b"GET /livez HTTP/1.1\r\nhost:\r\nconnection: close\r\n"])
def test_probes_need_not_name_a_host(server: Server, head: bytes) -> None:
    assert talk(server, head + b"\r\n").startswith(b"HTTP/1.1 200 ")


def test_the_usual_chunked_in_any_case_is_taken(server: Server) -> None:
    content = solid(RED)
    head = CHUNKED.replace(b"chunked", b" ChUnKeD ")
    answer = talk(server, head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content), LAST)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2


REFUSED: list[tuple[bytes, int]] = [
    (b"POST /nothing HTTP/1.1\r\nhost: x\r\n", 404),
    (b"PUT /v1/predict HTTP/1.1\r\nhost: x\r\n", 405),
    (b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: text/html\r\n", 415),
    (b"POST /v1/predict?top_k=x HTTP/1.1\r\nhost: x\r\n", 400),
    (b"POST /v1/models/nobody/predict HTTP/1.1\r\nhost: x\r\n", 404),
    (b"POST /v1/predict HTTP/1.1\r\nhost: x\r\naccept: text/csv\r\n", 406),
]


@pytest.mark.parametrize("framing", [b"content-length: 1000\r\n\r\n", b"transfer-encoding: chunked\r\n\r\n3e8\r\n"])
@pytest.mark.parametrize(("head", "status"), REFUSED)
def test_an_answer_before_the_body_is_the_connection_s_last(
    server: Server, head: bytes, status: int, framing: bytes
) -> None:
    ((found, said, _),) = split(talk(server, head + framing))
    assert found == status
    assert b"\r\nconnection: close\r\n" in said


@pytest.mark.parametrize(("head", "status"), REFUSED)
def test_a_refused_request_whose_body_is_there_keeps_its_connection(server: Server, head: bytes, status: int) -> None:
    answers = split(talk(server, head + b"content-length: 1000\r\n\r\n" + bytes(1000) + LAST))
    assert [found for found, _, _ in answers] == [status, 200]


def test_a_body_that_is_damaged_after_its_answer_gets_no_second_one(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        connection.sendall(b"POST /nothing HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        answer = connection.recv(65536)
        connection.sendall(b"xyz\r\n")
        answer += b"".join(iter(lambda: connection.recv(65536), b""))
    assert [status for status, _, _ in split(answer)] == [404]
