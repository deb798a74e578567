"""What is in the broker, as a page and as JSON, and faults on demand from another process: a tiny HTTP server."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from html import escape
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from app.devbus.amqp.errors import AmqpError
from app.devbus.broker import Broker

PATIENCE_SECONDS = 10.0
MAX_BODY = 64 * 1024

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request: the query and the JSON body, merged."""

    method: str
    path: str
    arguments: Body


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


class StatusServer:
    """Answers `GET /`, `/status` and `/dead-letters?queue=`; `POST` to `/faults` and to what happens once.

    All but the page is JSON. It asks for no password: it belongs on loopback, like the broker.
    """

    def __init__(self, broker: Broker, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self._broker = broker
        self._host = host
        self._port = port
        self._server: asyncio.Server | None = None
        self.routes: dict[tuple[str, str], Callable[[Body], Awaitable[Any]]] = {
            ("GET", "/status"): self._status,
            ("GET", "/dead-letters"): self._dead_letters,
            ("POST", "/faults"): self._set_faults,
            ("POST", "/cut"): self._cut,
            ("POST", "/detach"): self._detach,
            ("POST", "/forbid"): self._forbid,
            ("POST", "/fill"): self._fill,
            ("POST", "/refuse"): self._refuse,
            ("POST", "/reopen"): self._reopen,
        }
        """What it answers, but for the page."""

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://{self._host}:{self._port}/"

    async def __aenter__(self) -> "StatusServer":
        self._server = await asyncio.start_server(self._serve, self._host, self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                writer.write(await self._answer(reader))
                await writer.drain()
        except (TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked has gone, or never asked
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            request = await _read(reader)
            if (request.method, request.path) == ("GET", "/"):
                return _response(HTTPStatus.OK, "text/html; charset=utf-8", _page(await self._status({})))
            route = self.routes.get((request.method, request.path))
            if route is None:
                raise Refused(HTTPStatus.NOT_FOUND, "there is " + ", ".join(" ".join(key) for key in self.routes))
            return _json(HTTPStatus.OK, await route(request.arguments))
        except Refused as refusal:
            return _json(refusal.status, {"error": str(refusal)})
        except (AmqpError, KeyError, TypeError, ValueError) as error:
            return _json(HTTPStatus.BAD_REQUEST, {"error": str(error)})

    async def _status(self, _: Body) -> Body:
        queues = {
            path: {**asdict(queue.depths), "totals": dict(queue.totals)}
            for path, queue in self._broker.namespace.queues.items()
        }
        return {
            "connection_string": self._broker.connection_string,
            "connections": self._broker.connections,
            "queues": queues,
            "faults": self._broker.faults.current(),
            "faults_happened": dict(self._broker.faults.happened),
        }

    async def _dead_letters(self, arguments: Body) -> list[Body]:
        queue = self._broker.queue(arguments["queue"]).dead_letters
        return [
            {
                "sequence_number": entry.sequence_number,
                "message_id": str(entry.message_id),
                "reason": entry.reason,
                "description": entry.description,
                "delivery_count": entry.delivery_count,
            }
            for entry in (queue.peek() if queue else [])
        ]

    async def _set_faults(self, arguments: Body) -> Body:
        self._broker.faults.set(**arguments)
        return self._broker.faults.current()

    async def _cut(self, _: Body) -> Body:
        return {"cut": self._broker.cut()}

    async def _detach(self, arguments: Body) -> Body:
        return {"detached": self._broker.detach(arguments.pop("queue"), **arguments)}

    async def _forbid(self, arguments: Body) -> Body:
        self._broker.forbid(arguments["queue"], bool(arguments.get("forbidden", True)))
        return {"forbidden": sorted(self._broker.namespace.forbidden)}

    async def _fill(self, arguments: Body) -> Body:
        full = bool(arguments.get("full", True))
        self._broker.fill(arguments["queue"], full)
        return {"full": full}

    async def _refuse(self, arguments: Body) -> Body:
        await self._broker.refuse(**arguments)
        return arguments

    async def _reopen(self, _: Body) -> Body:
        await self._broker.reopen()
        return {}


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in lines)}
    method, target, _ = line.split(" ")
    if method != "GET" and "origin" in headers:
        raise Refused(HTTPStatus.FORBIDDEN, "web pages may not change anything here")
    size = int(headers.get("content-length", "0"))
    if size > MAX_BODY:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY} bytes")
    url = urlsplit(target)
    arguments: Body = {name: values[-1] for name, values in parse_qs(url.query).items()}
    if size:
        arguments |= json.loads(await reader.readexactly(size))
    return Request(method, url.path, arguments)


def _json(status: HTTPStatus, value: Any) -> bytes:
    return _response(status, "application/json", json.dumps(value, indent=1))


def _response(status: HTTPStatus, content_type: str, text: str) -> bytes:
    body = text.encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def _page(status: Body) -> str:
    columns = ["active", "locked", "scheduled", "deferred", "dead_lettered"]
    rows = "".join(
        f"<tr><td>{escape(path)}" + "".join(f"<td>{depths[column]}" for column in columns)
        for path, depths in status["queues"].items()
    )
    heads = "".join(f"<th>{column.replace('_', ' ')}" for column in columns)
    return (
        "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=2><title>devbus</title>"
        "<style>body{font:15px system-ui;margin:2em}td,th{padding:.2em 1em;text-align:right}"
        "td:first-child,th:first-child{text-align:left}code{user-select:all}</style>"
        "<h1>devbus</h1><p>Service Bus for development: in memory, nothing is kept.</p>"
        f"<p><code>{escape(status['connection_string'])}</code></p>"
        f"<table><tr><th>queue{heads}{rows}</table><p>{status['connections']} connections</p>"
    )
