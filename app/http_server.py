"""The listener, the HTTP server that the service starts and stops itself, and the signals that tell it to."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from app.api.protocol import ConnectionsState, HttpProtocol
from app.api.security import perimeter
from app.errors import StartupError
from app.settings import Settings

log = logging.getLogger(__name__)

BACKLOG = 2048
SETTLE_SECONDS = 0.5
"""How long, once no new connections are taken, an idle one may still bring the request that its client is sending."""
LOOK_SECONDS = 0.02


class HttpServer(uvicorn.Server):
    """uvicorn without its own signals and without its ten ticks a second: the service decides when it stops.

    From `begin_drain` on every answer says `Connection: close`; from `stop` on no connection is taken; `cut` answers
    whoever still waits, and is the end.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=HttpProtocol,
                ws="none",
                headers=perimeter.response_headers(settings),
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=cast(int, settings.keep_alive),  # the event loop takes fractions
            )
        )
        self.server_state: ConnectionsState = ConnectionsState()
        self._stop = asyncio.Event()

    def begin_drain(self) -> None:
        """Have clients go elsewhere after their next answer; all that comes meanwhile is answered."""
        self.server_state.draining = True
        for connection in self._connections():
            connection.say_close()

    def stop(self) -> None:
        """Accept no more connections and finish those that are open."""
        self.begin_drain()
        self.should_exit = True
        self._stop.set()

    def cut(self) -> None:
        """Tell everybody who still waits that there will be no answer, and end all connections."""
        for connection in self._connections():
            connection.refuse_unanswered()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone; `stop_event` has them."""
        yield

    async def main_loop(self) -> None:
        """Wait for `stop`, renewing once a second what the `Date` header says."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 1.0)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, then wait until every connection has had its answer."""
        await self._stop_listening(sockets or [])
        loop = asyncio.get_running_loop()
        settled = loop.time() + SETTLE_SECONDS
        while self.server_state.connections:
            for connection in self._connections():
                connection.close_if_idle(patient=loop.time() < settled)
            await asyncio.sleep(LOOK_SECONDS)
        await self.lifespan.shutdown()

    async def _stop_listening(self, sockets: list[socket.socket]) -> None:
        """Take what the kernel has already connected, which it would reset; then no more, from that moment on: the
        event loop closes its listeners a turn later, and who connects meanwhile would be reset with his request.
        """
        accepted: list[socket.socket] = []
        for listener in sockets:
            accepted += _waiting(listener)
            with contextlib.suppress(OSError):  # not every system ends listening that way
                listener.shutdown(socket.SHUT_RD)
        for server in self.servers:
            server.close()
        for listener in sockets:
            listener.close()
        for connection in accepted:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> HttpProtocol:
        return HttpProtocol(self.config, self.server_state, self.lifespan.state)

    def _connections(self) -> list[HttpProtocol]:
        return [connection for connection in self.server_state.connections if isinstance(connection, HttpProtocol)]


def _waiting(listener: socket.socket) -> Iterator[socket.socket]:
    while True:
        try:
            yield listener.accept()[0]
        except OSError:  # BlockingIOError: there are no more; or one that has gone meanwhile
            return


def listen(settings: Settings) -> socket.socket:
    """A socket that listens where the settings say; raises `StartupError`."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise StartupError(
            f"Cannot listen on {settings.host} port {settings.port}: {error.strerror or error}. "
            "Choose another with ROO_HOST and ROO_PORT."
        ) from None


def stop_event() -> asyncio.Event:
    """Set by the first SIGTERM or SIGINT.

    Another SIGTERM changes nothing: supervisors repeat it, and what was accepted is being answered already. Another
    SIGINT, from somebody at a keyboard who wants it over, ends the process at once, as if nobody had listened.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal() -> None:
        if stop.is_set():
            log.info("stopping already; what was accepted is being finished")
            return
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    return stop
