"""Tasks that live as long as the worker: a defect in one is told and the task begun again; it ends nothing else."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from app.errors import StartupError

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
_LONG_ENOUGH = 60.0
"""Seconds after which a task that fails is taken for one that works: its next pause is the first again."""


async def supervised(name: str, run: Callable[[], Awaitable[None]]) -> None:
    """Await `run`, again and again where it raises; returns where it returns. Raises `StartupError` alone."""
    pause = FIRST_PAUSE
    while True:
        began = time.monotonic()
        try:
            return await run()
        except StartupError:
            raise
        except Exception:
            if time.monotonic() - began > _LONG_ENOUGH:
                pause = FIRST_PAUSE
            log.exception("%s failed by a defect; it begins again in %.1f s", name, pause)
        await asyncio.sleep(pause)
        pause = min(LONGEST_PAUSE, 2 * pause)
