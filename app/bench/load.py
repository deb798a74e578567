"""The load generator: a closed loop of keep-alive connections that send whole requests prepared in advance.

It shares the machine with the server, so it does as little as it can: plain sockets, one write a request, and of an
answer only the status and the length are read. What it costs is measured and reported.
"""

import asyncio
import itertools
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import uvloop

from app.bench.measurements import Measurement, percentile
from app.errors import StartupError

HOST = "127.0.0.1"
SEND_BUFFER = 1 << 20
PATIENCE_SECONDS = 60.0
"""How long answers are waited for once nothing more is sent."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and how the CPU time of the process behind it is read, in seconds."""

    port: int
    cpu_seconds: Callable[[], float]


def post(path: str, media_type: str, body: bytes) -> bytes:
    """One HTTP/1.1 request as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {media_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def press(
    target: Target,
    requests: Sequence[bytes],
    concurrency: int,
    warm_seconds: float,
    seconds: float,
    speaking: "type[Connection] | None" = None,
) -> Measurement:
    """Keep `concurrency` requests in flight and measure the window of `seconds` that follows `warm_seconds`.

    They are whole requests of HTTP/1.1, or what another kind of connection takes. Errors are counted in the warm-up
    too. Raises `StartupError` where the server cannot be reached at all.
    """
    return _run(_press(target, requests, concurrency, warm_seconds, seconds, speaking or HttpConnection))


def send(
    port: int, requests: Iterable[bytes], concurrency: int, on_answer: Callable[[int], None]
) -> tuple[int, str | None]:
    """Send every request once; `on_answer` is told how many have been answered.

    Returns the number of errors and quotes the first. Raises `StartupError` where the server cannot be reached at all.
    """
    return _run(_send(port, requests, concurrency, on_answer))


def _run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


async def _press(
    target: Target,
    requests: Sequence[bytes],
    concurrency: int,
    warm_seconds: float,
    seconds: float,
    speaking: "type[Connection]",
) -> Measurement:
    crowd = Crowd(target.port, itertools.cycle(requests), speaking)
    await crowd.open(concurrency)
    await asyncio.sleep(warm_seconds)
    crowd.latencies.clear()
    began, server, own = time.perf_counter(), target.cpu_seconds(), time.process_time()
    await asyncio.sleep(seconds)
    window = time.perf_counter() - began
    server, own = target.cpu_seconds() - server, time.process_time() - own
    latencies = [1e3 * latency for latency in crowd.latencies]
    await crowd.finish()
    return Measurement(
        pictures=len(latencies),
        per_second=len(latencies) / window,
        p50_ms=percentile(latencies, 0.50),
        p99_ms=percentile(latencies, 0.99),
        window_seconds=window,
        cpu_seconds=server,
        generator_cpu_seconds=own,
        errors=crowd.errors,
        first_error=crowd.first_error,
    )


async def _send(
    port: int, requests: Iterable[bytes], concurrency: int, on_answer: Callable[[int], None]
) -> tuple[int, str | None]:
    crowd = Crowd(port, requests, HttpConnection, on_answer)
    await crowd.open(concurrency)
    await crowd.empty.wait()
    await crowd.finish()
    return crowd.errors, crowd.first_error


class Crowd:
    """All connections of one slice, and what came of their requests."""

    def __init__(
        self,
        port: int,
        requests: Iterable[bytes],
        speaking: "type[Connection]",
        on_answer: Callable[[int], None] | None = None,
    ) -> None:
        self.latencies: list[float] = []
        self.errors = 0
        self.first_error: str | None = None
        self.empty = asyncio.Event()
        self._port = port
        self._requests = iter(requests)
        self._speaking = speaking
        self._on_answer = on_answer
        self._answered = 0
        self._members: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()

    async def open(self, connections: int) -> None:
        """Let so many connections in; each sends as soon as it stands."""
        await asyncio.gather(*(self._join() for _ in range(connections)))

    async def finish(self) -> None:
        """Send nothing more and wait for what is under way; what does not come counts as an error."""
        self._requests = iter(())
        try:
            await asyncio.wait_for(self.empty.wait(), PATIENCE_SECONDS)
        except TimeoutError:
            for member in list(self._members):
                member.abort(f"no answer within {PATIENCE_SECONDS:.0f} s")

    def next_request(self) -> bytes | None:
        """What a free connection sends next; None when it may go."""
        return next(self._requests, None)

    def answered(self, seconds: float, wrong: str | None) -> None:
        """An answer came back whole after so many seconds; `wrong` says where it is none that was wanted."""
        if wrong is None:
            self.latencies.append(seconds)
        else:
            self.failed(wrong)
        self._answered += 1
        if self._on_answer is not None:
            self._on_answer(self._answered)

    def failed(self, why: str) -> None:
        """A request was not answered with 200."""
        self.errors += 1
        self.first_error = self.first_error or why

    def entered(self, member: "Connection") -> None:
        """A connection stands."""
        self._members.add(member)

    def left(self, member: "Connection", *, replace: bool) -> None:
        """A connection is gone; one that the server closed is replaced."""
        self._members.discard(member)
        if replace:
            task = asyncio.get_running_loop().create_task(self._rejoin())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        elif not self._members and not self._opening:
            self.empty.set()

    async def _rejoin(self) -> None:
        try:
            await self._join()
        except StartupError as error:  # the server is gone: `Child.check_alive` says why, after the slice
            self.failed(str(error))
            if not self._members:
                self.empty.set()

    async def _join(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self._speaking(self), HOST, self._port)
        except OSError as error:
            raise StartupError(f"Nothing answers on {HOST} port {self._port}: {error}.") from None


class Connection(asyncio.Protocol):
    """One connection that is kept: a request, its answer, the next request. What is said on it is its kind's."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._sent_at: float | None = None
        self._transport: asyncio.Transport | None = None
        self._leaving = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # A whole picture fits: one write each, instead of waking up for every part that the kernel takes.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self._crowd.entered(self)
        self.greet()
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if self._sent_at is not None:
            self._crowd.failed(f"the server closed the connection before its answer ({error or 'no error given'})")
        self._crowd.left(self, replace=not self._leaving)

    def greet(self) -> None:
        """Say what comes before the first request."""

    def ask(self, request: bytes) -> None:
        """Send one request."""
        raise NotImplementedError

    def write(self, content: bytes) -> None:
        """Send these bytes."""
        assert self._transport is not None
        self._transport.write(content)

    def answered(self, wrong: str | None = None) -> None:
        """The answer is there whole, and the next request may go; `wrong` says what is wrong with it."""
        if self._sent_at is not None:
            seconds, self._sent_at = time.perf_counter() - self._sent_at, None
            self._crowd.answered(seconds, wrong)
            self._next()

    def abort(self, why: str) -> None:
        """Give up waiting."""
        self._crowd.failed(why)
        self._leave()

    def _next(self) -> None:
        request = self._crowd.next_request()
        if request is None:
            self._leave()
            return
        self._sent_at = time.perf_counter()
        self.ask(request)

    def _leave(self) -> None:
        assert self._transport is not None
        self._leaving, self._sent_at = True, None
        self._transport.abort()


class HttpConnection(Connection):
    """HTTP/1.1; of an answer only the status and the length are read."""

    def __init__(self, crowd: Crowd) -> None:
        super().__init__(crowd)
        self._answer = bytearray()
        self._length: int | None = None
        self._status = 0

    def ask(self, request: bytes) -> None:
        """Send one whole request."""
        self._answer.clear()
        self._length = None
        self.write(request)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self._length is None and not self._read_head():
            return
        if self._length is not None and len(self._answer) >= self._length:
            self.answered(None if self._status == 200 else self._answer[:400].decode("latin-1"))

    def _read_head(self) -> bool:
        end = self._answer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self._answer[:end]).lower()
        self._status = int(head[9:12])
        _, found, rest = head.partition(b"\r\ncontent-length:")
        if not found:
            self.abort("an answer without Content-Length")
            return False
        self._length = end + 4 + int(rest.partition(b"\r\n")[0])
        return True
