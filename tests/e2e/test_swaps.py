"""Two hundred swaps of a model under load, with all that goes wrong meanwhile, in a real process."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from azure.servicebus.aio import ServiceBusClient, ServiceBusSender

from app.devbus.broker import Broker
from tests.fixtures.living import (
    MIB,
    RED,
    Answer,
    Callers,
    change,
    closed,
    files,
    open_to_all,
    resident,
    threads,
    version_in,
)
from tests.fixtures.models import add_numbered_version, colour_manifest, write_manifest
from tests.fixtures.pictures import solid
from tests.fixtures.queue import picture, results
from tests.fixtures.server import Server
from tests.fixtures.waiting import until, until_async

SWAPS = 200
VERSIONS = 5
BROKEN = VERSIONS + 1
NUMBERS = 50_000
"""A state of the model takes 0.6 MB: more than a hundred of them cannot be overlooked."""
SETTLED = 40
"""After so many swaps the process has all that it needs, and is looked at."""
GUESTS = ("first-guest", "second-guest")
"""Models of which only one has room beside the one that is swapped."""
GUEST_VERSION = 7


@dataclass(slots=True)
class Reign:
    """When a version answered, by `time.monotonic`: from when it was asked for to when another was there."""

    version: int
    begin: float
    end: float = float("inf")


@dataclass
class Repository:
    """The folder, and which versions of its model were served when."""

    root: Path
    reigns: list[Reign] = field(default_factory=lambda: [Reign(1, 0.0)])

    def __post_init__(self) -> None:
        for version in range(1, BROKEN + 1):
            folder = add_numbered_version(self.root, version, numbers=NUMBERS)
        (folder / "model.onnx").write_bytes(b"torn")
        for name in GUESTS:
            add_numbered_version(self.root, GUEST_VERSION, name, numbers=NUMBERS)
        self.describe([1])

    @property
    def served(self) -> int:
        """The version that answers."""
        return self.reigns[-1].version

    @property
    def next(self) -> int:
        """The version that is to follow it."""
        return self.served % VERSIONS + 1

    @property
    def size(self) -> int:
        """Bytes of a version."""
        return (self.root / GUESTS[0] / str(GUEST_VERSION) / "model.onnx").stat().st_size

    def describe(self, versions: list[int], **changes: Any) -> None:
        """Write the manifest."""
        write_manifest(self.root / "numbered", colour_manifest(versions=list(map(str, versions)), **changes))

    def swap(self, client: httpx.Client) -> None:
        """Have the next version serve in the place of the present one."""
        last, following = self.reigns[-1], Reign(self.next, time.monotonic())
        self.describe([following.version])
        assert change(client, "load")["versions"] == [str(following.version)]
        last.end = time.monotonic()
        self.reigns.append(following)

    def fail(self, client: httpx.Client) -> None:
        """Have a version loaded whose file is broken, and one with another digest than the manifest says."""
        for version, changes in ((BROKEN, {}), (self.next, {"sha256": {str(self.next): "0" * 64}})):
            self.describe([version], **changes)
            response = client.post("/v1/models/numbered/load")
            assert (response.status_code, response.json()["code"]) == (422, "cannot_load")
        self.describe([self.served])

    def roll_back(self, client: httpx.Client) -> None:
        """Roll the next version out behind a guard that no version can keep."""
        stays, tried = self.reigns[-1], Reign(self.next, time.monotonic())
        self.describe([stays.version, tried.version], traffic={str(stays.version): 100})
        change(client, "load")
        plan = {"to": str(tried.version), "steps": [50, 100], "every": "60s", "guards": ["p50<0.01ms"]}
        assert client.post("/v1/models/numbered/rollout", json=plan).is_success
        until(lambda: client.get("/v1/models/numbered/rollout").json()["phase"] == "back")
        tried.end = time.monotonic()
        self.reigns.insert(-1, tried)
        self.describe([stays.version])
        change(client, "load")

    def served_to(self, answer: Answer) -> bool:
        """Whether the version that answered was served at any time while its caller waited."""
        return any(
            reign.version == answer.version and reign.begin <= answer.came and answer.asked <= reign.end
            for reign in self.reigns
        )


@dataclass
class Robot:
    """Puts pictures on the queue, one after the other."""

    sender: ServiceBusSender
    sent: int = 0

    async def send(self, count: int = 1) -> None:
        for _ in range(count):
            await self.sender.send_messages(picture(RED, f"message-{self.sent}"))
            self.sent += 1


@asynccontextmanager
async def robot_of(broker: Broker) -> AsyncIterator[Robot]:
    async with (
        ServiceBusClient.from_connection_string(broker.connection_string) as client,
        client.get_queue_sender("jobs") as sender,
    ):
        yield Robot(sender)


def call_a_guest(client: httpx.Client, number: int) -> None:
    """Ask a model that has to be loaded first, for which another has to go."""
    response = client.post(f"/v1/models/{GUESTS[number % 2]}/predict", content=solid(RED))
    assert (response.status_code, version_in(response.json())) == (200, GUEST_VERSION)


async def at_rest(server: Server, models: int) -> tuple[int, int, int]:
    """Threads, open files and bytes of memory, once no more than so many models are open."""
    await until_async(lambda: server.log.count("loaded Model(") - closed(server) == models)
    return threads(server), files(server), resident(server)


async def end_amid_reloads(server: Server, callers: Callers) -> None:
    """SIGTERM while the model is reloaded, again and again, and asked."""

    def reload() -> None:
        with server.client() as client:
            try:
                while client.post("/v1/models/numbered/reload").status_code in (200, 503):
                    pass
            except httpx.TransportError:
                return

    reloading = threading.Thread(target=reload)
    before = closed(server)
    reloading.start()
    await until_async(lambda: closed(server) >= before + 3)
    callers.ending = True
    server.terminate()
    assert await asyncio.to_thread(server.wait) == 0, server.log
    await asyncio.to_thread(reloading.join)
    assert "Traceback" not in server.log


async def test_two_hundred_swaps_under_load_lose_nothing_and_leave_nothing(tmp_path: Path) -> None:
    repository = Repository(tmp_path)
    async with Broker(["jobs", "results,dedup=600"]) as broker, robot_of(broker) as robot:
        settings = {
            "servicebus_connection_string": broker.connection_string,
            "queue": "jobs",
            "results_queue": "results",
            "load": "on-demand",
            "default_model": "numbered",
            "models_memory": int(2.5 * repository.size),
        }
        with open_to_all(tmp_path, **settings) as (server, client), Callers(server, "numbered", 2) as callers:
            for number in range(1, SWAPS + 1):
                await robot.send()
                await asyncio.to_thread(repository.swap, client)
                if number % 10 == 0:
                    await asyncio.to_thread(call_a_guest, client, number // 10)
                if number % 25 == 0:
                    await asyncio.to_thread(repository.fail, client)
                if number == SWAPS // 2:
                    await asyncio.to_thread(repository.roll_back, client)
                if number == SETTLED:
                    before = await at_rest(server, models=2)
            after = await at_rest(server, models=2)
            assert "put away until it is asked for" in server.log
            assert after[0] <= before[0] + 1
            assert after[1] <= before[1] + 2
            assert after[2] <= before[2] + 30 * MIB
            await robot.send(20)
            await end_amid_reloads(server, callers)
        assert callers.wrong == []
        assert [answer for answer in callers.answers if not repository.served_to(answer)] == []
        assert set(callers.answered) == set(range(1, VERSIONS + 1))
        with open_to_all(tmp_path, **settings):
            bodies = await results(broker, robot.sent)
        assert {version_in(body) for body in bodies.values()} == set(range(1, VERSIONS + 1))
        assert (len(bodies), broker.queue("results").depths.total) == (robot.sent, robot.sent)
        assert broker.queue("jobs").depths.total == 0
