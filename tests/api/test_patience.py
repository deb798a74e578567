"""How long the server waits for who does not send, and for who does not read. In this process, with little patience."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import Receive, Scope, Send

from app.api import protocol, slow_reader
from app.http_server import HttpServer, listen
from app.settings import Settings
from tests.fixtures.waiting import PATIENCE, until_async

LARGE = bytes(64 * 1024 * 1024)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with very much, whatever is asked."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    scope["state"]["status"] = 200
    headers = [(b"content-length", b"%d" % len(LARGE))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": LARGE})


@asynccontextmanager
async def connected(settings: Settings) -> AsyncIterator[tuple[HttpServer, asyncio.StreamReader, asyncio.StreamWriter]]:
    with listen(settings) as listener:
        server = HttpServer(application, settings)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        try:
            async with asyncio.timeout(PATIENCE):
                yield server, reader, writer
        finally:
            writer.close()
            server.stop()
            server.cut()
            await serving


@pytest.fixture
def settings() -> Settings:
    return Settings(host="127.0.0.1", port=0)


async def test_a_head_that_does_not_end_is_not_waited_for(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
    async with connected(settings) as (_, reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nx-more: ")
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"upload_timeout"' in answer


async def test_a_second_head_that_does_not_end_is_told_so_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.05)
    async with connected(settings) as (_, reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\n")
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(len(LARGE))
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")


async def test_line_ends_alone_do_not_keep_a_connection() -> None:
    async with connected(Settings(host="127.0.0.1", port=0, keep_alive=0.2)) as (server, _, writer):
        await until_async(lambda: bool(server.server_state.connections))

        def gone() -> bool:
            writer.write(b"\r\n")
            return not server.server_state.connections

        await until_async(gone)


async def test_a_client_that_does_not_read_is_cut_off(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_reader, "STALL_SECONDS", 0.05)
    async with connected(settings) as (server, reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        transport = writer.transport
        assert isinstance(transport, asyncio.ReadTransport)
        transport.pause_reading()
        await until_async(lambda: not server.server_state.connections)
        transport.resume_reading()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(len(LARGE))


async def test_a_client_that_reads_slowly_gets_everything(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slow_reader, "STALL_SECONDS", 0.01)
    monkeypatch.setattr(slow_reader, "STALL_BYTES", 0)
    async with connected(settings) as (_, reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(LARGE)) == LARGE
