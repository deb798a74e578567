"""The service as a process, between HTTP and a queue: what it takes, it finishes or gives back, however it ends."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.devbus.broker import Broker
from app.devbus.limits import BrokerLimits
from tests.fixtures.cosmos import KEY, Cosmos
from tests.fixtures.hook import SECRET, Hook
from tests.fixtures.models import add_slow_colour_model
from tests.fixtures.pictures import Colour, solid
from tests.fixtures.queue import colour_in, picture, put, results
from tests.fixtures.server import Server, serving
from tests.fixtures.waiting import until_async

RED: Colour = (255, 0, 0)


@contextlib.asynccontextmanager
async def bus(lock: float = 60) -> AsyncIterator[Broker]:
    queues = [f"jobs,lock={lock},max_delivery=10", "results,dedup=600"]
    async with Broker(queues, limits=BrokerLimits(max_message_size=4 << 20)) as broker:
        yield broker


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose only model takes a while, so that work is still under way when something happens."""
    root = tmp_path_factory.mktemp("slow")
    add_slow_colour_model(root)
    return root


@contextlib.contextmanager
def working(models: Path, broker: Broker, **settings: object) -> Iterator[Server]:
    known = {"servicebus_connection_string": broker.connection_string, "queue": "jobs", "results_queue": "results"}
    with serving(models, **(known | settings)) as server:
        yield server


def colours(count: int) -> dict[str, Colour]:
    return {f"message-{number}": (number * 5 % 256, number * 11 % 256, 99) for number in range(count)}


async def test_one_process_serves_people_and_robots(repository: Path) -> None:
    async with bus() as broker:
        with working(repository, broker, default_model="colour") as server, server.client() as client:
            await put(broker, [picture(RED, "robot")])
            assert colour_in((await results(broker, 1))["robot"]) == RED
            answer = client.post("/v1/predict", content=solid(RED), headers={"content-type": "image/png"})
            assert answer.status_code == 200
            assert client.get("/readyz").json()["checks"]["queue"] == "jobs: connected"
            counted = 'roo_messages_total{outcome="complete",queue="jobs",reason=""} 1.0'
            await until_async(lambda: counted in client.get("/metrics").text)


async def test_a_broker_that_is_away_is_told_and_people_are_served_all_the_same(repository: Path) -> None:
    async with bus() as broker:
        await broker.refuse()
        with working(repository, broker, default_model="colour") as server, server.client() as client:
            await until_async(lambda: "disconnected" in client.get("/readyz").json()["checks"]["queue"])
            assert client.get("/readyz").status_code == 200
            answer = client.post("/v1/predict", content=solid(RED), headers={"content-type": "image/png"})
            assert answer.status_code == 200
            await broker.reopen()
            await put(broker, [picture(RED, "patient")])
            await results(broker, 1)


async def test_told_to_stop_it_finishes_or_gives_back_all_that_it_holds(slow: Path) -> None:
    sent = colours(60)
    async with bus() as broker:
        with working(slow, broker) as server:
            await put(broker, (picture(colour, name) for name, colour in sent.items()))
            await until_async(lambda: broker.queue("results").depths.total >= 5)
            server.terminate()
            assert await asyncio.to_thread(server.wait) == 0, server.log
        depths = broker.queue("jobs").depths
        assert (depths.locked, depths.dead_lettered) == (0, 0)
        assert depths.active == len(sent) - broker.queue("results").depths.total
        with working(slow, broker):
            found = await results(broker, len(sent))
        assert {name: colour_in(body) for name, body in found.items()} == sent


async def test_told_to_stop_while_a_sink_is_away_it_gives_back_and_the_next_has_all_of_it_once(slow: Path) -> None:
    """SIGTERM comes in the middle, a receiver is away, and the secrets are in no log."""
    sent = colours(30)
    async with bus() as broker, Hook() as hook, Cosmos() as cosmos:
        secrets = slow.parent / "secrets"
        secrets.write_text(f"an older secret, long enough\n{SECRET}\n")
        known = {**hook.settings, **cosmos.settings, "webhook_secret": "", "webhook_secret_file": secrets}
        with working(slow, broker, **known, log_level="debug") as server, server.client() as client:
            await put(broker, (picture(colour, name) for name, colour in sent.items()))
            await until_async(lambda: len(hook.taken) >= 5)
            await hook.go()
            await until_async(lambda: "the webhook at" in client.get("/readyz").json()["checks"]["queue"])
            assert client.get("/readyz").status_code == 200
            server.terminate()
            assert await asyncio.to_thread(server.wait) == 0, server.log
        depths = broker.queue("jobs").depths
        assert (depths.locked, depths.dead_lettered) == (0, 0)
        assert all(entry.delivery_count == 0 for entry in broker.queue("jobs").peek())
        await hook.come()
        with working(slow, broker, **known):
            found = await results(broker, len(sent))
        assert {name: colour_in(body) for name, body in found.items()} == sent
        assert set(hook.by_request) == set(cosmos.by_request) == set(sent)
        assert not [secret for secret in (SECRET, KEY, "hidden") if secret in server.log]


