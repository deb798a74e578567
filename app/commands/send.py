"""`roo-vision send`: put pictures on the queue and, if wanted, wait for what comes back."""

import asyncio
import re
import statistics
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.commands.summary import printable, summary
from app.errors import StartupError
from app.servicebus.connection import Access
from app.servicebus.robot import Picture, Reply, Robot
from app.settings import Settings, the_queue

console = Console(stderr=True)

_RATE = re.compile(r"(\d+(?:\.\d+)?)(?:/(s|min))?")
_PATIENCE = 60.0
"""Seconds without any result after which the missing ones are given up."""
_LOOK = 2.0
"""Seconds without any result after which the missing ones are looked for among the dead letters."""


_LONGEST_ID = 128
"""Characters of a message's id; Service Bus refuses more."""


@dataclass(frozen=True, slots=True)
class Errand:
    """What is to be sent. `per_second` None means as fast as the queue takes it."""

    pictures: list[Path]
    per_second: float | None
    wait: bool
    properties: dict[str, str]
    session: str | None = None
    """The session that all belong to, for a queue that requires one."""
    take_all: bool = False
    """Whether results of others' messages are taken off the queue of results, too."""


def read_rate(text: str | None) -> float | None:
    """`800/min`, `10/s` or a number of pictures a second; raises `StartupError` for anything else."""
    if text is None:
        return None
    found = _RATE.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise StartupError(f"--rate {text!r}: give a rate such as 800/min or 10/s.")
    return float(found[1]) / (60 if found[2] == "min" else 1)


def run(errand: Errand, settings: Settings) -> bool:
    """Send, and wait if wanted; True when nothing is missing."""
    queue = the_queue(settings, "Which queue?")
    if errand.wait and settings.results_queue is None:
        raise StartupError("--wait needs the queue on which results come back: set ROO_RESULTS_QUEUE, or --results.")
    secret = settings.servicebus_connection_string
    access = Access(settings.servicebus_namespace, secret.get_secret_value() if secret else None)
    results = settings.results_queue if errand.wait else None
    robot = Robot(access, queue, results, errand.session, own_only=not errand.take_all)
    return asyncio.run(_run(errand, robot))


async def _run(errand: Errand, robot: Robot) -> bool:
    total = len(errand.pictures)
    async with robot:
        with _progress() as progress:
            sent = progress.add_task("sent", total=total)
            answered = progress.add_task("results", total=total) if errand.wait else None
            latencies: list[float] = []

            def on_reply(reply: Reply) -> None:
                latencies.append(time.monotonic() - robot.sent_at[reply.message_id])
                sys.stdout.write(f"{reply.message_id}: {summary(reply.body)} ({latencies[-1]:.2f} s)\n")
                if answered is not None:
                    progress.advance(answered)

            waiting = asyncio.create_task(collect(robot, total, on_reply)) if errand.wait else None
            try:
                async for _ in robot.send(_messages(errand), errand.per_second):
                    progress.advance(sent)
                missing = await waiting if waiting is not None else set()
            finally:
                await _end(waiting)
        if errand.wait:
            return await _report(robot, latencies, missing)
    return True


async def _end(waiting: asyncio.Task[set[str]] | None) -> None:
    """Wait no more for results, where sending has failed; the link must not be closed under who reads it."""
    if waiting is not None:
        waiting.cancel()
        await asyncio.wait([waiting])
        if not waiting.cancelled():
            waiting.exception()  # whatever it was, the failure to send is what is told


async def collect(robot: Robot, total: int, on_reply: Any) -> set[str]:
    """Tell `on_reply` of each result of the robot's own messages until all `total` have one or are dead letters; gives
    who has none.

    It ends early where nothing has come for long.
    """
    answered: set[str] = set()
    dead: set[str] = set()
    replies = robot.replies()
    coming = asyncio.ensure_future(anext(replies))
    quiet_since = time.monotonic()
    try:
        while len(answered | dead) < total and time.monotonic() - quiet_since < _PATIENCE:
            done, _ = await asyncio.wait([coming], timeout=_LOOK)
            if not done:
                dead = set(await robot.dead_letters())
                continue
            reply, quiet_since = coming.result(), time.monotonic()
            coming = asyncio.ensure_future(anext(replies))
            if reply.message_id in robot.sent_at and reply.message_id not in answered:
                answered.add(reply.message_id)
                on_reply(reply)
    finally:
        coming.cancel()
        await asyncio.wait([coming])
        if not coming.cancelled():
            coming.exception()  # whatever it was, it concerns no result that is waited for
    return set(robot.sent_at) - answered


async def _report(robot: Robot, latencies: list[float], missing: set[str]) -> bool:
    if latencies:
        ordered = sorted(latencies)
        slowest = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
        console.print(f"{len(ordered)} results; p50 {statistics.median(ordered):.2f} s, p99 {slowest:.2f} s")
    dead = await robot.dead_letters() if missing else {}
    for message_id in sorted(missing):
        console.print(f"{message_id}: {dead.get(message_id, 'no result')}", style="red", markup=False)
    return not missing


def _messages(errand: Errand) -> Iterator[Picture]:
    run_id = uuid.uuid4().hex[:8]
    for number, path in enumerate(errand.pictures):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise StartupError(f"{path} cannot be read: {error.strerror}.") from None
        yield Picture(_message_id(path, f"-{run_id}-{number}"), content, errand.properties)


def _message_id(path: Path, unique: str) -> str:
    """The file's name, as far as there is room for it and it can be printed, and what makes it one of its own."""
    return printable(path.name)[: _LONGEST_ID - len(unique)] + unique


def _progress() -> Progress:
    columns = (TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)
