"""The status page, and faults from another process."""

from collections.abc import AsyncIterator

import httpx
import pytest

from app.devbus.amqp.errors import AmqpError
from app.devbus.amqp.message import parse
from app.devbus.broker import Broker
from app.devbus.entry import Outcome
from app.devbus.options import QueueOptions
from app.devbus.status import StatusServer
from tests.devbus.sdk import put
from tests.servicebus.wire import octets

MESSAGE = parse(octets(b"one"))


@pytest.fixture
async def bus() -> AsyncIterator[Broker]:
    async with Broker(["jobs", QueueOptions("<results>")]) as broker:
        yield broker


@pytest.fixture
async def http(bus: Broker) -> AsyncIterator[httpx.AsyncClient]:
    async with StatusServer(bus) as server, httpx.AsyncClient(base_url=server.url) as client:
        yield client


async def test_depths_and_totals(bus: Broker, http: httpx.AsyncClient) -> None:
    put(bus, "jobs", b"one", b"two")
    status = (await http.get("/status")).json()
    assert status["queues"]["jobs"] == {
        **{"active": 2, "locked": 0, "scheduled": 0, "deferred": 0, "dead_lettered": 0},
        "totals": {"sent": 2},
    }
    assert status["connection_string"] == bus.connection_string
    assert status["connections"] == 0


async def test_the_page_shows_the_queues_and_escapes_their_names(http: httpx.AsyncClient) -> None:
    page = await http.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert "<td>jobs" in page.text
    assert "&lt;results&gt;" in page.text


async def test_dead_letters_say_why(bus: Broker, http: httpx.AsyncClient) -> None:
    put(bus, "jobs", b"bad", message_id="m1")
    queue = bus.queue("jobs")
    entry = queue.acquire(bus.namespace.clock())
    assert entry is not None
    assert entry.lock_token is not None
    queue.settle(entry.lock_token, Outcome.DEAD_LETTER, bus.namespace.clock(), "invalid_image", "cut short")
    (letter,) = (await http.get("/dead-letters", params={"queue": "jobs"})).json()
    assert (letter["message_id"], letter["reason"], letter["description"]) == ("m1", "invalid_image", "cut short")


async def test_faults_are_set_and_told(bus: Broker, http: httpx.AsyncClient) -> None:
    answer = await http.post("/faults", json={"lost": 0.01, "cut_unconfirmed": True})
    assert answer.json()["lost"] == 0.01
    assert bus.faults.cut_unconfirmed
    assert (await http.post("/faults", json={"lots": 1})).status_code == 400


async def test_a_queue_is_full_on_demand(bus: Broker, http: httpx.AsyncClient) -> None:
    assert (await http.post("/fill", json={"queue": "jobs"})).json() == {"full": True}
    with pytest.raises(AmqpError, match="maximum entity size"):
        bus.queue("jobs").check([MESSAGE])
    await http.post("/fill", json={"queue": "jobs", "full": False})
    bus.queue("jobs").check([MESSAGE])


async def test_what_uses_up_a_delivery_is_counted_by_its_cause(bus: Broker, http: httpx.AsyncClient) -> None:
    put(bus, "jobs", b"one")
    queue, now = bus.queue("jobs"), bus.namespace.clock()
    for outcome in (Outcome.ABANDON, Outcome.RELEASE):
        entry = queue.acquire(now)
        assert entry is not None
        assert entry.lock_token is not None
        queue.settle(entry.lock_token, outcome, now)
    queue.acquire(now)
    queue.advance(now + 60)
    totals = (await http.get("/status")).json()["queues"]["jobs"]["totals"]
    assert totals == {"sent": 1, "abandoned": 1, "released": 1, "lock_ended": 1}


async def test_things_that_happen_once(bus: Broker, http: httpx.AsyncClient) -> None:
    assert (await http.post("/cut")).json() == {"cut": 0}
    assert (await http.post("/detach", json={"queue": "jobs"})).json() == {"detached": 0}
    assert (await http.post("/refuse", json={})).status_code == 200
    assert (await http.post("/reopen")).status_code == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (("GET", "/nowhere", {}), 404),
        (("GET", "/cut", {}), 404),
        (("POST", "/faults", {"content": b"{"}), 400),
        (("POST", "/faults", {"content": b"[]"}), 200),
        (("POST", "/detach", {}), 400),
        (("POST", "/cut", {"headers": {"origin": "http://evil.example"}}), 403),
        (("POST", "/faults", {"content": b"x" * 70_000}), 413),
        (("GET", "/dead-letters?queue=nobody", {}), 400),
    ],
)
async def test_what_cannot_be_is_refused(
    http: httpx.AsyncClient, request_: tuple[str, str, dict[str, object]], status: int
) -> None:
    method, path, options = request_
    answer = await http.request(method, path, **options)  # type: ignore[arg-type]
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["error"]


async def test_two_queues_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two queues"):
        await Broker(["jobs", "JOBS"]).start()
