"""A client that goes away before its answer is there: nobody need work on that any more."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.types import Scope

from app.errors import InvalidRequest

T = TypeVar("T")

_STATE = "hang_up"


class HangUp:
    """Told by the connection; cancels what waits for the answer. A task of its own that waited for that message took a
    tenth of the event loop's time for a picture.
    """

    __slots__ = ("_working", "gone")

    def __init__(self) -> None:
        self.gone = False
        self._working: asyncio.Task[Any] | None = None

    def belongs_to(self, scope: Scope) -> None:
        """Be found by whoever answers this request."""
        scope["state"][_STATE] = self

    def tell(self) -> None:
        """The client has gone."""
        self.gone = True
        if self._working is not None:
            self._working.cancel()

    async def or_cancelled(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work unless the client goes away first."""
        working = asyncio.current_task()
        assert working is not None
        self._working = working
        try:
            return await work
        except asyncio.CancelledError:
            if not self.gone or working.uncancel():
                raise  # not the client but the server ends this request
            raise _closed() from None
        finally:
            self._working = None


async def or_hang_up(scope: Scope, work: Coroutine[Any, Any, T]) -> T:
    """Do the work unless the client goes away first: then it is cancelled, and its place is free for others.

    Raises `InvalidRequest` then. A server that tells nobody of hanging up has the work done in any case.
    """
    hang_up: HangUp | None = scope["state"].get(_STATE)
    if hang_up is None:
        return await work
    if hang_up.gone:
        work.close()
        raise _closed()
    return await hang_up.or_cancelled(work)


def _closed() -> InvalidRequest:
    return InvalidRequest("The client closed the connection before the answer was there.")
