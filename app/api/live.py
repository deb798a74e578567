"""`/console/live`: the figures of now, as server-sent events. One sampler serves all pages, and rests without any."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from app.api.hang_up import or_hang_up
from app.core.health import Health
from app.errors import InvalidRequest, Overloaded
from app.telemetry import figures, readings

log = logging.getLogger(__name__)

EVERY_SECONDS = 2.0
MOST_PAGES = 500
PAGE_SECONDS = 60.0
"""Until a page has to ask again, and so to show a key that is still good."""
MEDIA_TYPE = "text/event-stream"
_ENDED = b""


class Live:
    """Samples every `EVERY_SECONDS` while somebody listens; each event is made once, whoever it goes to."""

    def __init__(self, sample: Callable[[], dict[str, Any]]) -> None:
        """`sample` is called beside the event loop."""
        self._sample = sample
        self._pages = 0
        self._next: asyncio.Future[bytes] | None = None
        self._sampling: asyncio.Task[None] | None = None
        self._last = _ENDED
        self._closed = False

    @property
    def pages(self) -> int:
        """How many listen."""
        return self._pages

    async def events(self) -> AsyncGenerator[bytes]:
        """The last event at once, then each as it is made, for `PAGE_SECONDS` or until `close`. Raises `Overloaded` for
        too many pages.
        """
        if self._pages >= MOST_PAGES:
            raise Overloaded(f"{MOST_PAGES} pages are looking already.", retry_after=EVERY_SECONDS)
        if self._closed:
            return
        ends = time.monotonic() + PAGE_SECONDS
        self._pages += 1
        try:
            if self._sampling is None:
                self._last = _ENDED
                self._next = asyncio.get_running_loop().create_future()
                self._sampling = asyncio.create_task(self._run(), name="live figures")
            elif self._last:
                yield self._last
            while not self._closed and self._next is not None and time.monotonic() < ends:
                event = await asyncio.shield(self._next)
                if event == _ENDED:
                    return
                yield event
        finally:
            self._pages -= 1
            if not self._pages and self._sampling is not None:
                self._sampling.cancel()
                self._sampling = self._next = None

    def close(self) -> None:
        """End all pages' streams: they must not keep a service from stopping, and find it again by themselves."""
        self._closed = True
        if self._next is not None and not self._next.done():
            self._next.set_result(_ENDED)

    async def _run(self) -> None:
        while True:
            try:
                event = b"data: " + to_json(await asyncio.to_thread(self._sample)) + b"\n\n"
            except Exception:  # whoever looks next is told; the pages keep what they have
                log.exception("the live figures cannot be read")
                event = b": nothing to tell\n\n"
            following = asyncio.get_running_loop().create_future()
            waiting, self._next, self._last = self._next, following, event
            if waiting is not None and not waiting.done():
                waiting.set_result(event)
            await asyncio.sleep(EVERY_SECONDS)


class Sample:
    """The figures since the sample before."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._before: readings.Reading | None = None

    def __call__(self) -> dict[str, Any]:
        """Read all instruments that are needed; takes a few milliseconds."""
        now = readings.read(figures.NEEDED, time.monotonic())
        interval, self._before = readings.Interval(now, self._before), now
        found = asdict(figures.figures(interval))
        return {"at": time.time(), **found, "checks": self._health.ready().checks}


class _Events(StreamingResponse):
    """The events of one page, until it leaves."""

    def __init__(self, first: bytes, stream: AsyncGenerator[bytes]) -> None:
        super().__init__(
            stream, media_type=MEDIA_TYPE, headers={"cache-control": "no-store", "x-accel-buffering": "no"}
        )
        self._first = first
        self._stream = stream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI entry point; without Starlette's group of tasks, which a hundred pages would pay for."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with aclosing(self._stream):
            with suppress(InvalidRequest):  # the client has gone
                await or_hang_up(scope, self._send(send))

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.body", "body": self._first, "more_body": True})
        async for event in self._stream:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def router(live: Live) -> APIRouter:
    """The endpoint."""
    routes = APIRouter(include_in_schema=False)

    @routes.get("/console/live")
    async def events() -> StreamingResponse:
        stream = live.events()
        return _Events(await anext(stream, _ENDED), stream)

    return routes
