"""The broker: listens, keeps the connections, and is cut, detached or silenced on demand."""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Self

from app.devbus.amqp.errors import DETACH_FORCED, AmqpError
from app.devbus.amqp.types import Symbol
from app.devbus.connection import Connection
from app.devbus.entity import Queue
from app.devbus.faults import Faults
from app.devbus.limits import BrokerLimits
from app.devbus.namespace import Clock, Namespace
from app.devbus.options import QueueOptions
from app.devbus.tokens import Token

Options = str | QueueOptions


class Broker:
    """Service Bus in memory, for development and tests. Nothing is kept when it stops.

    ::

        async with Broker(["jobs,lock=5", "results,dedup=60"]) as broker:
            client = ServiceBusClient.from_connection_string(broker.connection_string)

    `queues`, and the subscriptions in `topics`, are options or their text (see `QueueOptions.parse`). Port 0 is any
    free port; `clock` gives the seconds since 1970 by the broker's clock, which may be another than this machine's.
    Raises `ValueError` for options that cannot be read, `OSError` where the port is taken.
    """

    def __init__(
        self,
        queues: Iterable[Options] = (),
        topics: Mapping[str, Sequence[Options]] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        limits: BrokerLimits | None = None,
        clock: Clock = time.time,
    ) -> None:
        self.host = host
        self.limits = limits or BrokerLimits()
        self._clock = clock
        self._queues = [_options(queue) for queue in queues]
        self._topics = {name: [_options(item) for item in items] for name, items in (topics or {}).items()}
        self._port = port
        self._namespace: Namespace | None = None
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._reopening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen."""
        self._namespace = Namespace(self._queues, self._topics, clock=self._clock)
        await self._listen()

    async def stop(self) -> None:
        """Hang up and forget everything."""
        if self._reopening is not None:
            self._reopening.cancel()
        await self._close_door()
        for connection in list(self._connections):
            connection.abort()
        self.namespace.close()
        await asyncio.sleep(0)  # the loop tells the connections that they are lost in its next turn

    @property
    def namespace(self) -> Namespace:
        """Everything that exists in the broker."""
        if self._namespace is None:
            raise RuntimeError("the broker is not started")
        return self._namespace

    @property
    def port(self) -> int:
        """The port that it listens on; it stays the same through `refuse`."""
        return self._port

    @property
    def connection_string(self) -> str:
        """What an SDK connects with. The key means nothing: any key, and any token, is accepted."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return (
            f"Endpoint=sb://{host}:{self.port};SharedAccessKeyName=devbus;SharedAccessKey=devbus;"
            "UseDevelopmentEmulator=true;"
        )

    @property
    def tokens(self) -> list[Token]:
        """The tokens that clients put at `$cbs`, oldest first."""
        return self.namespace.tokens

    @property
    def faults(self) -> Faults:
        """What goes wrong from now on."""
        return self.namespace.faults

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    def queue(self, path: str) -> Queue:
        """A queue, `topic/Subscriptions/name`, or one of these with `/$DeadLetterQueue`; raises `AmqpError`."""
        return self.namespace.dispatcher(path.lower()).queue

    def cut(self) -> int:
        """Reset every connection; returns how many there were."""
        count = len(self._connections)
        for connection in list(self._connections):
            connection.abort()
        return count

    def detach(self, path: str, condition: str = DETACH_FORCED, description: str = "Detached on demand.") -> int:
        """Close every link that receives from a queue, or sends to it, with an error; returns how many there were."""
        error = AmqpError(Symbol(condition), description)
        wanted = {path.lower(), f"entity:{path.lower()}"}
        sessions = [session for connection in self._connections for session in connection.sessions.values()]
        links = [(session, link) for session in sessions for link in session.links.values() if link.path in wanted]
        for session, link in links:
            session.detach(link, error)
        return len(links)

    def forbid(self, path: str, forbidden: bool = True) -> None:
        """Let nobody send to an entity or receive from it, as where a role is missing; or let everybody again.

        Links that are attached stay: their messages are refused.
        """
        if forbidden:
            self.namespace.forbidden.add(path.lower())
        else:
            self.namespace.forbidden.discard(path.lower())

    def fill(self, path: str, full: bool = True) -> None:
        """Have a queue take nothing more, as if it had reached its size; or let it take messages again."""
        self.queue(path).is_full = full

    async def refuse(self, seconds: float | None = None) -> None:
        """Cut all connections and take none until `reopen`, or for so many seconds, as if the broker were down."""
        await self._close_door()
        self.cut()
        if seconds is not None:
            self._reopening = asyncio.get_running_loop().create_task(self._reopen_after(seconds))

    async def reopen(self) -> None:
        """Take connections again, on the same port."""
        if self._server is None:
            await self._listen()

    async def _reopen_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.reopen()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, self.host, self._port, reuse_address=True)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _close_door(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    def _connection(self) -> Connection:
        connection = Connection(self.namespace, self.limits, self._connections.discard)
        self._connections.add(connection)
        return connection


def _options(options: Options) -> QueueOptions:
    return QueueOptions.parse(options) if isinstance(options, str) else options
