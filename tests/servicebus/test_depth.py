"""The queue's depth, read with the real management client from a stand-in of its door, over TLS as it insists."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from aiohttp import web
from azure.servicebus.aio.management import ServiceBusAdministrationClient
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID

from app.servicebus import depth
from app.servicebus.connection import Access, Connection
from app.servicebus.depth import QueueDepth
from tests.fixtures.issuer import rsa_key
from tests.fixtures.waiting import until_async

QUEUE = """<entry xmlns="http://www.w3.org/2005/Atom"><title type="text">jobs</title><content type="application/xml">
<QueueDescription xmlns="http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"
 xmlns:d="http://schemas.microsoft.com/netservices/2011/06/servicebus">
<CountDetails><d:ActiveMessageCount>{active}</d:ActiveMessageCount><d:DeadLetterMessageCount>3</d:DeadLetterMessageCount>
<d:ScheduledMessageCount>2</d:ScheduledMessageCount></CountDetails>
</QueueDescription></content></entry>"""


SUBSCRIPTION = QUEUE.replace("QueueDescription", "SubscriptionDescription").replace(">jobs<", ">vision<")
PAGES = {"/jobs": QUEUE, "/shots/subscriptions/vision": SUBSCRIPTION}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for 127.0.0.1 that signs itself."""
    key, name = rsa_key(), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


class Door:
    """What the namespace answers; `asked` counts how often."""

    def __init__(self) -> None:
        self.status = 200
        self.active = 7
        self.asked = 0

    async def answer(self, request: web.Request) -> web.Response:
        """One request for the queue's properties."""
        page = PAGES[request.path.lower()]
        self.asked += 1
        return web.Response(status=self.status, text=page.format(active=self.active), content_type="application/xml")


@asynccontextmanager
async def watching(
    certificate: Path, door: Door, queue: str = "jobs"
) -> AsyncIterator[tuple[QueueDepth, "asyncio.Task[None]"]]:
    app = web.Application()
    app.router.add_get("/{tail:.*}", door.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    port = runner.addresses[0][1]
    client = ServiceBusAdministrationClient.from_connection_string(
        f"Endpoint=sb://127.0.0.1:{port}/;SharedAccessKeyName=x;SharedAccessKey=eQ==",
        retry_total=0,
        connection_verify=str(certificate),
    )
    watched = QueueDepth(queue, client)
    task = asyncio.create_task(watched.run())
    try:
        yield watched, task
    finally:
        task.cancel()
        await asyncio.wait({task})
        await runner.cleanup()


async def test_the_brokers_counts_are_read_again_and_again(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth, "EVERY_SECONDS", 0.01)
    door = Door()
    async with watching(certificate, door) as (watched, _):
        await until_async(lambda: watched.counts == {"active": 7, "dead_letter": 3, "scheduled": 2})
        door.active = 9
        await until_async(lambda: watched.counts["active"] == 9)
        door.status = 503  # what is not known is not shown
        await until_async(lambda: not watched.counts)
        door.status = 200
        await until_async(lambda: watched.counts)


async def test_a_subscriptions_counts_are_its_own(certificate: Path) -> None:
    async with watching(certificate, Door(), "shots/Subscriptions/vision") as (watched, _):
        await until_async(lambda: watched.counts == {"active": 7, "dead_letter": 3})


@pytest.mark.parametrize("status", [401, 403])
async def test_who_may_not_know_is_told_once_and_asks_no_more(
    certificate: Path, status: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depth, "EVERY_SECONDS", 0.01)
    caplog.set_level("INFO", "app")
    door = Door()
    door.status = status
    async with watching(certificate, door) as (watched, task):
        await asyncio.wait_for(task, 20)
        assert not watched.counts
    assert door.asked == 1
    (line,) = (record.getMessage() for record in caplog.records if record.name == depth.__name__)
    assert line == "the depth of jobs is not shown: only who may manage the queue is told"


async def test_an_emulator_is_not_asked() -> None:
    here = Connection(
        Access(
            None, "Endpoint=sb://127.0.0.1:5672;SharedAccessKeyName=x;SharedAccessKey=eQ==;UseDevelopmentEmulator=true;"
        )
    )
    azure = Connection(Access("name.servicebus.windows.net", None))
    assert here.administration() is None
    asked = azure.administration()
    assert asked is not None
    await asked.close()
    await here.close()
    await azure.close()
