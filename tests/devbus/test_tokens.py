"""Tokens arrive at `$cbs`: the SDK's own SAS tokens, and those of a managed identity."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.identity.aio import ManagedIdentityCredential
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusClient

from app.devbus.broker import Broker
from tests.devbus.sdk import Sdk

IDENTITY_TOKEN = "header.payload.signature"


@pytest.fixture
async def identity_endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """What hosts in Azure offer to their programs; yields the resources that tokens were asked for."""
    asked: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        asked.extend(parse_qs(urlsplit(head.split(b" ")[1].decode()).query)["resource"])
        expires_on = str(int(time.time()) + 3600)
        answer = {"access_token": IDENTITY_TOKEN, "expires_on": expires_on, "resource": asked[-1]}
        body = json.dumps({**answer, "token_type": "Bearer"}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{port}/token")
    monkeypatch.setenv("IDENTITY_HEADER", "secret")
    yield asked
    server.close()


async def test_a_connection_strings_token_is_recorded(broker: Broker, sdk: Sdk) -> None:
    await sdk.send("jobs", b"one")
    (token,) = broker.tokens
    assert token.kind == "sas"
    assert token.token.startswith("SharedAccessSignature sr=")
    assert token.audience.endswith("/jobs")


async def test_a_managed_identitys_token_arrives(broker: Broker, identity_endpoint: list[str]) -> None:
    async with (
        ManagedIdentityCredential() as credential,
        ServiceBusClient(f"127.0.0.1:{broker.port}", credential, use_tls=False) as client,
        client.get_queue_sender("jobs") as sender,
    ):
        await sender.send_messages(ServiceBusMessage(b"one"))
    assert identity_endpoint == ["https://servicebus.azure.net/"]
    assert [(token.kind, token.token) for token in broker.tokens] == [("jwt", IDENTITY_TOKEN)]
    assert broker.queue("jobs").depths.active == 1
