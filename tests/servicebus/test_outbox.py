"""Results travel together, fail alone, and are sent again where the broker was away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from azure.core.exceptions import AzureError
from azure.servicebus import ServiceBusMessage
from azure.servicebus.aio import ServiceBusSender

from app.devbus.broker import Broker
from app.errors import ReplyRefused, ResultsUnavailable, ResultTooLarge
from app.servicebus import outbox
from app.servicebus.connection import Access, Connection
from app.servicebus.outbox import Outbox, Outboxes
from tests.fixtures.waiting import until_async

# The SDK takes half a second to open a sender, and as long to close it: the tests share theirs, and one event loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker() -> AsyncIterator[Broker]:
    async with Broker(["results,dedup=60", "other"], {"events": ["all"]}) as broker:
        yield broker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def connection(broker: Broker) -> AsyncIterator[Connection]:
    connection = Connection(Access(None, broker.connection_string))
    yield connection
    await connection.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outboxes(connection: Connection) -> AsyncIterator[Outboxes]:
    outboxes = Outboxes(connection.sender)
    yield outboxes
    await outboxes.close()


class Post:
    """Sends messages whose ids are told apart from other tests' and shows those that are stored."""

    def __init__(self, broker: Broker, outboxes: Outboxes, prefix: str) -> None:
        self.broker = broker
        self.outboxes = outboxes
        self._prefix = prefix

    def message(self, name: str, body: bytes = b"{}", **settings: Any) -> ServiceBusMessage:
        return ServiceBusMessage(body, message_id=f"{self._prefix}{name}", **settings)

    async def send(self, name: str, entity: str = "results", body: bytes = b"{}") -> None:
        await self.outboxes.send(entity, self.message(name, body), len(body))

    def stored(self, queue: str = "results") -> list[str]:
        ids = [str(entry.message_id) for entry in self.broker.queue(queue).peek(limit=10_000)]
        return [name.removeprefix(self._prefix) for name in ids if name.startswith(self._prefix)]


