"""A link on which one session is received: the broker chooses a session that has messages and that nobody holds.

Sessions come and go, so their links share one connection. What is used of the SDK's inside is used in this file, in
`receiver.py` and in `shared_connection.py`; `tests/servicebus/test_session_link.py` tells when a new version of it is
different.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

from azure.servicebus.aio import ServiceBusReceiver
from azure.servicebus.exceptions import MessageLockLostError, OperationTimeoutError, SessionLockLostError

from app.servicebus.link_errors import LinkLost
from app.servicebus.receiver import ATTACHED, CONFIRM_SECONDS, FAR, Received, Receiver
from app.servicebus.settlement import Settlement
from app.servicebus.shared_connection import SharedConnection

ACCEPT_SECONDS = 30.0
"""How long the broker is asked to wait for a session that has messages."""
_OPEN_SECONDS = 10.0
"""How much longer an answer to that may take."""
_LOOK_SECONDS = 0.25
"""How long a reading lasts where nothing comes."""
_CLOSE_SECONDS = 3.0
_NOBODY = "com.microsoft:timeout"


class NoSession(Exception):
    """The broker has no session that has messages and that nobody holds."""


class SessionLink(Receiver):
    """One link, from the wait for a session to the session's end; never opened again."""

    def __init__(self, receiver: ServiceBusReceiver, connection: SharedConnection) -> None:
        super().__init__(receiver)
        self._shared = connection
        self._came = asyncio.Event()
        self._locked_until: datetime | None = None

    @property
    def waiting(self) -> bool:
        """Whether the broker has been asked for a session, and was there."""
        handler = self._receiver._handler
        return not self.lost and self._shared.is_open and handler is not None and handler._link is not None

    @property
    def session_id(self) -> str:
        """Which session it is; for after `open`."""
        return str(self._receiver.session.session_id)

    @property
    def handle(self) -> object:
        """What its messages name as their link; for after `open`."""
        return self._handler

    @property
    def locked_until(self) -> datetime | None:
        """Until when the session was locked when it was accepted, by the broker's clock; for after `open`."""
        return self._locked_until

    async def open(self) -> None:
        """Wait for a session, and attach to it without credit yet.

        Raises `NoSession` where none came in time, `LinkLost`, or the broker's `ServiceBusError`. May be cancelled.
        """
        create = self._receiver._create_handler

        def create_shared(auth: Any) -> None:
            create(auth)
            self._receiver._handler._message_received_callback = self._message_came
            self._shared.adopt(self._receiver._handler)

        self._receiver._create_handler = create_shared
        async with self._shared.speaking():
            found = await self._accept()
        if not found:
            raise NoSession
        self._handler = self._receiver._handler
        self._arrived = self._handler._received_messages
        self._locked_until = self._receiver.session.locked_until_utc
        self._never_expires_here()

    async def read(self) -> list[Received]:
        """As `Receiver.read`; woken by this session's messages alone, for there are many on the connection."""
        if self._arrived.empty():
            self._came.clear()
            with self._watching():
                self._check_attached()
                await self._handler.client_ready_async()  # renews the token, too
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._came.wait(), _LOOK_SECONDS)
        return self.take_arrived()

    def look(self) -> None:
        """Notice a loss although nothing is read or written."""
        with contextlib.suppress(LinkLost), self._watching():
            self._check_attached()

    async def renew(self, received: Received | None = None, seconds: float = CONFIRM_SECONDS) -> None:
        """Hold the session for another of its locks' periods; raises as `Receiver.renew`."""
        async with self._speaking():
            with self._watching():
                async with asyncio.timeout(min(seconds, CONFIRM_SECONDS)):
                    await self._receiver.session.renew_lock()
        self._never_expires_here()

    async def settle(self, received: Received, settlement: Settlement) -> None:
        """Settle a message of this session; raises as `Receiver.settle`, `MessageLockLostError` where it is over."""
        async with self._speaking():
            await super().settle(received, settlement)

    async def close(self) -> None:
        """Give the session back, with what was sent of it and is not settled. Raises nothing."""
        self._lose("closed")
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._receiver.close()

    def nudge(self) -> None:
        """Let a `read` that waits return now."""
        self._came.set()

    async def _accept(self) -> bool:
        """Whether the broker had a session for us."""
        try:
            async with asyncio.timeout(ACCEPT_SECONDS + _OPEN_SECONDS):
                # The SDK gives an opening no longer than its `try_timeout`; to wait for a session takes longer.
                await self._receiver._do_retryable_operation(self._receiver._open)
        except OperationTimeoutError as error:
            if _NOBODY not in str(error):
                raise
            return False
        return True

    @contextlib.asynccontextmanager
    async def _speaking(self) -> AsyncIterator[None]:
        """A question that is not answered is a reason to doubt the connection; a loss that is known is none."""
        if self.lost:
            raise LinkLost(self.reason)
        async with self._shared.speaking():
            yield

    def _check_attached(self) -> None:
        if not self._shared.is_open:
            raise LinkLost("the connection is lost")
        if self._handler._link.get_state().value != ATTACHED:
            raise LinkLost("the link is detached")

    async def _message_came(self, _: Any) -> None:
        self._came.set()

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        """A session that is lost takes its link with it, and all its messages' locks."""
        try:
            with super()._watching():
                yield
        except SessionLockLostError as error:
            self._lose("the session's lock is lost")
            raise MessageLockLostError(message="The session's lock is lost.", error=error) from error

    def _never_expires_here(self) -> None:
        """The SDK refuses to settle where the lock has ended by this machine's clock. The broker knows better."""
        self._receiver.session._locked_until_utc = datetime.now(UTC) + FAR
