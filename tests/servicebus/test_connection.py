"""Who we are to the broker, what is never said aloud, and settling over another link than a message came by."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from aiohttp import web
from azure.servicebus.exceptions import MessageLockLostError

from app.devbus.amqp.message import parse
from app.devbus.broker import Broker
from app.errors import StartupError
from app.host.loopback import is_loopback
from app.servicebus.connection import Access, Connection
from app.servicebus.link_errors import LinkLost
from app.servicebus.receiver import Received, Receiver
from app.servicebus.settlement import ABANDON, COMPLETE, LEAVE, Settlement, Verb
from tests.fixtures.waiting import until_async
from tests.servicebus.wire import octets

# The SDK takes half a second to open a link, and as long to close it: the tests share one broker and one event loop.
pytestmark = pytest.mark.asyncio(loop_scope="module")

BURY = Settlement(Verb.DEAD_LETTER, "InvalidImage", "The JPEG is cut short.")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def broker() -> AsyncIterator[Broker]:
    async with Broker(["jobs,lock=60", "cut,lock=60", "again,lock=60", "brief,lock=0.3"]) as broker:
        yield broker


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def connection(broker: Broker) -> AsyncIterator[Connection]:
    connection = Connection(Access(None, broker.connection_string))
    yield connection
    await connection.close()


class Identity:
    """The endpoint at which a container in Azure asks for its managed identity's tokens."""

    SECRET = "THEHEADERSECRET"

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []

    async def answer(self, request: web.Request) -> web.Response:
        """A token, for who knows the header's secret."""
        if request.headers.get("X-IDENTITY-HEADER") != self.SECRET:
            return web.json_response({"error": "invalid"}, status=401)
        self.asked.append(dict(request.query))
        token = {"access_token": "THETOKEN", "expires_on": str(int(time.time()) + 3600), "token_type": "Bearer"}
        return web.json_response({**token, "resource": request.query.get("resource")})


@asynccontextmanager
async def identity(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Identity]:
    """A managed identity on loopback, named by the variables that the platform sets."""
    endpoint = Identity()
    app = web.Application()
    app.router.add_get("/token", endpoint.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{runner.addresses[0][1]}/token")
    monkeypatch.setenv("IDENTITY_HEADER", Identity.SECRET)
    try:
        yield endpoint
    finally:
        await runner.cleanup()


def put(broker: Broker, queue: str, *names: str) -> None:
    """Messages of these ids, in the queue without the way there."""
    for name in names:
        broker.queue(queue).send(parse(octets(b"picture", message_id=name)), time.time())


async def opened(connection: Connection, queue: str) -> Receiver:
    receiver = connection.receiver(queue)
    await receiver.open()
    return receiver


async def taken(receiver: Receiver, count: int) -> list[Received]:
    """So many messages, in order."""
    await receiver.grant(count)
    found: list[Received] = []
    while len(found) < count:
        found += await receiver.read()
    return found


def left(broker: Broker, queue: str) -> list[str]:
    return [str(entry.message_id) for entry in broker.queue(queue).peek()]


async def test_the_managed_identitys_token_arrives_at_the_broker_and_nowhere_else(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("AZURE_CLIENT_ID", "the-identity")
    async with identity(monkeypatch) as endpoint:
        connection = Connection(Access(f"127.0.0.1:{broker.port}", None))
        receiver = await opened(connection, "jobs")
        await receiver.close()
        await connection.close()
    (asked,) = endpoint.asked
    assert asked["resource"].rstrip("/") == "https://servicebus.azure.net"
    assert asked["client_id"] == "the-identity"
    presented = broker.tokens[-1]
    assert (presented.token, presented.kind) == ("THETOKEN", "jwt")
    assert presented.audience.endswith(f"127.0.0.1:{broker.port}/jobs")
    assert "THETOKEN" not in caplog.text
    assert Identity.SECRET not in caplog.text


async def test_a_connection_strings_key_signs_and_is_never_said(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = broker.connection_string.replace("SharedAccessKey=devbus", "SharedAccessKey=VERYSECRET")
    connection = Connection(Access(None, secret))
    receiver = await opened(connection, "jobs")
    await receiver.close()
    await connection.close()
    presented = broker.tokens[-1]
    assert presented.kind == "sas"
    assert "VERYSECRET" not in presented.token
    assert "VERYSECRET" not in caplog.text
    assert presented.token not in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "VERYSECRET",
        "SharedAccessKey=VERYSECRET",
        "Endpoint=sb://robots.servicebus.windows.net/;SharedAccessKey=VERYSECRET",
        "Endpoint=sb://robots.servicebus.windows.net/;SharedAccessKeyName=VERYSECRET",
        "SharedAccessKeyName=all;SharedAccessKey=VERYSECRET",
        "Endpoint=;SharedAccessKeyName=all;SharedAccessKey=VERYSECRET",
        "Endpoint=VERYSECRET;SharedAccessKeyName=all;SharedAccessKey=VERYSECRET",
        "Endpoint=sb://a/;SharedAccessKeyName=all;SharedAccessKey=VERYSECRET;VERYSECRET",
        "Endpoint=sb://a/;SharedAccessKeyName=all;SharedAccessKey=VERYSECRET;EntityPath=jobs",
    ],
)
async def test_a_wrong_connection_string_stops_the_start_without_being_quoted(text: str) -> None:
    with pytest.raises(StartupError, match="ROO_SERVICEBUS_CONNECTION_STRING") as caught:
        Connection(Access(None, text))
    assert "VERYSECRET" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.1", "::1"])
async def test_this_machine_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        None,
        "",
        "robots.servicebus.windows.net",
        "10.0.0.1",
        "localhost.evil.net",
        "127.0.0.1.nip.io",
        "0.0.0.0",
        "127.1",
    ],
)
async def test_nothing_else_is_taken_for_this_machine(host: str | None) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("namespace", "plain"),
    [
        ("robots.servicebus.windows.net", False),
        ("sb://robots.servicebus.windows.net/", False),
        ("127.0.0.1:5672", True),
        ("localhost", True),
        ("[::1]:5672", True),
        ("127.0.0.1.evil.net:5672", False),
    ],
)
async def test_a_token_is_sent_in_clear_text_only_within_this_machine(namespace: str, plain: bool) -> None:
    connection = Connection(Access(namespace, None))
    assert connection._client._config.use_tls is not plain
    assert "sb:" not in connection.namespace
    await connection.close()