async def test_killed_it_loses_nothing_and_another_takes_over(slow: Path) -> None:
    sent = colours(40)
    async with bus(lock=2) as broker:
        with working(slow, broker) as server:
            await put(broker, (picture(colour, name) for name, colour in sent.items()))
            await until_async(lambda: broker.queue("results").depths.total >= 5)
            server.process.kill()
        with working(slow, broker):
            found = await results(broker, len(sent))
            await until_async(lambda: broker.queue("jobs").depths.total == 0)
        assert {name: colour_in(body) for name, body in found.items()} == sent
        assert broker.queue("results").depths.total == len(sent)


async def test_killed_amid_sessions_it_loses_nothing_and_their_order_is_kept(slow: Path) -> None:
    robots, count = "abcdef", 3
    async with Broker(["jobs,sessions,lock=5", "results,dedup=600"]) as broker:
        shots = [picture(RED, f"{robot}-{number}", session_id=robot) for number in range(count) for robot in robots]
        with working(slow, broker, queue_sessions=4) as server:
            await put(broker, shots)
            await until_async(lambda: broker.queue("results").depths.total >= 5)
            server.process.kill()
        with working(slow, broker, queue_sessions=4):
            await until_async(lambda: broker.queue("jobs").depths.total == 0, patience=60)
        ids = [json.loads(entry.body)["request_id"] for entry in broker.queue("results").peek()]
        assert [[one for one in ids if one[0] == robot] for robot in robots] == [
            [f"{robot}-{number}" for number in range(count)] for robot in robots
        ]


async def test_one_process_works_off_several_queues_and_tells_of_each(repository: Path) -> None:
    async with Broker(["urgent", "bulk,sessions", "results"]) as broker:
        settings = {"queue": "urgent,bulk", "queue_sessions": "bulk=2", "default_model": "colour"}
        with working(repository, broker, **settings) as server, server.client() as client:
            await put(broker, [picture(RED, "u")], "urgent")
            await put(broker, [picture(RED, "b", session_id="r7")], "bulk")
            await results(broker, 2)
            assert client.get("/readyz").json()["checks"]["queue"] == "urgent: connected; bulk: connected"
            for queue in ("urgent", "bulk"):
                counted = f'roo_messages_total{{outcome="complete",queue="{queue}",reason=""}} 1.0'
                await until_async(lambda counted=counted: counted in client.get("/metrics").text)
                assert f'roo_queue_connected{{queue="{queue}"}} 1.0' in client.get("/metrics").text


async def test_a_front_can_be_left_out(repository: Path) -> None:
    async with bus() as broker:
        await put(broker, [picture(RED, "robot")])
        with working(repository, broker, default_model="colour", worker="false") as server, server.client() as client:
            assert "queue" not in client.get("/readyz").json()["checks"]
            assert broker.connections == 0
        with working(repository, broker, default_model="colour", http="false") as server, server.client() as client:
            await results(broker, 1)
            assert client.get("/readyz").status_code == 200
            assert client.post("/v1/predict", content=solid(RED)).status_code == 404


async def test_no_secret_is_ever_logged(repository: Path) -> None:
    async with bus() as broker:
        secret = broker.connection_string.replace("SharedAccessKey=devbus", "SharedAccessKey=TopSecretKey")
        settings = {"servicebus_connection_string": secret, "log_level": "debug", "default_model": "colour"}
        with working(repository, broker, **settings) as server:
            await put(broker, [picture(RED, "robot")])
            await results(broker, 1)
            server.terminate()
            await asyncio.to_thread(server.wait)
        assert "TopSecretKey" not in server.log
