"""The load generator against small servers over real sockets."""

import contextlib
import itertools
import socketserver
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from app.bench import load
from app.errors import StartupError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy"


@contextlib.contextmanager
def server(answer: Callable[[int, bytes], bytes | None]) -> Iterator[int]:
    """Answers the n-th request with what `answer` says, or closes the connection for None; gives the port."""
    numbers = itertools.count()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                while head := self.rfile.readline():
                    while (line := self.rfile.readline()) != b"\r\n":
                        head += line
                    length = int(head.lower().partition(b"content-length:")[2].split()[0])
                    reply = answer(next(numbers), self.rfile.read(length))
                    if reply is None:
                        return
                    for piece in (reply[:7], reply[7:]):  # an answer may come in parts
                        self.wfile.write(piece)
                        self.wfile.flush()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 64

    with Server((load.HOST, 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield listening.server_address[1]
        finally:
            listening.shutdown()
            thread.join()


def test_every_request_is_sent_once_and_every_answer_told() -> None:
    seen: list[bytes] = []
    told: list[int] = []

    def answer(_: int, body: bytes) -> bytes:
        seen.append(body)
        return OK

    bodies = [b"%d" % number for number in range(50)]
    with server(answer) as port:
        posts = (load.post("/predict", "image/jpeg", body) for body in bodies)
        assert load.send(port, posts, 8, told.append) == (0, None)
    assert sorted(seen) == sorted(bodies)
    assert told == list(range(1, 51))


def test_fewer_requests_than_connections() -> None:
    with server(lambda number, body: OK) as port:
        assert load.send(port, [load.post("/", "image/png", b"x")], 8, lambda _: None) == (0, None)


def test_a_window_is_measured() -> None:
    with server(lambda number, body: OK) as port:
        measured = load.press(load.Target(port, time.process_time), [load.post("/", "image/jpeg", b"x")], 4, 0.05, 0.2)
    assert measured.pictures > 0
    assert measured.per_second == pytest.approx(measured.pictures / measured.window_seconds)
    assert 0 < measured.p50_ms <= measured.p99_ms
    assert measured.errors == 0


def test_other_answers_than_200_are_errors_and_not_pictures() -> None:
    with server(lambda number, body: BUSY if number == 3 else OK) as port:
        errors, first = load.send(port, [load.post("/", "image/jpeg", b"x")] * 20, 2, lambda _: None)
    assert errors == 1
    assert first is not None
    assert "503" in first
    assert "busy" in first


def test_a_connection_that_the_server_drops_is_an_error_and_is_replaced() -> None:
    answered: list[int] = []
    with server(lambda number, body: None if number in (2, 5) else OK) as port:
        errors, first = load.send(port, [load.post("/", "image/jpeg", b"x")] * 20, 2, answered.append)
    assert errors == 2
    assert first is not None
    assert "closed the connection" in first
    assert answered[-1] == 18


def test_a_server_that_is_not_there() -> None:
    with server(lambda number, body: OK) as port:
        pass
    with pytest.raises(StartupError, match="Nothing answers on"):
        load.send(port, [load.post("/", "image/jpeg", b"x")], 2, lambda _: None)
