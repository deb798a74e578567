"""Callers of a service's HTTP who want a new answer as soon as they have one."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx

Ask = Callable[[httpx.AsyncClient, bytes], Awaitable[None]]
"""Asks about one picture, and raises where the answer is not what it should be."""


async def press(url: str, ask: Ask, pictures: list[bytes], concurrency: int, warm: float, seconds: float) -> float:
    """Pictures a second that `concurrency` callers get answered in `seconds`, after `warm` seconds uncounted."""
    answered, loop = 0, asyncio.get_running_loop()
    begins = loop.time() + warm
    ends = begins + seconds

    async def caller(client: httpx.AsyncClient, number: int) -> None:
        nonlocal answered
        while loop.time() < ends:
            await ask(client, pictures[number % len(pictures)])
            number += 1
            answered += begins <= loop.time()

    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        await asyncio.gather(*(caller(client, number) for number in range(concurrency)))
    return answered / (loop.time() - begins)  # what was under way at the end is waited for
