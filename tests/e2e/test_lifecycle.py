"""A real process from start to stop: nothing that was accepted is lost, nothing broken starts."""

import asyncio
import http.client
import os
import socket
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, closing
from pathlib import Path

import httpx
import pytest

from tests.fixtures.models import add_colour_model, add_slow_colour_model, save_mean_colour
from tests.fixtures.pictures import solid
from tests.fixtures.server import START_PATIENCE, Server, serving
from tests.fixtures.waiting import PATIENCE, until

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def slow_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("slow")
    add_slow_colour_model(root)
    return root


def in_flight(server: Server) -> int:
    # Not httpx: making a client takes longer than the requests that are watched here.
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    (line,) = (line for line in text.splitlines() if line.startswith("roo_in_flight "))
    return int(float(line.split()[1]))


def run(arguments: list[str], **settings: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, **settings}
    command = [sys.executable, "-m", "app", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


async def test_sigterm_loses_no_request_in_flight(slow_repository: Path) -> None:
    with serving(slow_repository) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
            requests = [asyncio.create_task(client.post("/v1/predict", content=solid(RED))) for _ in range(8)]
            await asyncio.to_thread(until, lambda: in_flight(server) == 8)
            server.terminate()
            responses = await asyncio.gather(*requests)
        assert [response.status_code for response in responses] == [200] * 8
        assert await asyncio.to_thread(server.wait) == 0
        assert "Traceback" not in server.log


async def test_a_second_sigterm_loses_nothing_either(slow_repository: Path) -> None:
    with serving(slow_repository) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
            requests = [asyncio.create_task(client.post("/v1/predict", content=solid(RED))) for _ in range(8)]
            await asyncio.to_thread(until, lambda: in_flight(server) == 8)
            server.terminate()
            await asyncio.to_thread(until, lambda: "not ready" in server.log)
            server.terminate()
            await asyncio.to_thread(until, lambda: "stopping already" in server.log)
            responses = await asyncio.gather(*requests)
        assert [response.status_code for response in responses] == [200] * 8
        assert await asyncio.to_thread(server.wait) == 0


def test_no_library_has_the_last_word() -> None:
    shelf = Path(__file__).parents[2] / "models"
    with serving(shelf) as server:
        picture = sorted((shelf / "shelf" / "examples").glob("*.jpg"))[0].read_bytes()
        answer = httpx.post(f"{server.url}/v1/predict", content=picture, timeout=PATIENCE).json()
        assert any(found["text"] for found in answer["detections"])
        server.terminate()
        assert server.wait() == 0
        assert all(line.startswith("{") for line in server.lines), server.lines[-3:]


def test_a_closed_standard_output_is_one_readable_message(repository: Path) -> None:
    command = f"exec {sys.executable} -m app serve --models-dir {repository} >&-"
    done = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "Standard output is closed" in done.stderr
    assert "Traceback" not in done.stderr


async def test_while_draining_it_is_not_ready_but_still_answers(slow_repository: Path) -> None:
    with serving(slow_repository, drain_delay=2) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=PATIENCE) as client:
            server.terminate()
            await asyncio.to_thread(until, lambda: "not ready" in server.log)
            ready = await client.get("/readyz")
            assert ready.status_code == 503
            assert ready.json()["checks"]["draining"] == "shutting down"
            assert (await client.get("/livez")).status_code == 200
            assert (await client.post("/v1/predict", content=solid(RED))).status_code == 200
        assert await asyncio.to_thread(server.wait) == 0


