"""One client's connection: protocol headers, SASL, open, channels, heartbeats (AMQP 1.0, part 2, section 2.4)."""

import asyncio
import logging
import socket
import struct
from collections.abc import Callable
from functools import partial
from typing import cast

from app.devbus.amqp.errors import CONNECTION_FORCED, FRAMING_ERROR, INTERNAL_ERROR, NOT_ALLOWED, AmqpError
from app.devbus.amqp.framing import (
    AMQP_FRAME,
    AMQP_HEADER,
    EMPTY_FRAME,
    MIN_MAX_FRAME_SIZE,
    SASL_FRAME,
    SASL_HEADER,
    Frame,
    FrameReader,
    ProtocolHeader,
    frame,
)
from app.devbus.amqp.performatives import (
    Begin,
    Close,
    End,
    Open,
    Performative,
    SaslInit,
    SaslMechanisms,
    SaslOutcome,
    decode_performative,
    encode_performative,
)
from app.devbus.amqp.types import Array, Symbol
from app.devbus.faults import Faults
from app.devbus.limits import BrokerLimits
from app.devbus.namespace import Namespace
from app.devbus.session import Session
from app.devbus.timers import Metronome

log = logging.getLogger(__name__)

MECHANISMS = Array([Symbol("MSSBCBS"), Symbol("ANONYMOUS"), Symbol("PLAIN"), Symbol("EXTERNAL")])
_LINGER_NOT = struct.pack("ii", 1, 0)
WRITE_BUFFER = 1 << 20
"""Octets that may wait for a slow client before it is given no more messages."""


