"""A real service that asks for keys or tokens, spoken to over a real socket."""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.api.app import create_app
from app.api.body import UploadLimits
from app.api.security.perimeter import RESPONSE_HEADERS, STRICT_TRANSPORT
from app.core.health import Health
from app.engines.devices import Device
from tests.api.test_auth import NEW, OLD, key_file
from tests.api.test_problems import check
from tests.fixtures.engines import MeanColourEngine
from tests.fixtures.issuer import AUDIENCE, ROLE, Issuer, issuing
from tests.fixtures.pictures import solid
from tests.fixtures.server import Server, serving
from tests.fixtures.service import colour_model, running_core
from tests.fixtures.waiting import PATIENCE, until

RED = (255, 0, 0)
CONSOLE = "https://console.example"
PROBES = ("/livez", "/startupz", "/readyz")


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with issuing() as issuer:
        yield issuer


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return key_file(tmp_path_factory.mktemp("secrets"), f"camera:{OLD}")


@pytest.fixture(scope="module")
def guarded(repository: Path, keys: Path, issuer: Issuer) -> Iterator[Server]:
    """Keys and tokens, one web page's origin."""
    with serving(
        repository,
        default_model="colour",
        auth="keys+entra",
        api_keys_file=keys,
        entra_issuer=issuer.url,
        entra_audience=AUDIENCE,
        entra_roles=ROLE,
        cors_origins=CONSOLE,
        log_level="debug",
    ) as server:
        yield server
        assert "Traceback" not in server.log


@pytest.fixture(scope="module")
def production(repository: Path, keys: Path) -> Iterator[Server]:
    """As in production, with open metrics and a limit that no test waits out."""
    settings = {"api_keys_file": keys, "metrics_open": True, "rate_limit": 0.001, "rate_burst": 2}
    with serving(repository, default_model="colour", environment="production", auth="keys", **settings) as server:
        yield server


def post(server: Server, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(f"{server.url}/v1/predict", content=solid(RED), headers=named, timeout=PATIENCE)


def test_a_key_or_a_token_is_asked_for(guarded: Server, issuer: Issuer) -> None:
    refused = post(guarded)
    check(refused, 401, "unauthorized")
    assert refused.headers["www-authenticate"] == 'ApiKey realm="roo-vision", Bearer realm="roo-vision"'
    assert post(guarded, x_api_key=OLD).status_code == 200
    assert post(guarded, authorization=f"Bearer {issuer.token()}").status_code == 200
    check(post(guarded, x_api_key=NEW), 401, "unauthorized")
    check(post(guarded, authorization=f"Bearer {OLD}"), 401, "unauthorized")
    check(post(guarded, authorization=f"Bearer {issuer.token(exp=1)}"), 401, "unauthorized")
    check(post(guarded, authorization=f"Bearer {issuer.token(roles=[])}"), 403, "forbidden")


def test_a_key_in_the_address_is_no_key(guarded: Server) -> None:
    check(httpx.get(f"{guarded.url}/v1/models?x-api-key={OLD}&api_key={OLD}", timeout=PATIENCE), 401, "unauthorized")


def test_keys_are_rotated_while_it_serves(guarded: Server, keys: Path) -> None:
    try:
        key_file(keys.parent, f"camera:{OLD}", f"camera:{NEW}")
        until(lambda: post(guarded, x_api_key=NEW).status_code == 200)
        assert post(guarded, x_api_key=OLD).status_code == 200
        key_file(keys.parent, f"camera:{NEW}")
        until(lambda: post(guarded, x_api_key=OLD).status_code == 401)
        assert post(guarded, x_api_key=NEW).status_code == 200
    finally:
        key_file(keys.parent, f"camera:{OLD}")
        until(lambda: post(guarded, x_api_key=OLD).status_code == 200)
    assert OLD not in guarded.log
    assert NEW not in guarded.log


def test_probes_are_open_and_metrics_by_setting(guarded: Server, production: Server) -> None:
    for path in (*PROBES, "/docs", "/openapi.json"):
        assert httpx.get(guarded.url + path, timeout=PATIENCE).status_code == 200
    check(httpx.get(f"{guarded.url}/metrics", timeout=PATIENCE), 401, "unauthorized")
    check(httpx.get(f"{guarded.url}/v1/models", timeout=PATIENCE), 401, "unauthorized")
    text = httpx.get(f"{guarded.url}/metrics", headers={"x-api-key": OLD}, timeout=PATIENCE).text
    assert re.search(r'^roo_refusals_total\{code="unauthorized"\} [1-9]', text, re.MULTILINE)
    assert httpx.get(f"{production.url}/metrics", timeout=PATIENCE).status_code == 200


def test_each_caller_has_its_own_limit(production: Server, keys: Path) -> None:
    key_file(keys.parent, f"camera:{OLD}", f"backend:{NEW}")
    try:
        until(lambda: post(production, x_api_key=NEW).status_code != 401)
        statuses = [post(production, x_api_key=OLD).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        refused = post(production, x_api_key=OLD)
        assert check(refused, 429, "rate_limited")["retryable"] is True
        assert int(refused.headers["retry-after"]) > 1
        assert post(production, x_api_key=NEW).status_code == 200
        assert httpx.get(f"{production.url}/readyz", timeout=PATIENCE).status_code == 200
        assert httpx.get(f"{production.url}/metrics", timeout=PATIENCE).status_code == 200
    finally:
        key_file(keys.parent, f"camera:{OLD}")


@pytest.mark.parametrize("expecting", ["expect: 100-continue\r\n", ""])
def test_a_large_picture_is_refused_before_it_is_sent(guarded: Server, expecting: str) -> None:
    head = f"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-length: 50000000\r\n{expecting}\r\n"
    with socket.create_connection(("127.0.0.1", guarded.port), PATIENCE) as connection:
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))  # until the service hangs up
    assert answer.startswith(b"HTTP/1.1 401 ")  # and not 100 Continue
    assert b"connection: close" in answer.lower()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "unauthorized"