def test_kept_connections_are_told_to_close_and_none_is_cut(repository: Path) -> None:
    seen: Counter[str] = Counter()

    def ask_until_refused(server: Server, body: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        try:
            while True:
                connection.request("POST", "/v1/models/colour/predict", body)
                answer = connection.getresponse()
                answer.read()
                seen[f"{answer.status} {answer.getheader('connection', 'kept')}"] += 1
        except ConnectionRefusedError:
            seen["refused before it was sent"] += 1
        except (OSError, http.client.HTTPException) as error:
            seen[f"cut: {error!r}"] += 1

    with (
        serving(repository, drain_delay=1, default_model="colour") as server,
        ThreadPoolExecutor(12) as pool,
        closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as idle,
    ):
        idle.request("GET", "/livez")
        idle.getresponse().read()
        asking = [pool.submit(ask_until_refused, server, solid(RED)) for _ in range(12)]
        until(lambda: seen["200 kept"] > 100)
        server.terminate()
        until(lambda: seen["200 close"] > 12)
        idle.request("POST", "/v1/predict", solid(RED))
        assert idle.getresponse().getheader("connection") == "close"
        for client in asking:
            client.result(PATIENCE)
        assert server.wait() == 0
    assert set(seen) == {"200 kept", "200 close", "refused before it was sent"}
    assert seen["refused before it was sent"] == 12


def test_an_idle_connection_is_kept_as_long_as_the_setting_says(slow_repository: Path) -> None:
    with (
        serving(slow_repository, keep_alive=0.2, drain_delay=1) as server,
        socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection,
    ):
        connection.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"".join(iter(lambda: connection.recv(65536), b"")).startswith(b"HTTP/1.1 200 OK")


async def test_the_grace_period_ends_whatever_is_still_computed(tmp_path: Path) -> None:
    add_slow_colour_model(tmp_path, steps=40_000)  # its first answer would come long after
    with serving(tmp_path, grace_period=2.5, lanes=1, max_batch=1) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=START_PATIENCE) as client:
            request = asyncio.create_task(client.post("/v1/predict", content=solid(RED)))
            await asyncio.to_thread(until, lambda: in_flight(server) == 1)
            server.terminate()
            response = await request
        assert (response.status_code, response.json()["code"]) == (503, "draining")
        assert await asyncio.to_thread(server.wait) == 0
    assert "Traceback" not in server.log


async def test_what_cannot_be_finished_in_the_grace_period_is_told_so(slow_repository: Path) -> None:
    with serving(slow_repository, grace_period=2.2, lanes=1, max_batch=1) as server:
        async with httpx.AsyncClient(base_url=server.url, timeout=START_PATIENCE) as client:
            requests = [asyncio.create_task(client.post("/v1/predict", content=solid(RED))) for _ in range(60)]

            def all_sent_and_one_answered() -> bool:
                answered = sum(request.done() for request in requests)
                return bool(answered) and answered + in_flight(server) == 60

            await asyncio.to_thread(until, all_sent_and_one_answered, patience=START_PATIENCE)
            server.terminate()
            responses = await asyncio.gather(*requests)
        statuses = [response.status_code for response in responses]
        assert set(statuses) == {200, 503}
        refused = next(response for response in responses if response.status_code == 503)
        assert refused.json()["code"] == "draining"
        assert "retry-after" in refused.headers
        assert await asyncio.to_thread(server.wait) == 0


async def test_a_client_that_hangs_up_frees_its_place(tmp_path: Path) -> None:
    add_slow_colour_model(tmp_path, steps=10_000)  # the first may not be answered before all six have been seen
    with serving(tmp_path, lanes=1, max_batch=1, max_inflight=6) as server:
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=server.url, timeout=PATIENCE))
            body = solid(RED)
            head = f"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            connections = [
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port), PATIENCE)) for _ in range(6)
            ]
            for connection in connections:
                connection.sendall(head + body)
            await asyncio.to_thread(until, lambda: in_flight(server) == 6)
            refused = await client.post("/v1/predict", content=solid(BLUE))
            assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
            assert int(refused.headers["retry-after"]) >= 1
            for connection in connections[1:]:
                connection.close()
            await asyncio.to_thread(until, lambda: in_flight(server) <= 1)
            assert (await client.post("/v1/predict", content=solid(BLUE))).status_code == 200


