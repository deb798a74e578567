"""Sinks as they are in Azure: over TLS, and Cosmos DB entered as the process's managed identity."""

import ssl
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web

from app.devbus.broker import Broker
from app.errors import ResultsUnavailable
from app.sinks import persistence
from app.sinks.base import Finding
from app.sinks.webhook import Webhook
from tests.fixtures.certificates import certificate
from tests.fixtures.cosmos import Cosmos
from tests.fixtures.hook import SECRET, Hook
from tests.fixtures.http_place import HttpPlace
from tests.fixtures.queue import picture, put, results
from tests.fixtures.server import serving
from tests.fixtures.waiting import until_async


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A certificate that nobody knows, and what serves with it."""
    cert, key = certificate(tmp_path_factory.mktemp("tls"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    return SimpleNamespace(path=cert, context=context)


async def token(request: web.Request) -> web.Response:
    """A token of the platform's identity endpoint."""
    expires = str(int(time.time()) + 3600)
    asked = request.query["resource"]
    return web.json_response(
        {"access_token": "THETOKEN", "expires_on": expires, "token_type": "Bearer", "resource": asked}
    )


async def test_a_result_is_kept_over_tls_by_an_identity(repository: Path, tls: SimpleNamespace) -> None:
    hook, cosmos = Hook(), Cosmos()
    hook.tls = cosmos.tls = tls.context
    cosmos.token = "THETOKEN"
    async with Broker(["jobs", "results"]) as broker, hook, cosmos, HttpPlace(token) as identity:
        azure = {"IDENTITY_ENDPOINT": f"http://127.0.0.1:{identity.port}/token", "IDENTITY_HEADER": "x"}
        settings = {
            "servicebus_connection_string": broker.connection_string,
            "queue": "jobs",
            "results_queue": "results",
            "default_model": "colour",
            "cosmos_endpoint": f"https://localhost:{cosmos.port}",
            "cosmos_database": "robots",
            "cosmos_container": "results",
            "webhook_url": f"https://localhost:{hook.port}/in",
            "webhook_secret": SECRET,
            "webhook_hosts": "localhost",
        }
        with serving(repository, {**azure, "SSL_CERT_FILE": str(tls.path)}, **settings) as server:
            await put(broker, [picture((1, 2, 3), "kept")])
            await until_async(lambda: hook.taken and cosmos.items)
            await results(broker, 1)
            assert "THETOKEN" not in server.log
        assert set(hook.by_request) == set(cosmos.by_request) == {"kept"}


async def test_who_cannot_prove_to_be_the_receiver_gets_nothing(
    tls: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persistence, "FIRST_PAUSE", 0.001)
    hook = Hook()
    hook.tls = tls.context
    async with hook:
        webhook = Webhook(f"https://localhost:{hook.port}/in", [SECRET.encode()], {"localhost"}, 1000)
        with pytest.raises(ResultsUnavailable, match="ClientConnectorCertificateError"):
            await webhook.keep(Finding("abc", b"{}", {}))
        await webhook.close()
        assert hook.asked == 0
