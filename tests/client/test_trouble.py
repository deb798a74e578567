"""Services that are busy, closed, gone, or none at all."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.client import AsyncClient, Client, Limits, Prediction, Refused, ServiceError, Unreachable
from tests.api.test_auth import NEW, OLD, key_file
from tests.client.conftest import Connect
from tests.fixtures.issuer import AUDIENCE, ROLE, issuing
from tests.fixtures.models import add_slow_colour_model
from tests.fixtures.pictures import solid
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import PATIENCE, until

RED = (255, 0, 0)
PREDICTION = {
    "model": "colour",
    "version": "1",
    "request_id": "r",
    "image": {"width": 1, "height": 1},
    "batch_size": 1,
    "timings_ms": dict.fromkeys(("queue", "decode", "prepare", "compute", "finish", "total"), 0),
}


class Scripted:
    """A service that says what it was told to, and the last of it for ever."""

    def __init__(self, *answers: tuple[int, dict[str, str], Any]) -> None:
        self.asked = 0
        self.answers = answers
        self.url = ""


@contextmanager
def scripted(*answers: tuple[int, dict[str, str], Any]) -> Iterator[Scripted]:
    script = Scripted(*answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            status, headers, body = script.answers[min(script.asked, len(script.answers) - 1)]
            script.asked += 1
            content = httpx.Response(status, json=body).content if not isinstance(body, bytes) else body
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        script.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield script
        finally:
            server.shutdown()
            thread.join()


BUSY = {"status": 503, "detail": "There is no room.", "code": "overloaded", "retryable": True, "request_id": "r"}


@pytest.mark.parametrize("told", ["0", formatdate(0, usegmt=True), "soon", ""])
def test_it_asks_again_when_it_was_told_to(connect: Connect, told: str) -> None:
    busy = (503, {"retry-after": told}, BUSY)
    with scripted(busy, (429, {}, b"<html>"), (200, {}, PREDICTION)) as service, connect(service.url) as client:
        assert client.predict(solid(RED)).model == "colour"
    assert service.asked == 3


def test_it_does_not_wait_for_what_would_be_too_late(connect: Connect) -> None:
    with (
        scripted((503, {"retry-after": "30"}, BUSY)) as service,
        connect(service.url, timeout=20) as client,
        pytest.raises(Refused, match="There is no room") as raised,
    ):
        client.predict(solid(RED))
    assert service.asked == 1
    assert (raised.value.code, raised.value.retryable) == ("overloaded", True)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 413, 415, 422, 500, 502, 504])
def test_other_errors_are_final(connect: Connect, status: int) -> None:
    with (
        scripted((status, {"retry-after": "0"}, b"<html>")) as service,
        connect(service.url) as client,
        pytest.raises(Refused, match=rf"127.0.0.1 answered {status} \w+") as raised,
    ):
        client.predict(solid(RED))
    assert service.asked == 1
    assert (raised.value.status, raised.value.retryable) == (status, False)


@pytest.mark.parametrize("body", [b"<html>", {"results": []}, {"results": [{"prediction": None}]}, []])
def test_answers_that_are_none(connect: Connect, body: Any) -> None:
    with scripted((200, {}, body)) as service, connect(service.url) as client:
        with pytest.raises(ServiceError, match="not what was asked for"):
            client.predict(solid(RED))
        with pytest.raises(ServiceError, match=r"not what was asked for|gave"):
            client.predict_many([solid(RED)])


SEVERAL = {"results": [{"prediction": PREDICTION}] * 2}


@pytest.mark.parametrize(
    ("then", "kind"),
    [
        ((200, {"content-length": "100000"}, b"cut"), Unreachable),
        ((503, {"retry-after": "60"}, BUSY), Refused),
        ((200, {}, b"nonsense"), ServiceError),
    ],
)
def test_answers_that_had_come_are_kept(connect: Connect, then: Any, kind: type[ServiceError]) -> None:
    limits = Limits(pictures=2)
    with scripted((200, {}, SEVERAL), then) as service, connect(service.url, timeout=1, limits=limits) as client:
        with pytest.raises(kind, match=r"2 of 5 pictures are answered .*, 2 to 4 are missing") as error:
            client.predict_many([solid(RED)] * 5)
        assert [answer.model for answer in error.value.answers] == ["colour", "colour"]
        assert list(error.value.missing) == [2, 3, 4]
    with scripted(then) as service, connect(service.url, timeout=1, limits=limits) as client:
        with pytest.raises(kind) as error:
            client.predict_many([solid(RED)] * 3)
        assert "answered (" not in str(error.value)
        assert (list(error.value.answers), list(error.value.missing)) == ([], [0, 1, 2])


def test_nobody_there(connect: Connect) -> None:
    with connect("http://127.0.0.1:1", connect_timeout=0.3) as client:
        with pytest.raises(Unreachable, match=r"http://127.0.0.1:1 cannot be asked: .* attempts? in 0.3 s"):
            client.predict(solid(RED))
        assert not client.ready()


def test_keys(connect: Connect, repository: Path, tmp_path: Path) -> None:
    keys = key_file(tmp_path, f"camera:{OLD}")
    with serving(repository, default_model="colour", auth="keys", api_keys_file=keys) as server:
        with connect(server.url, api_key=OLD) as client:
            assert client.predict(solid(RED)).model == "colour"
        for wrong in ({}, {"api_key": NEW}, {"token": OLD}):
            with connect(server.url, **wrong) as client:
                with pytest.raises(Refused) as raised:
                    client.predict_many([solid(RED)])
                assert (raised.value.status, raised.value.code) == (401, "unauthorized")


def test_tokens_are_asked_for_each_time(connect: Connect, repository: Path) -> None:
    with issuing() as issuer:
        settings = {"entra_issuer": issuer.url, "entra_audience": AUDIENCE, "entra_roles": ROLE}
        with serving(repository, default_model="colour", auth="entra", **settings) as server:
            tokens = [issuer.token(), "none"]
            with connect(server.url, token=lambda: tokens.pop(0)) as client:
                assert client.predict(solid(RED)).model == "colour"
                with pytest.raises(Refused, match="token"):
                    client.predict(solid(RED))
            with connect(server.url, token=issuer.token()) as client:
                assert client.predict(solid(RED)).model == "colour"


async def test_a_token_may_be_waited_for(server: Server) -> None:
    async def token() -> str:
        return "t"

    async with AsyncClient(server.url, token=token) as client:
        assert (await client.predict(solid(RED))).model == "colour"


def test_a_rate_limit_is_waited_out(connect: Connect, repository: Path) -> None:
    with serving(repository, default_model="colour", rate_limit=5, rate_burst=1) as server:
        with connect(server.url) as client:
            assert [client.predict(solid(RED)).model for _ in range(3)] == ["colour"] * 3
        assert '"status":429' in server.log.replace(" ", "")


def test_overload_is_waited_out(tmp_path: Path) -> None:
    add_slow_colour_model(tmp_path, steps=150)
    with (
        serving(tmp_path, lanes=1, max_batch=1, max_inflight=2) as server,
        Client(server.url, timeout=PATIENCE) as client,
        ThreadPoolExecutor(6) as pool,
    ):
        answers = list(pool.map(lambda _: client.predict(solid(RED)), range(12)))
        assert all(isinstance(answer, Prediction) for answer in answers)
        assert '"status":503' in server.log.replace(" ", "")


def test_a_service_that_is_replaced_is_waited_for(connect: Connect, repository: Path) -> None:
    with serving(repository, default_model="colour") as old, connect(old.url, timeout=PATIENCE) as client:
        assert client.predict(solid(RED)).model == "colour"
        old.terminate()
        until(lambda: "not ready" in old.log)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(client.predict, solid(RED))
            assert old.wait() == 0
            with serving(repository, default_model="colour", port=old.port):
                assert answer.result(PATIENCE).model == "colour"


def test_a_service_that_goes_away_in_between(connect: Connect, tmp_path: Path) -> None:
    add_slow_colour_model(tmp_path, steps=10_000)
    with (
        serving(tmp_path, lanes=1, max_batch=1) as server,
        connect(server.url, timeout=3) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        answer = pool.submit(client.predict, solid(RED))
        until(lambda: "roo_in_flight 1" in httpx.get(f"{server.url}/metrics", timeout=PATIENCE).text)
        server.process.kill()
        with pytest.raises(Unreachable, match="cannot be asked"):
            answer.result(PATIENCE)
