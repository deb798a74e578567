"""Work for a client that has gone ends at once, whatever came before it on the connection."""

import asyncio

import pytest
from starlette.types import Receive, Scope, Send

from app.api.hang_up import or_hang_up
from app.errors import InvalidRequest
from app.http_server import HttpServer, listen
from app.settings import Settings
from tests.fixtures.waiting import PATIENCE

REQUEST = b"POST /%b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"


class Patient:
    """An application that answers `/quick` at once and works on everything else for ever."""

    def __init__(self) -> None:
        self.working = asyncio.Event()
        self.ended: asyncio.Queue[str] = asyncio.Queue()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["path"] == "/quick":
            assert await or_hang_up(scope, asyncio.sleep(0, "done")) == "done"
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        else:
            try:
                await or_hang_up(scope, self._work())
            except InvalidRequest as error:
                self.ended.put_nowait(str(error))

    async def _work(self) -> None:
        self.working.set()
        await asyncio.Event().wait()


@pytest.mark.parametrize("before", [b"", REQUEST % b"quick"])
async def test_work_is_cancelled_when_its_client_goes(before: bytes) -> None:
    settings, application = Settings(host="127.0.0.1", port=0), Patient()
    with listen(settings) as listener:
        server = HttpServer(application, settings)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(before + REQUEST % b"slow")
            await application.working.wait()
            writer.close()
            assert "closed the connection" in await application.ended.get()
            server.stop()
            server.cut()
            await serving


async def test_who_waits_is_told_of_the_end_once_the_server_is_cut() -> None:
    settings, application = Settings(host="127.0.0.1", port=0), Patient()
    with listen(settings) as listener:
        server = HttpServer(application, settings)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        async with asyncio.timeout(PATIENCE):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(REQUEST % b"slow")
            await application.working.wait()
            server.stop()
            server.cut()
            assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
            assert await application.ended.get()
            writer.close()
            await serving
