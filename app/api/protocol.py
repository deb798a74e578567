"""HTTP/1.1 as uvicorn's fast protocol speaks it, with what that one lacks: heads within bounds, errors of the parser
as problems, `Upgrade` passed over, and connections that end so that nobody loses an answer.
"""

import asyncio
import logging
import select
from http import HTTPStatus
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from app import errors
from app.api import problems
from app.api.farewell import PoliteTransport
from app.api.request_id import id_for
from app.api.slow_reader import SlowReader
from app.telemetry import metrics

log = logging.getLogger(__name__)

MOST_HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 20.0
"""From the first byte of a request's head to its last; also for the rest of a body that nobody reads any more."""
MOST_PIPELINED = 64
LINGER_BYTES = 1024 * 1024
"""So much more of what is no request is received, so that the client reads why."""
SMALL_CHUNK = 64
MOST_SMALL_CHUNKS = 1024
"""Chunks of fewer bytes than `SMALL_CHUNK` on average are work without a picture; so many may come all the same."""


class _HeadTooLargeError(httptools.HttpParserError):
    pass


class ConnectionsState(ServerState):
    """What all connections have in common."""

    draining = False
    """Whether every answer now says `Connection: close`."""


class HttpProtocol(HttpToolsProtocol):
    """One connection.

    Hangs up on who sends more than `MOST_HEAD_BYTES` of headers (of trailers or chunk extensions, that and one read):
    they are what arrives without a byte of a body and without an end of head or message. Nobody has proven who he is by
    then, and all of it is held in memory.
    """

    _events = 0
    _held = 0
    _chunks = 0
    _body_bytes = 0
    _in_message = False
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
        super().connection_lost(exc)
        self._reading.stop()

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived, and count it where it was nothing but header."""
        self._unset_keepalive_if_required()
        before = self._events
        self._held += len(data)
        try:
            self._feed(data)
            if self._events != before:
                self._held = 0
            elif self._held > MOST_HEAD_BYTES:
                raise _HeadTooLargeError
        except httptools.HttpParserError as error:
            self._refuse_error(error)
            return
        if self.cycle is None or self.cycle.response_complete:
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
                data = self._without_upgrade() + data[upgrade.args[0] :]
                self.parser = httptools.HttpRequestParser(self)

    def _without_upgrade(self) -> bytes:
        method = self.parser.get_method()
        if method == b"CONNECT":
            raise httptools.HttpParserError("CONNECT is not taken; this is no proxy")
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s\r\n" % (method, self.url, version)]
        lines += [b"%s: %s\r\n" % (name, value) for name, value in self.headers if name != b"upgrade"]
        return b"".join([*lines, b"\r\n"])

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_message = True
        self._chunks = self._body_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The request's head is complete."""
        self._events += 1
        if self._head_timer is not None:
            self._stop_head_timer()
        if self._held > MOST_HEAD_BYTES and self._head_bytes() > MOST_HEAD_BYTES:
            raise _HeadTooLargeError
        if self.parser.should_upgrade():
            return
        before = self.cycle
        super().on_headers_complete()
        if len(self.pipeline) > MOST_PIPELINED:
            raise httptools.HttpParserError("too many requests at once")
        if self._state.draining:
            if before is not None and not before.response_started:
                before.keep_alive = True  # not the last one any more: this one is
            self.cycle.keep_alive = False

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def on_body(self, body: bytes) -> None:
        """Bytes of a body."""
        self._events += 1
        self._chunks += 1
        self._body_bytes += len(body)
        if self._chunks > MOST_SMALL_CHUNKS and self._body_bytes < SMALL_CHUNK * self._chunks:
            raise httptools.HttpParserError("the body comes in chunks of a few bytes; send larger ones")
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._events += 1
        if self.parser.should_upgrade():
            return
        self._in_message = False
        super().on_message_complete()

    @property
    def answering(self) -> bool:
        """Whether a request is being received or answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def say_close(self) -> None:
        """The answer that is under way is the last one, unless it has begun."""
        if self.answering and not self.cycle.response_started:
            self.cycle.keep_alive = False

    def close_if_idle(self, *, patient: bool) -> None:
        """Close unless something is to be answered; `patient`, also where a request may be about to come."""
        if self.answering:
            self.say_close()
        elif not patient and not self._readable():
            self.transport.close()

    def refuse_unanswered(self) -> None:
        """The process ends: who still waits is told so now."""
        if self.answering and not self.cycle.response_started:
            detail = "The service is shutting down and could not finish this in time. Send it again."
            self._write(HTTPStatus.SERVICE_UNAVAILABLE, errors.Draining.code, detail, retryable=True)
            self._give_up()
        self.transport.close()

    def _readable(self) -> bool:
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def _expect_more(self) -> None:
        """Give an idle connection its time, and a request that has begun the shorter one of a head."""
        if self.transport.is_closing():
            return
        if not self._in_message:
            self._stop_head_timer()
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
        if self.cycle is not None and self.cycle.response_complete:
            self.transport.abort()  # it was answered, and what still comes is nothing that an answer would help
        else:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, errors.UploadTimeout.code, detail, retryable=True)

    def _refuse_error(self, error: httptools.HttpParserError) -> None:
        cause = error.__context__ if isinstance(error, httptools.HttpParserCallbackError) else error
        if isinstance(cause, _HeadTooLargeError):
            detail = f"The request's headers are larger than the {MOST_HEAD_BYTES} bytes that are taken."
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", detail)
        else:
            said = str(cause) if isinstance(cause, httptools.HttpParserError) else "the address cannot be read"
            detail = f"This is not a request in HTTP/1.1: {said}."
            self._refuse(HTTPStatus.BAD_REQUEST, errors.InvalidRequest.code, detail)

    def _refuse(self, status: HTTPStatus, code: str, detail: str, *, retryable: bool = False) -> None:
        if self.transport.is_closing():
            return
        if self.answering and (self.cycle.response_started or self.pipeline):
            self.transport.abort()  # an answer is under way, into which another cannot be written
            return
        self._in_message = True  # whatever else comes belongs to what was refused
        cast(PoliteTransport, self.transport).linger_bytes = LINGER_BYTES
        metrics.refusals.add(1, (code,))
        log.debug("%s: %s", status, detail)
        self._write(status, code, detail, retryable=retryable)
        self._give_up()
        self.transport.close()

    def _give_up(self) -> None:
        """Whoever works on an answer need not go on."""
        if self.answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _write(self, status: HTTPStatus, code: str, detail: str, *, retryable: bool) -> None:
        problem = problems.problem(status, code, detail, id_for(self.headers or []), retryable=retryable)
        self.transport.write(problems.last_answer(problem, self.server_state.default_headers))
