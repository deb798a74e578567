"""HTTP/1.1 as uvicorn's fast protocol speaks it, with what that one lacks: heads within bounds, errors of the parser
as problems, `Upgrade` passed over, and connections that end so that nobody loses an answer.
"""

import asyncio
import logging
import select
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app import errors
from app.api import problems, request_head
from app.api.farewell import PoliteTransport
from app.api.hang_up import HangUp
from app.api.request_head import MOST_HEAD_BYTES, RefusedError
from app.api.request_id import id_for
from app.api.slow_reader import SlowReader
from app.telemetry import metrics

log = logging.getLogger(__name__)

HEAD_SECONDS = 20.0
"""From the first byte of a request's head to its last; also for the rest of a body that nobody reads any more."""
MOST_PIPELINED = 64
LINGER_BYTES = 1024 * 1024
"""So much more of what is no request is received, so that the client reads why."""
SMALL_CHUNK = 64
MOST_SMALL_CHUNKS = 1024
"""Chunks of fewer bytes than `SMALL_CHUNK` on average are work without a picture; so many may come all the same."""


class _PipelineFullError(httptools.HttpParserError):
    """More requests came at once than are kept; who sent them sends the rest again (RFC 9112 section 9.3.2)."""


class ConnectionsState(ServerState):
    """What all connections have in common."""

    draining = False
    """Whether every answer now says `Connection: close`."""


