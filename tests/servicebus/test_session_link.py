"""A session's link. What the SDK has inside, and is relied upon, is what these tests hold it to."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from azure.servicebus.exceptions import MessageLockLostError

from app.devbus.amqp.message import parse
from app.devbus.broker import Broker
from app.servicebus import connection as connection_module
from app.servicebus.connection import Access, Connection
from app.servicebus.link_errors import LinkLost
from app.servicebus.receiver import Received
from app.servicebus.session_link import NoSession, SessionLink
from app.servicebus.settlement import ABANDON, COMPLETE, RELEASE
from app.servicebus.shared_connection import SharedConnection
from tests.fixtures.waiting import until_async
from tests.servicebus.wire import octets


@pytest.fixture
async def broker() -> AsyncIterator[Broker]:
    async with Broker(["rows,sessions,lock=60"]) as broker:
        yield broker


class Links:
    """Opens links over one connection."""

    def __init__(self, broker: Broker) -> None:
        self.shared = SharedConnection()
        self.connection = Connection(Access(None, broker.connection_string))

    def link(self) -> SessionLink:
        """One that is not open yet."""
        return self.connection.session("rows", self.shared)

    async def opened(self) -> SessionLink:
        """One with a session."""
        link = self.link()
        await link.open()
        return link

    async def close(self) -> None:
        """Disconnect."""
        await self.shared.close()
        await self.connection.close()


@pytest.fixture
async def links(broker: Broker) -> AsyncIterator[Links]:
    links = Links(broker)
    yield links
    await links.close()


def put(broker: Broker, *names: str) -> None:
    """A message for each name, in the session that is its first letter."""
    for name in names:
        broker.queue("rows").send(parse(octets(b"picture", message_id=name, group_id=name[0])), time.time())


async def taken(link: SessionLink) -> Received:
    """The session's next message."""
    await link.grant(1)
    while True:
        for received in await link.read():
            return received


async def test_links_share_a_connection_and_each_has_a_session_of_its_own(broker: Broker, links: Links) -> None:
    put(broker, "a1", "b1", "a2")
    first, second = await asyncio.gather(links.opened(), links.opened())
    assert {first.session_id, second.session_id} == {"a", "b"}
    assert (broker.connections, first.credit, await first.read()) == (1, 0, [])
    received = await taken(first)
    assert received.message.session_id == first.session_id
    assert received.link is first.handle
    assert first.credit == 0
    await asyncio.gather(first.close(), second.close())
    assert broker.connections == 1


async def test_what_a_session_gives_back_comes_again_first(broker: Broker, links: Links) -> None:
    put(broker, "a1", "a2")
    link = await links.opened()
    for settlement, failures in ((RELEASE, 0), (ABANDON, 1), (COMPLETE, None)):
        received = await taken(link)
        assert received.message.message_id == "a1"
        await link.settle(received, settlement)
        if failures is not None:
            assert broker.queue("rows").peek()[0].delivery_count == failures
    assert (await taken(link)).message.message_id == "a2"
    await link.close()


async def test_a_session_that_is_closed_gives_all_back_and_no_delivery_is_counted(broker: Broker, links: Links) -> None:
    put(broker, "a1", "a2")
    link = await links.opened()
    await taken(link)
    await link.grant(1)
    await link.close()
    await until_async(lambda: broker.queue("rows").depths.active == 2)
    assert [entry.delivery_count for entry in broker.queue("rows").peek()] == [0, 0]


async def test_where_no_session_comes_that_is_said_and_costs_no_connection(
    broker: Broker, links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "ACCEPT_SECONDS", 0.5)
    put(broker, "a1")
    held, waiting = await links.opened(), links.link()
    with pytest.raises(NoSession):
        await waiting.open()
    assert (broker.connections, links.shared.is_open) == (1, True)
    assert (await taken(held)).message.message_id == "a1"


async def test_a_wait_that_is_cancelled_leaves_the_connection_to_the_others(broker: Broker, links: Links) -> None:
    put(broker, "a1")
    held, waiting = await links.opened(), links.link()
    opening = asyncio.create_task(waiting.open())
    await until_async(lambda: waiting.waiting)
    opening.cancel()
    await asyncio.wait({opening})
    await waiting.close()
    await held.settle(await taken(held), COMPLETE)
    await held.renew()
    assert links.shared.is_open


async def test_a_session_whose_lock_is_lost_is_no_message_to_settle(broker: Broker, links: Links) -> None:
    put(broker, "a1")
    link = await links.opened()
    received = await taken(link)
    broker.detach("rows", "com.microsoft:session-lock-lost", "The session's lock has expired.")
    await until_async(lambda: link.look() or link.lost)
    for call in (link.settle(received, COMPLETE), link.renew(), link.read(), link.grant(1)):
        with pytest.raises((LinkLost, MessageLockLostError)):
            await call
    assert links.shared.is_open


async def test_a_renewal_keeps_the_session(broker: Broker, links: Links) -> None:
    put(broker, "a1")
    link = await links.opened()
    await taken(link)
    (entry,) = broker.queue("rows").peek()
    first = entry.locked_until
    await link.renew()
    assert entry.locked_until > first


async def test_a_connection_that_is_lost_takes_all_sessions_with_it(broker: Broker, links: Links) -> None:
    put(broker, "a1", "b1")
    both = [await links.opened(), await links.opened()]
    broker.cut()
    await until_async(lambda: not links.shared.is_open)
    for link in both:
        with pytest.raises(LinkLost):
            await link.read()
        await link.close()
    again = await links.opened()
    assert again.session_id in "ab"
    await again.close()