@pytest.mark.parametrize(
    ("beginning", "piece"),
    [
        (b"GET /livez HTTP/1.1\r\n", b"x-more: " + b"a" * 4000 + b"\r\n"),
        (b"GET /livez HTTP/1.1\r\nx-endless: ", b"a" * 4000),
        (b"GET /", b"a" * 4000),
        (
            b"POST /livez HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
            b"x-more: " + b"a" * 4000 + b"\r\n",
        ),
        (b"POST /livez HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1;x=", b"a" * 4000),
    ],
)
def test_headers_without_end_are_cut_off(guarded: Server, beginning: bytes, piece: bytes) -> None:
    with socket.create_connection(("127.0.0.1", guarded.port), PATIENCE) as connection:
        connection.sendall(beginning)
        with pytest.raises(ConnectionError):  # noqa: PT012  which of them fails is the kernel's affair
            for _ in range(100):
                connection.sendall(piece * 10_000)


def test_large_headers_and_pipelined_requests_are_still_taken(guarded: Server) -> None:
    request = b"GET /livez HTTP/1.1\r\nhost: x\r\nx-large: " + b"a" * 30_000 + b"\r\n\r\n"
    last = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    assert raw(guarded, request * 10 + last).count("http/1.1 200 ok") == 11
    large = solid(RED) + bytes(900_000)
    with guarded.client() as client:
        for _ in range(3):
            assert client.post("/v1/predict", content=large, headers={"x-api-key": OLD}).status_code == 200


def test_who_is_refused_may_ask_again_with_a_key(guarded: Server) -> None:
    with guarded.client() as client:
        assert client.post("/v1/predict", content=solid(RED)).status_code == 401
        assert client.post("/v1/predict", content=solid(RED), headers={"x-api-key": OLD}).status_code == 200


def raw(server: Server, request: bytes) -> str:
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode().lower()


