"""The stage of the pressure benchmark: a service of some state of the code, and those who press it."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from app.bench.load import HOST
from app.bench.processes import Child

ANSWER_SECONDS = 120.0
"""How long an answer to a hostile request is waited for."""


class LivezWatch:
    """Asks `/livez` from a process of its own while its `with` block runs."""

    def __init__(self, port: int, folder: Path) -> None:
        self.worst_ms = 0.0
        self._child = Child("watch", ["benchmarks.livez_watch", str(port)], folder, talks=True)
        self._child.listen()

    def __enter__(self) -> "LivezWatch":
        return self

    def __exit__(self, *_: object) -> None:
        with self._child:
            self.worst_ms = float(self._child.ask("end").split()[0])


def send_at_once(port: int, request: bytes, connections: int) -> dict[str, int]:
    """Send a request over so many connections at once and wait for the answers; how many there were of each status."""
    answers: dict[str, int] = {}
    lock = threading.Lock()

    def send() -> None:
        status = _ask(port, request)
        with lock:
            answers[status] = answers.get(status, 0) + 1

    threads = [threading.Thread(target=send, daemon=True) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@contextlib.contextmanager
def silent_uploads(port: int, count: int, announced: int) -> Iterator[None]:
    """So many connections that announce a body of that size and send nothing of it."""
    head = (
        f"POST /v1/predict HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        f"Content-Length: {announced}\r\n\r\n"
    )
    with contextlib.ExitStack() as opened:
        for _ in range(count):
            connection = opened.enter_context(socket.create_connection((HOST, port), timeout=10))
            connection.sendall(head.encode())
        time.sleep(1)  # until the last of them has been read
        yield


def mean_compute_seconds(port: int, model: str) -> float:
    """How long a model's batches have taken on average since the start, as the service's own metrics say."""
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_SECONDS)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    labels = (f'model="{model}"', 'stage="compute"')
    found = {
        part: sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith(f"roo_stage_seconds_{part}{{") and all(label in line for label in labels)
        )
        for part in ("sum", "count")
    }
    return found["sum"] / found["count"]


def _ask(port: int, request: bytes) -> str:
    """The status of the answer; `cut` where the connection ended without one, `silent` where none came."""
    with socket.create_connection((HOST, port), timeout=ANSWER_SECONDS) as connection:
        with contextlib.suppress(ConnectionError):  # refused before all of it was sent: the answer is there
            connection.sendall(request)
        answer = b""
        try:
            while len(answer) < 12 and (part := connection.recv(4096)):
                answer += part
            while connection.recv(1 << 20):
                pass
        except TimeoutError:
            return "silent"
        except ConnectionError:
            pass
    return answer[9:12].decode("latin-1") or "cut"
