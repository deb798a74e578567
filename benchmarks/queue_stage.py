"""The stage of the queue's benchmarks: a Service Bus in a process of its own, and the service in another."""

import asyncio
import contextlib
import http.client
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from app.bench.contenders import READY_PATH
from app.bench.processes import Child
from app.host.process import environment_with
from app.servicebus.connection import Access
from app.servicebus.robot import Picture, Robot
from benchmarks.states import NOW, State

JOBS, RESULTS = "jobs", "results"
UNREAD = {"read_barcodes": False}
"""Queue and HTTP are compared on the same work; reading barcodes is not part of it."""
_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 300.0
MAX_DELIVERY = 10


@dataclass(frozen=True, slots=True)
class Repository:
    """What the service serves."""

    models_dir: Path
    model: str
    device: str


class Bus:
    """A devbus with the queues `jobs` and `results`, and such `others` as are named; asked over its status port."""

    def __init__(self, folder: Path, lock_seconds: float, others: Sequence[str] = ()) -> None:
        jobs = f"{JOBS},lock={lock_seconds},max_delivery={MAX_DELIVERY}"
        queues = [jobs, f"{RESULTS},dedup=3600", *others]
        options = [word for queue in queues for word in ("--queue", queue)]
        self.child = Child("devbus", ["app.devbus", "--port", "0", "--status-port", "0", *options], folder)
        self._log = self.child.log_path
        self.connection_string, self._port = self._announced()

    def __enter__(self) -> "Bus":
        return self

    def __exit__(self, *_: object) -> None:
        self.child.stop()

    def depths(self, queue: str) -> dict[str, Any]:
        """Counts of one queue, its `totals` among them."""
        found: dict[str, Any] = self._ask("GET", "/status")["queues"][queue]
        return found

    def total(self, what: str, queue: str = JOBS) -> int:
        """How often something has happened to messages of a queue since the start."""
        return int(self.depths(queue)["totals"].get(what, 0))

    def results(self, queue: str = RESULTS) -> int:
        """Results stored so far, repetitions not counted."""
        totals = self.depths(queue)["totals"]
        return int(totals.get("sent", 0) - totals.get("duplicates", 0))

    def happened(self, fault: str) -> int:
        """How often a fault has come about."""
        return int(self._ask("GET", "/status")["faults_happened"].get(fault, 0))

    def unsettled(self) -> int:
        """Messages of `jobs` that are neither done nor dead."""
        depths = self.depths(JOBS)
        return int(depths["active"] + depths["locked"] + depths["scheduled"])

    def dead_letters(self) -> list[dict[str, Any]]:
        """Those of `jobs`."""
        found: list[dict[str, Any]] = self._ask("GET", f"/dead-letters?queue={JOBS}")
        return found

    def disturb(self, path: str, **arguments: Any) -> None:
        """Have something go wrong: see `app.devbus.status`."""
        self._ask("POST", path, arguments)

    def _ask(self, method: str, path: str, arguments: dict[str, Any] | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request(method, path, None if arguments is None else json.dumps(arguments))
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def _announced(self) -> tuple[str, int]:
        while True:
            self.child.check_alive()
            lines = self._log.read_text().splitlines()
            if len(lines) >= 3:
                return lines[1], int(lines[2].rstrip("/").rpartition(":")[2])
            time.sleep(0.02)


class Stage:
    """Starts services of one state of the code beside one bus, and sends to it."""

    def __init__(
        self, bus: Bus, repository: Repository, pictures: list[bytes], folder: Path, state: State = NOW
    ) -> None:
        self.bus = bus
        self.state = state
        self._repository = repository
        self._pictures = pictures
        self._folder = folder

    def service(self, *options: str) -> Child:
        """A service that works off the queue; give it the `with` block's end, or `kill`."""
        environment = environment_with(
            ROO_SERVICEBUS_CONNECTION_STRING=self.bus.connection_string,
            ROO_QUEUE=JOBS,
            ROO_RESULTS_QUEUE=RESULTS,
            ROO_DEFAULT_MODEL=self._repository.model,
            ROO_LOG_LEVEL="warning",
        )
        models_dir = self.state.models(self._repository.models_dir)
        place = ["--models-dir", str(models_dir), "--device", self._repository.device]
        arguments = ["app", "serve", "--host", "127.0.0.1", "--port", "0", *place, *options]
        return Child("service", arguments, self._folder, environment=environment, cwd=self.state.tree)

    def messages(self, count: int, prefix: str) -> Iterator[Picture]:
        """So many pictures, each with an id of its own."""
        for number, content in enumerate(islice(cycle(self._pictures), count)):
            yield Picture(f"{prefix}-{number:06}", content, UNREAD)

    @contextlib.asynccontextmanager
    async def robot(self, *, reads_results: bool = False) -> AsyncIterator[Robot]:
        """Somebody who sends."""
        access = Access(None, self.bus.connection_string)
        async with Robot(access, JOBS, RESULTS if reads_results else None) as robot:
            yield robot

    async def fill(self, count: int, prefix: str) -> None:
        """Put so many messages on the queue."""
        async with self.robot() as robot:
            async for _ in robot.send(self.messages(count, prefix)):
                pass

    async def ready(self, service: Child) -> int:
        """Wait until a service is ready; returns its port."""
        return (await asyncio.to_thread(service.wait_until_ready, READY_PATH))[0]

    async def until_results(self, count: int, service: Child | None = None) -> float:
        """Wait until so many results are stored; returns the moment, on `time.monotonic`'s clock."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while self.bus.results() < count:
                if service is not None:
                    service.check_alive()
                await asyncio.sleep(_POLL_SECONDS)
        return time.monotonic()


def metric(port: int, name: str) -> float:
    """The sum of a service's metric over all its labels; 0 where there is none yet."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))