def test_security_headers_are_on_every_response(guarded: Server, production: Server, server: Server) -> None:
    with guarded.client() as client:
        key = {"x-api-key": OLD}
        responses = [
            client.get("/livez"),
            client.get("/docs"),
            client.get("/v1/models"),
            client.get("/nothing", headers=key),
            client.delete("/v1/predict", headers=key),
            client.post("/v1/predict", content=b"no picture", headers=key),
            client.post("/v1/predict", content=solid(RED), headers=key),
            client.options("/v1/predict", headers={"origin": CONSOLE, "access-control-request-method": "POST"}),
        ]
    assert [response.status_code for response in responses] == [200, 200, 401, 404, 405, 415, 200, 200]
    for response in responses:
        assert all(value in response.headers[name] for name, value in RESPONSE_HEADERS)
        assert "x-request-id" in response.headers
        assert "server" not in response.headers
        assert "strict-transport-security" not in response.headers
    assert "\r\nx-content-type-options: nosniff\r\n" in raw(guarded, b"nonsense\r\n\r\n")
    assert httpx.get(f"{server.url}/livez", timeout=PATIENCE).headers["x-frame-options"] == "DENY"
    name, value = STRICT_TRANSPORT
    assert httpx.get(f"{production.url}/livez", timeout=PATIENCE).headers[name] == value


async def test_an_unexpected_error_has_its_request_id_too() -> None:
    def broken() -> bytes:
        raise RuntimeError("secret words")

    with running_core(colour_model(MeanColourEngine())) as core:
        health = Health(core.service.registry, core.executor, core.capacity, Device("auto", "cpu", 0, ""))
        app = create_app(core.service, health, UploadLimits(1, 1, 1, 1.0), broken)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            response = await client.get("/metrics", headers={"x-request-id": "mine"})
    assert check(response, 500, "internal_error")["request_id"] == "mine"
    assert "secret" not in response.text


def preflight(server: Server, origin: str) -> httpx.Response:
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-api-key,content-type",
    }
    return httpx.options(f"{server.url}/v1/predict", headers=headers, timeout=PATIENCE)


def allows(response: httpx.Response) -> str | None:
    allowed: str | None = response.headers.get("access-control-allow-origin")
    return allowed


def test_web_pages_of_other_origins_are_kept_out_by_default(server: Server) -> None:
    assert preflight(server, CONSOLE).status_code == 405
    assert allows(preflight(server, CONSOLE)) is None
    assert allows(post(server, origin=CONSOLE)) is None


def test_the_named_origin_may_ask_and_no_other(guarded: Server) -> None:
    assert preflight(guarded, CONSOLE).status_code == 200
    assert allows(preflight(guarded, CONSOLE)) == CONSOLE
    answered = post(guarded, origin=CONSOLE, x_api_key=OLD)
    assert (answered.status_code, allows(answered)) == (200, CONSOLE)
    refused = post(guarded, origin=CONSOLE)  # a page must be able to read why
    assert (refused.status_code, allows(refused)) == (401, CONSOLE)
    for origin in ("https://evil.example", f"{CONSOLE}.evil.example", "http://console.example", f"{CONSOLE}:444"):
        assert allows(preflight(guarded, origin)) is None
        assert allows(post(guarded, origin=origin, x_api_key=OLD)) is None
    assert "access-control-allow-credentials" not in answered.headers


def test_the_documentation_says_what_is_asked(guarded: Server, server: Server) -> None:
    document = httpx.get(f"{guarded.url}/openapi.json", timeout=PATIENCE).json()
    assert document["components"]["securitySchemes"] == {
        "ApiKeys": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
        "Tokens": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    }
    assert document["security"] == [{"ApiKeys": []}, {"Tokens": []}]
    assert {"401", "403", "503"} <= set(document["paths"]["/v1/predict"]["post"]["responses"])
    assert "401" in document["paths"]["/metrics"]["get"]["responses"]
    assert document["paths"]["/readyz"]["get"]["security"] == []
    assert "401" not in document["paths"]["/readyz"]["get"]["responses"]
    plain = httpx.get(f"{server.url}/openapi.json", timeout=PATIENCE).json()
    assert "security" not in plain
    assert "401" not in plain["paths"]["/v1/predict"]["post"]["responses"]


def test_the_command_line_sends_a_key(guarded: Server, tmp_path: Path) -> None:
    picture = tmp_path / "red.png"
    picture.write_bytes(solid(RED))
    command = [sys.executable, "-m", "app", "predict", str(picture), "--url", guarded.url]

    def run(*more: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, **variables}
        return subprocess.run([*command, *more], env=environment, capture_output=True, text=True, check=False)

    refused = run()
    assert refused.returncode == 1
    assert "X-Api-Key" in refused.stderr
    assert run(ROO_API_KEY=OLD).returncode == 0
    assert run("--key", OLD).returncode == 0
