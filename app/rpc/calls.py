"""What every call has around it: an id, the gate, a span, a line, a measured time, and errors as statuses."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol
from urllib.parse import unquote

import grpc

from app.core.request import Deadline
from app.errors import CallerError, RequestError
from app.rpc import statuses
from app.rpc.messages import SERVICE
from app.telemetry import asked, logs, metrics, tracing
from app.telemetry.request_ids import id_for
from app.wire.stickiness import key_in

log = logging.getLogger(__name__)

Context = Any
"""A `grpc.aio.ServicerContext`, of which there are no types."""
Headers = Sequence[tuple[bytes, bytes]]

_QUIET = frozenset({"ServerLive", "ServerReady"})
"""Asked every few seconds by platforms, and, as there, by anybody."""


class Identity(Protocol):
    """Who asks, and whether as an administrator."""

    @property
    def name(self) -> str: ...

    @property
    def admin(self) -> bool: ...


class Door(Protocol):
    """Who may ask, and how often."""

    async def admit(self, headers: Headers, host: str, *, counted: bool = True) -> Identity:
        """Who asks; raises a `CallerError`."""

    def count(self, caller: str) -> None:
        """One request more of theirs; raises `RateLimited`."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose call it is, whether an administrator's, its id, when it arrived (monotonic), and when its answer is of no
    use to it any more. Where versions share the traffic, `key` says which one answers, for all of a stream.
    """

    name: str
    admin: bool
    request_id: str
    arrived: float
    deadline: Deadline | None
    key: str


class Calls:
    """Opens calls: `door` stands before all but those that platforms make."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def count(self, caller: Caller) -> None:
        """One message more in a stream that is open; raises `RateLimited`."""
        self._door.count(caller.name)

    @asynccontextmanager
    async def open(self, method: str, context: Context) -> AsyncIterator[Caller]:
        """One call; what is raised inside becomes its status, and it is told of at its end."""
        headers = _headers(context)
        request_id, arrived = id_for(headers), time.monotonic()
        logs.request_id.set(request_id)
        answered = asked.begin()
        quiet = method in _QUIET
        tracing_it = tracing.NOTHING if quiet else tracing.server("POST", "http", f"/{SERVICE}/{method}", headers)
        status = grpc.StatusCode.OK
        with tracing_it as span:
            try:
                who = None if quiet else await self._door.admit(headers, _host(context.peer()))
                name, admin = ("", False) if who is None else (who.name, who.admin)
                key = key_in(headers) or request_id
                yield Caller(name, admin, request_id, arrived, _deadline(context, arrived), key)
            except RequestError as error:
                status = statuses.STATUS[type(error)]
                if isinstance(error, CallerError):
                    metrics.refusals.add(1, (error.code,))
                await abort(context, status, statuses.details(error), statuses.trailing(error, request_id))
            except asyncio.CancelledError:
                status = grpc.StatusCode.CANCELLED
                raise
            except grpc.aio.InternalError:
                status = grpc.StatusCode.CANCELLED
                raise asyncio.CancelledError from None  # what was written found nobody
            except Exception:
                status = grpc.StatusCode.INTERNAL
                log.exception("failed while answering %s", method)
                await abort(context, status, "Something went wrong inside the service. It has been logged.")
            finally:
                seconds = time.monotonic() - arrived
                _tell(method, status, seconds, logging.DEBUG if quiet else logging.INFO, answered)
                tracing.tell_model(span, answered)


async def abort(
    context: Context, status: grpc.StatusCode, details: str, trailing: Sequence[tuple[str, str]] = ()
) -> NoReturn:
    """End a call with an error, or as cancelled where its caller has gone: else gRPC would log a traceback."""
    try:
        await context.abort(status, details, tuple(trailing))
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None
    raise AssertionError("an abort that returned")


def _tell(method: str, status: grpc.StatusCode, seconds: float, level: int, answered: Mapping[str, str]) -> None:
    metrics.rpc_seconds.record(seconds, (method, status.name), tracing.sampled_context())
    said: logs.Fields = {"method": method, "status": status.name, "duration_ms": round(seconds * 1e3, 2)}
    fields = {**said, **answered}
    logs.tell(log, level, f"gRPC {method} {status.name}", fields)


def _headers(context: Context) -> Headers:
    found = context.invocation_metadata() or ()
    return [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in found]


def _deadline(context: Context, arrived: float) -> Deadline | None:
    remaining = context.time_remaining()
    return None if remaining is None else Deadline(arrived + remaining)


def _host(peer: str) -> str:
    """The IP address of what gRPC calls a peer: `ipv4:10.0.0.1:4711`, `ipv6:%5B::1%5D:4711`."""
    family, _, place = unquote(peer).partition(":")
    host = place.rpartition(":")[0]
    return host.strip("[]") if family in ("ipv4", "ipv6") else "unknown"
