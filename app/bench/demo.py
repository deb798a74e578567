"""`roo-vision demo`: the whole way of a robot's pictures, on this machine and with nothing to set up.

A Service Bus of our own, the service as a process beside it, pictures put on the queue, results read back.
"""

import asyncio
import contextlib
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from app.bench.processes import Child, sigterm_as_exit
from app.devbus.broker import Broker
from app.devbus.limits import BrokerLimits
from app.errors import StartupError
from app.host.process import environment_with
from app.servicebus.connection import Access
from app.servicebus.robot import Picture, Reply, Robot
from app.settings import Settings

JOBS, RESULTS = "pictures", "results"
PATIENCE_SECONDS = 60.0

console = Console(stderr=True)


@dataclass(slots=True)
class Tally:
    """What came back. Latencies are seconds from sending to the result in hand."""

    latencies: list[float] = field(default_factory=list)
    result_ids: set[str] = field(default_factory=set)
    labels: Counter[str] = field(default_factory=Counter)
    texts: set[str] = field(default_factory=set)

    def add(self, reply: Reply, seconds: float) -> None:
        """Count one result."""
        self.latencies.append(seconds)
        self.result_ids.add(reply.result_id)
        self.labels.update(item["label"] for item in reply.body.get("detections") or [])
        self.texts.update((reply.body.get("inventory") or {}).get("texts", []))


def run(count: int, settings: Settings, *, stay: bool) -> bool:
    """Send `count` pictures and one that is none; True where all is as it should be.

    At the end the console's address is named; with `stay` it can be used until Ctrl+C.
    """
    with sigterm_as_exit(), tempfile.TemporaryDirectory() as folder:
        return asyncio.run(_run(count, settings, Path(folder), stay=stay))


async def _run(count: int, settings: Settings, folder: Path, *, stay: bool) -> bool:
    broker = Broker([f"{JOBS},lock=30", f"{RESULTS},dedup=600"], limits=BrokerLimits(max_message_size=4 << 20))
    async with broker:
        console.print("a Service Bus for development, in memory, and the service beside it ...")
        with _serve(broker, settings, folder) as service:
            port, _ = await asyncio.to_thread(service.wait_until_ready, "/readyz")
            began = time.monotonic()
            tally = await _send_and_wait(broker, _pictures(settings, count), count)
            seconds = time.monotonic() - began
            dead = await _dead_letter(broker)
            _print(count, seconds, tally, dead)
            await _show_console(port, stay=stay)
            await asyncio.to_thread(service.stop)
    return len(tally.latencies) == len(tally.result_ids) == count and dead is not None


def _serve(broker: Broker, settings: Settings, folder: Path) -> Child:
    environment = environment_with(
        ROO_SERVICEBUS_CONNECTION_STRING=broker.connection_string,
        ROO_QUEUE=JOBS,
        ROO_RESULTS_QUEUE=RESULTS,
        ROO_QUEUE_CONTROL="open",
        ROO_CONSOLE="true",
    )
    options = ["--host", "127.0.0.1", "--port", "0", "--models-dir", str(settings.models_dir.absolute())]
    return Child("service", ["app", "serve", *options], folder, environment=environment)


def _pictures(settings: Settings, count: int) -> Iterator[Picture]:
    found = sorted(settings.models_dir.glob("*/examples/*.jpg"))
    if not found:
        raise StartupError(f"No model in {settings.models_dir} has examples/*.jpg to send.")
    contents = [path.read_bytes() for path in found]
    yield Picture("no-picture", b"this is no picture", {"robot_id": "robot-0"})
    for number in range(count):
        robot = {"robot_id": f"robot-{number % 5 + 1}"}
        yield Picture(f"picture-{number:04}", contents[number % len(contents)], robot)


async def _send_and_wait(broker: Broker, pictures: Iterator[Picture], count: int) -> Tally:
    tally = Tally()
    async with Robot(Access(None, broker.connection_string), JOBS, RESULTS) as robot:
        columns = (TextColumn("{task.description:>8}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            sent, answered = progress.add_task("sent", total=count + 1), progress.add_task("results", total=count)
            collecting = asyncio.create_task(_collect(robot, count, tally, lambda: progress.advance(answered)))
            async for _ in robot.send(pictures):
                progress.advance(sent)
            await collecting
    return tally


async def _collect(robot: Robot, count: int, tally: Tally, on_reply: Any) -> None:
    replies = robot.replies()
    with contextlib.suppress(TimeoutError):
        while len(tally.latencies) < count:
            reply = await asyncio.wait_for(anext(replies), PATIENCE_SECONDS)
            tally.add(reply, time.monotonic() - robot.sent_at[reply.message_id])
            on_reply()


async def _dead_letter(broker: Broker) -> str | None:
    letters = broker.queue(JOBS).dead_letters
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while letters is not None:
                for entry in letters.peek():
                    return f"{entry.message_id}: {entry.reason}: {entry.description}"
                await asyncio.sleep(0.05)
    return None


async def _show_console(port: int, *, stay: bool) -> None:
    """Until Ctrl+C, where somebody stays: the message that is no picture lies there, and can be sent again."""
    sys.stdout.write(f"The console: http://127.0.0.1:{port}/console/#queue\n")
    sys.stdout.flush()
    if stay:
        console.print("The message that is no picture lies there. Ctrl+C ends the service.")
        with contextlib.suppress(asyncio.CancelledError):  # what asyncio makes of Ctrl+C
            await asyncio.Event().wait()


def _print(count: int, seconds: float, tally: Tally, dead: str | None) -> None:
    table = Table(title="What became of them", show_header=False, title_justify="left")
    latencies = sorted(tally.latencies) or [0.0]
    p99 = latencies[min(len(latencies) - 1, int(0.99 * len(latencies)))]
    found = ", ".join(f"{number:,} {label}" for label, number in tally.labels.most_common())
    rows = {
        "pictures sent": f"{count:,} in {seconds:.1f} s, {count / seconds:.0f} a second",
        "results": f"{len(tally.latencies):,}, {count - len(tally.latencies)} missing, "
        f"{len(tally.latencies) - len(tally.result_ids)} doubled",
        "sent to result": f"p50 {statistics.median(latencies):.2f} s, p99 {p99:.2f} s, the wait in the queue included",
        "found": found or "nothing",
        "codes read": f"{len(tally.texts)} different, such as {', '.join(sorted(tally.texts)[:3])}",
        "in the dead-letter queue": dead or "nothing, but the message that is no picture should be",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    Console().print(table)