class HttpProtocol(HttpToolsProtocol):
    """One connection.

    Hangs up on who sends more than `MOST_HEAD_BYTES` of headers (of trailers, chunk extensions or a head that does not
    end, that and one read):
    they are what arrives without a byte of a body and without an end of head or message. Nobody has proven who he is by
    then, and all of it is held in memory.

    Answers come in the order of the requests: what is wrong with one is told once those before it are answered. An
    answer that comes before all of its request's body says `Connection: close`.
    """

    _events = 0
    _held = 0
    _before_head = 0
    """Bytes of the read in which this head began behind another request: some of them may be the head's."""
    _chunks = 0
    _body_bytes = 0
    _in_message = False
    _in_body = False
    _keep_alive = True
    _ending = False
    _refusal: problems.Problem | None = None
    _running: RequestResponseCycle | None = None
    _hang_up: HangUp
    _head_timer: asyncio.TimerHandle | None = None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._state = cast(ConnectionsState, server_state)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected; it has the time of an idle connection to begin."""
        polite = PoliteTransport(transport, self, lambda: self._in_message)
        self._reading = SlowReader(transport)
        super().connection_made(cast(asyncio.Transport, polite))
        self._expect_more()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone, or was let go."""
        self._unset_keepalive_if_required()
        self._stop_head_timer()
        self._give_up()
        super().connection_lost(exc)
        self._reading.stop()

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, and count it where it was nothing but header."""
        if self._ending:
            return  # it belongs to what is refused, or comes after the last request that is taken
        before = self._events
        self._held += len(data)
        try:
            self._feed(data)
            if self._events != before:
                self._held = 0
                self._before_head = len(data) if self._in_message and not self._in_body else 0
            elif self._held > MOST_HEAD_BYTES:
                raise request_head.too_large()
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _PipelineFullError):
                self._take_no_more()
            else:
                self._refuse(request_head.refusal(error))
            return
        if not self.answering:
            self._expect_more()

    def pause_writing(self) -> None:
        """The client is slower to read than its answer is to write."""
        super().pause_writing()
        self._reading.watch()

    def resume_writing(self) -> None:
        """Most of the answer has been taken."""
        super().resume_writing()
        self._reading.stop()

    def _feed(self, data: bytes) -> None:
        """Requests that ask for another protocol are answered in this one (RFC 9110 section 7.8 allows that): the
        parser, which would leave their bodies to the other protocol, is given them again without the wish.
        """
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = request_head.without_upgrade(self.parser, self.url, self.headers) + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._unset_keepalive_if_required()
        self._in_message = True
        self._chunks = self._body_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The request's head is complete."""
        self._events += 1
        if self._head_timer is not None:
            self._stop_head_timer()
        if self._held + self._before_head > MOST_HEAD_BYTES:
            request_head.measure(self.url, self.headers)
        if self.parser.should_upgrade():
            return
        request_head.check(self.parser.get_http_version(), self.headers)
        if len(self.pipeline) == MOST_PIPELINED:
            raise _PipelineFullError
        before = self.cycle
        super().on_headers_complete()
        if self._state.draining and before is not None and not before.response_started:
            before.keep_alive = True  # not the last one any more: this one is
        self._in_body = True
        self._keep_alive = self.cycle.keep_alive and not self._state.draining
        self.cycle.keep_alive = False  # until the body is here

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running, self._hang_up = cycle, HangUp()
        self._hang_up.belongs_to(cast(dict[str, Any], cycle.scope))
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Bytes of a body."""
        self._events += 1
        self._chunks += 1
        self._body_bytes += len(body)
        if self._chunks > MOST_SMALL_CHUNKS and self._body_bytes < SMALL_CHUNK * self._chunks:
            raise RefusedError("The body comes in chunks of a few bytes; send larger ones.")
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._events += 1
        if self.parser.should_upgrade():
            return
        self._in_message = self._in_body = False
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._keep_alive
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """One is answered: go on with the next, or with what is to be said last."""
        super().on_response_complete()
        if self.answering or self.transport.is_closing():
            return
        if self._ending:
            self._end()
        elif self._in_message:
            self._unset_keepalive_if_required()
            self._expect_more()

    @property
    def answering(self) -> bool:
        """Whether a request is being received or answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def say_close(self) -> None:
        """The answer that is under way is the last one, unless it has begun."""
        if self.answering and not self.cycle.response_started:
            self.cycle.keep_alive = self._keep_alive = False

    def close_if_idle(self, *, patient: bool) -> None:
        """Close unless something is to be answered; `patient`, also where a request may be about to come."""
        if self.answering:
            self.say_close()
        elif not patient and not self._readable():
            self.transport.close()

    def refuse_unanswered(self) -> None:
        """The process ends: who still waits is told so now."""
        if self._running is not None and not self._running.response_started:
            detail = "The service is shutting down and could not finish this in time. Send it again."
            status = HTTPStatus.SERVICE_UNAVAILABLE
            request_id = id_for(self._running.scope["headers"])
            self._write(problems.problem(status, errors.Draining.code, detail, request_id, retryable=True))
        self._give_up()
        self.transport.close()

    def _readable(self) -> bool:
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _expect_more(self) -> None:
        """Give an idle connection its time, which bytes that begin no request do not lengthen, and a request that has
        begun the shorter one of a head.
        """
        if self.transport.is_closing():
            return
        if not self._in_message:
            self._stop_head_timer()
            if self.timeout_keep_alive_task is None:
                handler = self.timeout_keep_alive_handler
                self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, handler)
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_timed_out)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_timed_out(self) -> None:
        detail = f"The request's head did not arrive within {HEAD_SECONDS:g} seconds."
        code = errors.UploadTimeout.code
        self._refuse(RefusedError(detail, HTTPStatus.REQUEST_TIMEOUT, code), retryable=True)

    def _take_no_more(self) -> None:
        """The last request that was taken is told to be the last."""
        self._ending = self._in_message = True  # what else comes is listened to only so that the answers are read
        self.cycle.keep_alive = False

    def _refuse(self, error: RefusedError, *, retryable: bool = False) -> None:
        """Say what is wrong with the request that arrives, once those before it are answered, and end."""
        if self.transport.is_closing():
            return
        self._ending = self._in_message = True  # whatever else comes belongs to what was refused
        cast(PoliteTransport, self.transport).linger_bytes = LINGER_BYTES
        log.debug("%s: %s", error.status, error.detail)
        if not self._in_body or not self.cycle.response_started:  # else it has an answer, or the beginning of one
            metrics.refusals.add(1, (error.code,))
            request_id = id_for(self.headers or [])
            self._refusal = problems.problem(error.status, error.code, error.detail, request_id, retryable=retryable)
            if self._in_body:
                self._withdraw()
        if not self.answering or self.cycle.disconnected:
            self._end()

    def _withdraw(self) -> None:
        """The request that arrives has an answer of ours: nobody need work on another."""
        if self.cycle is self._running:
            self._give_up()
        else:
            assert self._running is not None
            self.pipeline.popleft()
            self.cycle = self.pipeline[0][0] if self.pipeline else self._running

    def _end(self) -> None:
        if self._refusal is not None:
            self._write(self._refusal)
        self.transport.close()

    def _give_up(self) -> None:
        """Whoever works on an answer need not go on."""
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
            self._hang_up.tell()

    def _write(self, problem: problems.Problem) -> None:
        self.transport.write(problems.last_answer(problem, self.server_state.default_headers))