@pytest.fixture
def post(broker: Broker, outboxes: Outboxes, request: pytest.FixtureRequest) -> Post:
    return Post(broker, outboxes, f"{request.node.name}/")


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Outboxes try again soon."""
    monkeypatch.setattr(outbox, "_FIRST_PAUSE", 0.01)


async def test_what_was_sent_is_stored_when_send_returns(broker: Broker, post: Post) -> None:
    await post.send("m1")
    await post.send("m2", "other")
    await post.send("m3", "events")
    assert (post.stored(), post.stored("other"), post.stored("events/Subscriptions/all")) == (["m1"], ["m2"], ["m3"])


async def test_many_results_travel_together_and_each_arrives_once(post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    sendings: list[int] = []
    real = Outbox._send_once

    async def counting(box: Outbox, parcels: list[outbox._Parcel]) -> None:
        sendings.append(len(parcels))
        await real(box, parcels)

    monkeypatch.setattr(Outbox, "_send_once", counting)
    names = [f"m{number}" for number in range(100)]
    await asyncio.gather(*(post.send(name) for name in names))
    assert post.stored() == names
    assert sum(sendings) == 100
    assert len(sendings) <= 5


async def test_a_result_that_is_too_large_fails_alone(broker: Broker, post: Post) -> None:
    outcomes = await asyncio.gather(
        post.send("small1"),
        post.send("large", body=bytes(300_000)),
        post.send("small2"),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [type(None), ResultTooLarge, type(None)]
    assert "300000 bytes" in str(outcomes[1])
    assert post.stored() == ["small1", "small2"]


async def test_results_that_are_too_large_only_together_all_arrive(post: Post) -> None:
    """What surrounds a body counts too: thirty bodies below the limit may be above it."""
    notes = {"note": "n" * 3_000}
    messages = [post.message(f"m{number}", bytes(6_000), application_properties=notes) for number in range(32)]
    await asyncio.gather(*(post.outboxes.send("results", message, 6_000) for message in messages))
    assert sorted(post.stored()) == sorted(f"m{number}" for number in range(32))


async def test_an_entity_that_does_not_exist_is_refused_and_disturbs_no_other(broker: Broker, post: Post) -> None:
    bad, good = await asyncio.gather(post.send("m1", "nowhere"), post.send("m2"), return_exceptions=True)
    assert isinstance(bad, ReplyRefused)
    assert "'nowhere'" in str(bad)
    assert good is None


async def test_after_a_cut_results_are_sent_again_and_duplicates_dropped(broker: Broker, post: Post) -> None:
    names = [f"m{number}" for number in range(90)]
    sending = []
    for part in range(0, 90, 30):
        arrived = broker.queue("results").totals["sent"]
        sending += [asyncio.create_task(post.send(name)) for name in names[part : part + 30]]
        await until_async(lambda before=arrived: broker.queue("results").totals["sent"] > before)  # type: ignore[misc]
        broker.cut()
    await asyncio.gather(*sending)
    assert sorted(post.stored()) == sorted(names)


async def test_a_result_that_is_sent_twice_is_stored_once(broker: Broker, post: Post) -> None:
    before = broker.queue("results").totals["duplicates"]
    await asyncio.gather(post.send("m1"), post.send("m1"))
    await post.send("m1")
    assert post.stored() == ["m1"]
    assert broker.queue("results").totals["duplicates"] == before + 2


async def test_a_detached_link_is_attached_again(broker: Broker, post: Post) -> None:
    await post.send("m1")
    assert broker.detach("results") == 1
    await post.send("m2")
    assert post.stored() == ["m1", "m2"]


async def test_a_disabled_results_queue_is_tried_later(broker: Broker, post: Post) -> None:
    await post.send("m1")
    broker.detach("results", "com.microsoft:entity-disabled", "An operator has disabled it.")
    await post.send("m2")
    assert post.stored() == ["m1", "m2"]


async def test_a_broker_that_throttles_is_asked_again(broker: Broker, post: Post) -> None:
    broker.faults.set(throttled=1.0)
    with pytest.raises(ResultsUnavailable, match="results"):
        await post.send("m1")
    broker.faults.set(throttled=0.0)
    await post.send("m1")
    assert post.stored() == ["m1"]


async def test_a_broker_that_is_down_is_reported_and_used_again_once_it_is_back(broker: Broker, post: Post) -> None:
    await post.send("m1")
    await broker.refuse()
    outcomes = await asyncio.gather(post.send("m2"), post.send("m3"), post.send("m4", "other"), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ResultsUnavailable}
    await broker.reopen()
    await post.send("m2")
    assert post.stored() == ["m1", "m2"]


async def test_closing_fails_what_waits_and_whatever_comes_after(broker: Broker, connection: Connection) -> None:
    post = Post(broker, Outboxes(connection.sender), "closing/")
    waiting = [asyncio.create_task(post.send(f"m{number}")) for number in range(50)]
    await asyncio.sleep(0)
    await asyncio.gather(post.outboxes.close(), *waiting, return_exceptions=True)
    stored = [f"m{number}" for number, task in enumerate(waiting) if task.exception() is None]
    assert len(stored) < 50
    assert post.stored() == stored
    assert {type(task.exception()) for task in waiting if task.exception()} == {ResultsUnavailable}
    with pytest.raises(ResultsUnavailable, match="shutting down"):
        await post.send("late")


async def test_closing_ends_even_where_a_cancellation_is_swallowed(broker: Broker) -> None:
    tries = 0

    class Deaf:
        async def send_messages(self, _: object) -> None:
            nonlocal tries
            tries += 1
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            raise AzureError("the connection was closed meanwhile")

        async def close(self) -> None:
            return

    post = Post(broker, Outboxes(lambda _: Deaf()), "deaf/")  # type: ignore[arg-type, return-value]
    waiting = asyncio.create_task(post.send("m1"))
    await until_async(lambda: tries)
    await post.outboxes.close()
    with pytest.raises(ResultsUnavailable, match="shutting down"):
        await waiting
    assert tries == 1


async def test_who_has_left_delays_nobody(post: Post) -> None:
    leaving = asyncio.create_task(post.send("m1"))
    await asyncio.sleep(0)
    leaving.cancel()
    await post.send("m2")
    assert "m2" in post.stored()
    assert leaving.cancelled()


@pytest.mark.parametrize("defect", [OSError("no route"), ZeroDivisionError("a defect"), AzureError("odd")])
async def test_whatever_the_sender_raises_everybody_hears_of_it(broker: Broker, defect: Exception) -> None:
    def broken(entity: str) -> ServiceBusSender:
        raise defect

    post = Post(broker, Outboxes(broken), "broken/")
    outcomes = await asyncio.gather(*(post.send(f"m{number}") for number in range(40)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {ResultsUnavailable}
    await post.outboxes.close()


async def test_an_idle_outbox_ends_and_a_new_one_takes_its_place(
    broker: Broker, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = Post(broker, Outboxes(connection.sender), "idle/")
    with monkeypatch.context() as patch:
        patch.setattr(outbox, "_IDLE_SECONDS", 0.01)
        await post.send("m1")
        box = post.outboxes._boxes["results"]
        await until_async(lambda: box.ended)
    with pytest.raises(ResultsUnavailable):
        await box.send(post.message("late"), 2)
    await post.send("m2", "other")
    assert list(post.outboxes._boxes) == ["other"], "outboxes that have ended are forgotten"
    await post.send("m3")
    assert post.stored() == ["m1", "m3"]
    await post.outboxes.close()
