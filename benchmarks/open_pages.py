"""What open pages of the console's live view cost the service: `python -m benchmarks.open_pages`."""

import asyncio
import sys
import time
from collections import Counter
from pathlib import Path

import httpx

from tests.fixtures.server import Server, serving

MODELS = Path(__file__).parents[1] / "models"
SETTLE_SECONDS = 4.0
MEASURED_SECONDS = 20.0
TICKS_A_SECOND = 100


def main() -> None:
    """Print the service's CPU time with no, one and a hundred pages open, and nothing else asked of it."""
    with serving(MODELS) as server:
        for pages in (0, 1, 100):
            share, events = asyncio.run(_measure(server, pages))
            told = f"{pages:>4} pages: {share:.2%} of a core, {events:.1f} events each in {MEASURED_SECONDS:.0f} s"
            sys.stdout.write(f"{told}\n")


async def _measure(server: Server, pages: int) -> tuple[float, float]:
    came = Counter[str]()
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=None, limits=limits) as client:
        looking = [asyncio.create_task(_look(client, server.url, came)) for _ in range(pages)]
        await asyncio.sleep(SETTLE_SECONDS)
        began, before, seen = time.monotonic(), _cpu_seconds(server.process.pid), came.total()
        await asyncio.sleep(MEASURED_SECONDS)
        share = (_cpu_seconds(server.process.pid) - before) / (time.monotonic() - began)
        events = (came.total() - seen) / max(1, pages)
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
    return share, events


async def _look(client: httpx.AsyncClient, url: str, came: Counter[str]) -> None:
    async with client.stream("GET", f"{url}/console/live") as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                came[url] += 1


def _cpu_seconds(process: int) -> float:
    """User's and system's time of a process (proc(5))."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_SECOND


if __name__ == "__main__":
    main()
