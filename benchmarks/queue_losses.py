"""What a cut, restarts and many destinations cost: measured of the present code and of an earlier state of it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.servicebus.robot import Picture
from benchmarks.queue_stage import JOBS, Stage, metric

DESTINATIONS = tuple(f"robot-{number:03}" for number in range(200))
"""Queues for results, each a robot's own."""

_POLL_SECONDS = 0.02
_PATIENCE_SECONDS = 120
_COMPUTED = "roo_batch_size_sum"


@dataclass(frozen=True, slots=True)
class Cut:
    """One cut of all connections under a backlog of `backlog` messages, round by round."""

    backlog: int
    longest_gap: list[float]
    """Seconds without a completion, from the cut on and for as long as messages wait on the queue."""
    computed_twice: list[int]
    """Pictures that were computed beyond one for each message."""
    lost_on_the_way: list[int]
    """Messages that were on their way when the connection was cut, and came again when their locks had ended."""


@dataclass(frozen=True, slots=True)
class Restarts:
    """SIGTERM under a backlog, and the service anew."""

    restarts: int
    deliveries_used: int
    """Deliveries that were used up: messages that were abandoned, or locked when the process had ended."""


@dataclass(frozen=True, slots=True)
class Robots:
    """Resident memory, in MB (10^6 bytes), that results to so many destinations of their own cost."""

    destinations: int
    grown_mb: list[float]


async def cut(stage: Stage, backlog: int, found: Cut) -> None:
    """One round, from a queue that was full before."""
    before, ended = stage.bus.total("completed"), stage.bus.total("lock_ended")
    await stage.fill(backlog, f"cut-{before}")
    with stage.service() as service:
        port = await stage.ready(service)
        await _until_completed(stage, before + backlog // 7)
        stage.bus.disturb("/cut")
        found.longest_gap.append(await _longest_gap(stage))
        await _until_completed(stage, before + backlog)
        found.computed_twice.append(round(metric(port, _COMPUTED)) - backlog)
        found.lost_on_the_way.append(stage.bus.total("lock_ended") - ended)


async def restarts(stage: Stage, count: int) -> Restarts:
    """As often as `count`, with messages held each time."""
    await stage.fill(count * 120, "restart")
    used = 0
    for _ in range(count):
        before = stage.bus.results()
        with stage.service() as service:
            await stage.until_results(before + 20, service)
        used += int(stage.bus.depths(JOBS)["locked"])
        await _until(lambda: not stage.bus.depths(JOBS)["locked"])  # so that none is counted twice
    return Restarts(count, used + stage.bus.total("abandoned"))


async def robots(stage: Stage, warm: int) -> float:
    """Memory in MB that a result to each of `DESTINATIONS` adds to a service that has answered `warm` messages."""
    before = stage.bus.results()
    with stage.service() as service:
        await stage.ready(service)
        await stage.fill(warm, f"warm-{before}")
        await stage.until_results(before + warm, service)
        resident = service.resident_mb()
        sent = stage.bus.total("completed")
        async with stage.robot() as robot:
            pictures = zip(stage.messages(len(DESTINATIONS), f"own-{before}"), DESTINATIONS, strict=True)
            async for _ in robot.send(Picture(p.message_id, p.content, p.properties, to) for p, to in pictures):
                pass
        await _until_completed(stage, sent + len(DESTINATIONS))
        return service.resident_mb() - resident


async def _longest_gap(stage: Stage) -> float:
    longest, last, done = 0.0, time.monotonic(), stage.bus.total("completed")
    while stage.bus.depths(JOBS)["active"]:
        await asyncio.sleep(_POLL_SECONDS)
        now, found = time.monotonic(), stage.bus.total("completed")
        if found > done:
            done, last = found, now
        longest = max(longest, now - last)
    return longest


async def _until_completed(stage: Stage, count: int) -> None:
    await _until(lambda: stage.bus.total("completed") >= count)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110  the condition is another process's, which sets no event
            await asyncio.sleep(_POLL_SECONDS)
