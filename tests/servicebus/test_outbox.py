"""Results travel together, fail alone, and are sent again where the broker was away."""

import asyncio
import contextlib
import gc
import weakref
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
from app.servicebus import outboxes as outboxes_module
from app.servicebus import sending as sending_module
from app.servicebus.connection import Access, Connection
from app.servicebus.link_errors import LinkLost
from app.servicebus.outbox import Outbox
from app.servicebus.outboxes import Outboxes
from tests.fixtures.waiting import PATIENCE, until_async

# The SDK takes half a second to open a sender, and as long to close it: the tests share theirs, and one event loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")


QUEUES = [
    "results,dedup=60",
    "other",
    "sessions,sessions",
    "partitioned,no_batches,dedup=60",
    "full,full=1",
    "forbidden",
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker() -> AsyncIterator[Broker]:
    async with Broker(QUEUES, {"events": ["all"]}) as broker:
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


async def test_closing_ends_even_where_a_cancellation_is_swallowed() -> None:
    tries = 0

    class Deaf:
        async def open(self) -> None:
            return

        async def send(self, _: object) -> None:
            nonlocal tries
            tries += 1
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            raise LinkLost("the connection was closed meanwhile")

        async def close(self) -> None:
            return

    class DeafConnection:
        def sender(self, _: str) -> Deaf:
            return Deaf()

    box = Outbox("results", DeafConnection())  # type: ignore[arg-type]
    waiting = asyncio.create_task(box.send(ServiceBusMessage(b"{}"), 2))
    await until_async(lambda: tries)
    await box.close()
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


async def test_what_is_refused_together_is_tried_alone_and_the_culprit_fails_with_the_brokers_words(
    post: Post,
) -> None:
    def message(number: int) -> ServiceBusMessage:
        return post.message(f"m{number}", session_id=None if number == 5 else "r7")

    sending = (post.outboxes.send("sessions", message(number), 2) for number in range(24))
    outcomes = await asyncio.gather(*sending, return_exceptions=True)
    assert [number for number, outcome in enumerate(outcomes) if outcome is not None] == [5]
    assert isinstance(outcomes[5], ReplyRefused)
    assert "requires a session id and the message names none" in str(outcomes[5])
    assert "The SessionId was not set" in str(outcomes[5])
    assert len(post.stored("sessions")) == 23


async def test_an_entity_that_takes_no_batches_is_sent_to_one_by_one(post: Post) -> None:
    for round_number in range(2):
        names = [f"m{round_number}-{number}" for number in range(8)]
        await asyncio.gather(*(post.send(name, "partitioned") for name in names))
        assert set(names) <= set(post.stored("partitioned"))


async def test_many_destinations_share_one_connection_and_are_bounded(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outboxes_module, "MOST_OPEN", 6)
    async with Broker([f"robot-{number}" for number in range(20)]) as broker:
        elsewhere = Connection(Access(None, broker.connection_string))
        post = Post(broker, Outboxes(elsewhere.sender), "many/")
        for round_number in range(2):
            await asyncio.gather(*(post.send(f"m{round_number}", f"robot-{number}") for number in range(20)))
            assert broker.connections == 1
        await post.send("last", "robot-0")
        await until_async(lambda: len(post.outboxes) <= 6)
        assert all(post.stored(f"robot-{number}")[:2] == ["m0", "m1"] for number in range(20))
        await post.outboxes.close()
        await until_async(lambda: broker.connections == 0)
        await elsewhere.close()


async def test_wrong_destinations_leave_nothing_behind(broker: Broker, connection: Connection) -> None:
    post = Post(broker, Outboxes(connection.sender), "wrong/")
    before = len(asyncio.all_tasks())
    for part in range(0, 120, 30):
        sending = (post.send("m", f"no-such-{number}") for number in range(part, part + 30))
        outcomes = await asyncio.gather(*sending, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {ReplyRefused}
    assert len(post.outboxes) == 0
    await until_async(lambda: len(asyncio.all_tasks()) <= before + 1)  # one reads the connection
    await post.outboxes.close()


async def test_what_is_remembered_of_a_refused_destination_holds_no_message(connection: Connection) -> None:
    outboxes = Outboxes(connection.sender)
    message = ServiceBusMessage(b"a result, and on its way here the picture", message_id="m")
    gone = weakref.ref(message)
    with pytest.raises(ReplyRefused):
        await outboxes.send("no-such", message, 10)
    with pytest.raises(ReplyRefused, match="no-such"):  # remembered
        await outboxes.send("no-such", ServiceBusMessage(b"", message_id="n"), 10)
    del message
    await until_async(lambda: gc.collect() >= 0 and gone() is None)
    await outboxes.close()


async def test_a_refused_destination_is_not_tried_for_each_message_but_again_after_a_while(
    broker: Broker, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outboxes_module, "REFUSED_SECONDS", 0.5)
    post = Post(broker, Outboxes(connection.sender), "refused/")
    broker.forbid("other")
    with pytest.raises(ResultsUnavailable, match="Unauthorized"):
        await post.send("m1", "other")
    broker.forbid("other", False)
    asked = len(broker.tokens)
    with pytest.raises(ResultsUnavailable, match="Unauthorized"):
        await post.send("m2", "other")
    assert len(broker.tokens) == asked  # nobody was asked

    async def sent() -> bool:
        try:
            await post.send("m3", "other")
        except ResultsUnavailable:
            return False
        return True

    async with asyncio.timeout(PATIENCE):
        while not await sent():  # noqa: ASYNC110  there is no event for it
            await asyncio.sleep(0.01)
    assert post.stored("other") == ["m3"]
    await post.outboxes.close()


@pytest.mark.parametrize("place", ["missing", "forbidden", "full"])
async def test_where_the_operators_own_destination_refuses_no_message_is_to_blame(
    place: str, connection: Connection, broker: Broker
) -> None:
    post = Post(broker, Outboxes(connection.sender, place), f"{place}/")
    if place == "forbidden":
        broker.forbid(place)
    with pytest.raises(ResultsUnavailable, match=place):
        await asyncio.gather(*(post.send(f"m{number}", place) for number in range(4)))
    if place != "full":
        with pytest.raises(ResultsUnavailable, match=place):
            await post.outboxes.check_default()
    await post.outboxes.close()


async def test_a_result_that_is_stored_and_not_confirmed_is_sent_again_and_dropped(
    broker: Broker, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending_module, "SEND_SECONDS", 0.3)
    broker.faults.set(unconfirmed=1.0)
    sending = asyncio.create_task(post.send("m1"))
    await until_async(lambda: broker.faults.happened["unconfirmed"])
    broker.faults.set(unconfirmed=0.0)
    await sending
    assert post.stored() == ["m1"]