def test_a_client_that_stops_sending_is_not_waited_for(slow_repository: Path) -> None:
    with (
        serving(slow_repository, upload_timeout=0.3) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as connection,
    ):
        connection.sendall(b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nonly this")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))  # until the service hangs up
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nconnection: close\r\n" in answer


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ROO_PORT": "high"}, "ROO_PORT"),
        ({"ROO_MAX_PIXEL": "5"}, "ROO_MAX_PIXEL"),
        ({"ROO_DEVICE": "tpu"}, "ROO_DEVICE"),
        ({"ROO_DEVICE": "cuda"}, "demands a GPU"),
        ({"ROO_DRAIN_DELAY": "60"}, "ROO_GRACE_PERIOD"),
        ({"ROO_MODELS_DIR": "/nowhere"}, "/nowhere"),
        ({"ROO_DEFAULT_MODEL": "nobody"}, "nobody"),
        ({"ROO_HOST": "999.0.0.1"}, "ROO_HOST"),
        ({"ROO_ENVIRONMENT": "production"}, "set ROO_AUTH to keys, entra or keys+entra"),
        ({"ROO_AUTH": "keys", "ROO_API_KEYS_FILE": "/nowhere/keys"}, "/nowhere/keys"),
    ],
)
def test_a_start_that_cannot_be_is_one_readable_message(
    slow_repository: Path, settings: dict[str, str], words: str
) -> None:
    settings = {"ROO_MODELS_DIR": str(slow_repository), "ROO_PORT": "0", "ROO_HOST": "127.0.0.1", **settings}
    done = run(["serve"], **settings)
    assert done.returncode == 2
    assert words in done.stderr
    assert "roo-vision: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_said(slow_repository: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = run(["serve"], ROO_MODELS_DIR=str(slow_repository), ROO_HOST="127.0.0.1", ROO_PORT=port)
    assert done.returncode == 2
    assert f"port {port}" in done.stderr


def test_a_broken_model_stops_the_start(tmp_path: Path) -> None:
    folder = add_colour_model(tmp_path)
    (folder / "1" / "model.onnx").write_bytes(b"not a model")
    done = run(["serve"], ROO_MODELS_DIR=str(tmp_path), ROO_HOST="127.0.0.1", ROO_PORT="0")
    assert done.returncode == 2
    assert "model.onnx" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_signal_while_loading_stops_it_whatever_loading_still_does(tmp_path: Path) -> None:
    add_slow_colour_model(tmp_path, steps=10**12)  # its first picture, with which it is warmed, ends in no test's time
    settings = {"ROO_MODELS_DIR": str(tmp_path), "ROO_HOST": "127.0.0.1", "ROO_PORT": "0"}
    environment = {**os.environ, **settings, "ROO_CALIBRATE": "false"}
    command = [sys.executable, "-m", "app", "serve"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        # The first line comes once the signal handlers' process is past its imports; loading goes on from there.
        process.stdout.readline()
        until(lambda: _handles_sigterm(process.pid))
        process.terminate()
        try:
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()


def _handles_sigterm(pid: int) -> bool:
    """Whether the process catches SIGTERM (bit 15 of `SigCgt` in /proc)."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & 1 << 14)


def test_what_is_fastest_is_tried_at_the_start_and_said(tmp_path: Path) -> None:
    folder = add_colour_model(tmp_path, "open", size=1024, batching={"max_size": 8})
    save_mean_colour(folder / "1" / "model.onnx", size=1024)
    add_colour_model(tmp_path, "small", batching={"max_size": 16})
    add_colour_model(tmp_path, "settled", batching={"max_size": 1})
    with serving(tmp_path, calibrate=True, default_model="open") as server, server.client() as client:
        tried, small, settled = (
            client.get(f"/v1/models/{name}").json()["versions"][0] for name in ("open", "small", "settled")
        )
        answer = client.post("/v1/predict", content=solid(RED))
    assert tried["max_batch_size"] in (1, 4, 8)
    assert tried["batch_reason"].startswith("measured at the start: ")
    assert small["max_batch_size"] == 8
    assert small["batch_reason"].startswith("its network takes 0.")
    assert (settled["max_batch_size"], settled["batch_reason"]) == (1, "the manifest's")
    assert "what is fastest here" in server.log
    assert answer.status_code == 200