class Connection(asyncio.Protocol):
    """The broker's end of a TCP connection."""

    def __init__(self, namespace: Namespace, limits: BrokerLimits, closed: Callable[["Connection"], None]) -> None:
        self.namespace = namespace
        self.limits = limits
        self.max_frame_size = MIN_MAX_FRAME_SIZE
        self.sessions: dict[int, Session] = {}
        self.has_room = True
        self._closed = closed
        self._reader = FrameReader(limits.max_frame_size)
        self._transport: asyncio.Transport | None = None
        self._is_open = False
        self._last_heard = 0.0
        self._metronomes: list[Metronome] = []

    @property
    def clock(self) -> Callable[[], float]:
        """Seconds since 1970."""
        return self.namespace.clock

    @property
    def faults(self) -> Faults:
        """What goes wrong on demand."""
        return self.namespace.faults

    @property
    def max_message_size(self) -> int:
        """Octets of the largest message that is taken."""
        return self.limits.max_message_size

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop. What was locked stays locked until its time."""
        self._end_sessions()
        for metronome in self._metronomes:
            metronome.stop()
        self._transport = None
        self._closed(self)

    def pause_writing(self) -> None:
        """Called by the loop: the client reads more slowly than we write."""
        self.has_room = False

    def resume_writing(self) -> None:
        """Called by the loop."""
        self.has_room = True
        for session in list(self.sessions.values()):
            session.wake()

    def data_received(self, data: bytes) -> None:
        """Called by the loop. No error of one client may reach the others: it closes this connection."""
        self._last_heard = asyncio.get_running_loop().time()
        try:
            for item in self._reader.feed(data):
                if self._transport is None or self._transport.is_closing():
                    return
                self._on(item)
        except AmqpError as error:
            self.close(error)
        except Exception:
            log.exception("devbus: a connection is closed because of an error in the broker")
            self.close(AmqpError(INTERNAL_ERROR, "The broker has a bug; its log has the details."))

    def send(self, channel: int, performative: Performative) -> None:
        """One frame without payload."""
        self.write(frame(AMQP_FRAME, channel, encode_performative(performative)))

    def write(self, octets: bytes) -> None:
        """Octets of whole frames; dropped if the client is gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(octets)

    def close(self, error: AmqpError | None = None) -> None:
        """Say goodbye (2.4.3) and hang up."""
        if self._is_open:
            self._is_open = False
            self.send(0, Close(error.described() if error else None))
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Hang up without a word and with a TCP reset: a plain end of the stream is not noticed by the SDK."""
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            self._transport.abort()

    def _on(self, item: Frame | ProtocolHeader) -> None:
        if isinstance(item, ProtocolHeader):
            self._on_header(item.octets)
        elif item.body:
            performative, at = decode_performative(item.body)
            if item.kind == SASL_FRAME:
                self._on_sasl(performative)
            else:
                self._on_performative(item.channel, performative, item.body[at:])

    def _on_header(self, octets: bytes) -> None:
        """Echo a layer that is known; else say which one is and hang up (2.2)."""
        if octets not in (AMQP_HEADER, SASL_HEADER):
            self.write(AMQP_HEADER)
            self.close()
            return
        self.write(octets)
        if octets == SASL_HEADER:
            self.write(frame(SASL_FRAME, 0, encode_performative(SaslMechanisms(MECHANISMS))))

    def _on_sasl(self, performative: Performative) -> None:
        """Whoever asks is let in (part 5, 5.3.2)."""
        if not isinstance(performative, SaslInit):
            raise AmqpError(NOT_ALLOWED, f"{type(performative).__name__} is not expected")
        self.write(frame(SASL_FRAME, 0, encode_performative(SaslOutcome(0))))

    def _on_performative(self, channel: int, performative: Performative, payload: memoryview) -> None:
        match performative:
            case Open():
                self._on_open(performative)
            case Close():
                self._end_sessions()
                self.close()
            case Begin():
                self._on_begin(channel, performative)
            case End():
                self._on_end(channel)
            case _:
                self._on_session_frame(channel, performative, payload)

    def _on_open(self, opened: Open) -> None:
        if self._is_open:
            raise AmqpError(NOT_ALLOWED, "the connection is open already")
        limits = self.limits
        peer_size = opened.max_frame_size or limits.max_frame_size
        if peer_size < MIN_MAX_FRAME_SIZE:
            raise AmqpError(FRAMING_ERROR, f"frames must be allowed {MIN_MAX_FRAME_SIZE} octets")
        self.max_frame_size = min(limits.max_frame_size, peer_size)
        self._is_open = True
        idle = round(limits.idle_timeout * 1000) if limits.idle_timeout else None
        self.send(0, Open(limits.container_id, None, limits.max_frame_size, limits.channel_max, idle))
        self._keep_alive(opened.idle_timeout)

    def _on_begin(self, channel: int, begin: Begin) -> None:
        if channel in self.sessions or channel > self.limits.channel_max:
            raise AmqpError(NOT_ALLOWED, f"channel {channel} is in use or out of range")
        self.sessions[channel] = Session(self, channel, begin)

    def _on_end(self, channel: int) -> None:
        session = self.sessions.pop(channel, None)
        if session is not None:
            session.closed()
            self.send(channel, End())

    def _on_session_frame(self, channel: int, performative: Performative, payload: memoryview) -> None:
        session = self.sessions.get(channel)
        if session is None:
            return  # the session was ended by us, and the client does not know it yet
        try:
            session.on(performative, payload)
        except AmqpError as error:
            self.sessions.pop(channel, None)
            session.closed()
            self.send(channel, End(error.described()))

    def _end_sessions(self) -> None:
        for session in self.sessions.values():
            session.closed()
        self.sessions.clear()

    def _keep_alive(self, peer_milliseconds: int | None) -> None:
        """Be heard by the client as often as it wants, and see that it is heard (2.4.5)."""
        if peer_milliseconds:
            self._metronomes.append(Metronome(peer_milliseconds / 2000, self._beat))
        if (idle := self.limits.idle_timeout) is not None:
            self._metronomes.append(Metronome(idle, partial(self._check_alive, idle)))

    def _beat(self) -> None:
        self.write(EMPTY_FRAME)

    def _check_alive(self, idle_timeout: float) -> None:
        if asyncio.get_running_loop().time() - self._last_heard > 2 * idle_timeout:
            self.close(AmqpError(CONNECTION_FORCED, "The connection was inactive for too long."))