async def test_a_message_settles_over_a_new_link_by_its_lock_and_no_other_does(
    broker: Broker, connection: Connection
) -> None:
    """A delivery number means another message on another link: message `b0` has there the number that `a0` has here."""
    put(broker, "cut", "a0", "a1", "a2", "a3")
    old = await opened(connection, "cut")
    first = await taken(old, 4)
    assert [item.message.message_id for item in first] == ["a0", "a1", "a2", "a3"]
    broker.cut()
    put(broker, "cut", "b0", "b1")
    new = await opened(connection, "cut")
    second = await taken(new, 2)
    assert [item.message.message_id for item in second] == ["b0", "b1"]

    await new.settle(first[0], COMPLETE)
    assert left(broker, "cut") == ["a1", "a2", "a3", "b0", "b1"]
    await new.settle(first[1], BURY)
    assert left(broker, "cut") == ["a2", "a3", "b0", "b1"]
    (dead,) = broker.queue("cut/$DeadLetterQueue").peek()
    assert (dead.message_id, dead.reason, dead.description) == ("a1", BURY.reason, BURY.description)
    await new.settle(first[2], LEAVE)
    await new.settle(second[1], COMPLETE)
    assert left(broker, "cut") == ["a2", "a3", "b0"]
    await new.settle(first[3], ABANDON)
    (again,) = await taken(new, 1)
    assert (again.message.message_id, again.message.delivery_count) == ("a3", 1)
    await new.settle(again, COMPLETE)
    await new.settle(second[0], COMPLETE)
    assert left(broker, "cut") == ["a2"]
    await asyncio.gather(new.close(), old.close())


async def test_a_receiver_whose_connection_is_cut_says_so(broker: Broker, connection: Connection) -> None:
    put(broker, "again", "m1")
    receiver = await opened(connection, "again")
    (received,) = await taken(receiver, 1)
    broker.cut()
    with pytest.raises(LinkLost):
        await taken(receiver, 1)
    assert receiver.lost
    with pytest.raises(LinkLost):
        await receiver.renew(received)
    fresh = await opened(connection, "again")
    await fresh.renew(received)
    await fresh.settle(received, COMPLETE)
    assert left(broker, "again") == []
    await asyncio.gather(fresh.close(), receiver.close())


async def test_a_lock_that_has_run_out_is_lost(broker: Broker, connection: Connection) -> None:
    put(broker, "brief", "m1")
    receiver = await opened(connection, "brief")
    (received,) = await taken(receiver, 1)
    await until_async(lambda: broker.queue("brief").depths.locked == 0)
    with pytest.raises(MessageLockLostError):
        await receiver.settle(received, COMPLETE)
    assert left(broker, "brief") == ["m1"]
    await receiver.close()
