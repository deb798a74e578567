"""Blobs are read from allowed accounts alone, by the real client, within limits of bytes, room and time."""

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ServiceRequestError
from azure.core.pipeline.transport import AsyncHttpTransport, HttpRequest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import (
    InvalidMessage,
    Overloaded,
    PayloadTooLarge,
    RequestError,
    SourceNotFound,
    SourceRefused,
    StartupError,
    StorageUnavailable,
)
from app.servicebus import claimcheck
from app.servicebus.addresses import Accounts
from app.servicebus.claimcheck import BlobStore
from tests.fixtures.waiting import until_async
from tests.servicebus.blobs import Blobs, Trouble

MOST = 10_000
AZURE = "https://robots.blob.core.windows.net"
SIGNATURE = "sv=2026-02-06&sr=b&sp=r&se=2030-01-01T00%3A00%3A00Z&sig=VERYSECRET%3D"


class Room:
    """Counts the bytes for which room was asked and taken; a permit's scope gives it back."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self.held = 0
        self.asked: list[int] = []

    def __call__(self, size: int) -> None:
        self.asked.append(size)
        if size > self.most:
            raise Overloaded("full")
        self.held += size


class OurIdentity:
    """A credential whose token shows where it was sent."""

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        assert scopes == ("https://storage.azure.com/.default",)
        return AccessToken("OURTOKEN", 2**33)

    async def close(self) -> None:
        return

    async def __aenter__(self) -> "OurIdentity":
        return self

    async def __aexit__(self, *_: object) -> None:
        return


class NoNetwork(AsyncHttpTransport[HttpRequest, Any]):
    """Keeps the requests that would leave the machine, and fails them."""

    sent: list[HttpRequest]

    def __init__(self, **_: Any) -> None:
        self.sent = []

    async def send(self, request: HttpRequest, **_: Any) -> Any:
        self.sent.append(request)
        raise ServiceRequestError("there is no network")

    async def open(self) -> None:
        return

    async def close(self) -> None:
        return

    async def __aexit__(self, *_: object) -> None:
        return


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client tries again at once."""
    for name in ("initial_backoff", "increment_base", "random_jitter_range"):
        monkeypatch.setitem(claimcheck.CAREFUL, name, 0)


@pytest.fixture
async def storage() -> AsyncIterator[Blobs]:
    async with Blobs() as storage:
        yield storage


@pytest.fixture
async def store(storage: Blobs) -> AsyncIterator[BlobStore]:
    """Reads the stand-in (and Azure, if it were there) and stores in its container `results`."""
    store = BlobStore((storage.account, AZURE), storage.url("results"), OurIdentity())
    yield store
    await store.close()


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> BlobStore:
    """Reads and writes an account of Azure, as far as a machine without network can."""
    monkeypatch.setattr(claimcheck, "AioHttpTransport", NoNetwork)
    return BlobStore((AZURE,), f"{AZURE}/results", OurIdentity())


def sent_by(store: BlobStore) -> list[HttpRequest]:
    assert isinstance(store._transport, NoNetwork)
    return store._transport.sent


async def fetch(store: BlobStore, url: str, room: Room | None = None, most: int = MOST) -> bytes:
    room = room or Room()
    content = await store.fetch(url, most, room)
    assert room.held == len(content)
    return content


async def refusal(store: BlobStore, url: str, error: type[RequestError], room: Room | None = None) -> str:
    room = room or Room()
    with pytest.raises(error) as caught:
        await fetch(store, url, room)
    assert type(caught.value) is error
    return str(caught.value)


@pytest.mark.parametrize("name", ["shots/1.jpg", "shots/r7/2026/1.jpg", "shots/r7/a b+c%.jpg", "shots/r7/größe#1?.jpg"])
async def test_a_blob_is_fetched_by_its_link(storage: Blobs, store: BlobStore, name: str) -> None:
    storage.put(name, b"picture")
    encoded = name.replace("%", "%25").replace("#", "%23").replace("?", "%3F")
    assert await fetch(store, storage.url(encoded)) == b"picture"
    assert storage.methods == ["HEAD", "GET"]


async def test_a_blob_of_many_blocks_comes_whole(storage: Blobs, store: BlobStore) -> None:
    content = bytes(range(256)) * 200_000  # more than the client asks for at once
    url = storage.put("shots/large.png", content)
    assert await fetch(store, url, Room(2**27), most=2**27) == content


async def test_connections_are_used_again(storage: Blobs, store: BlobStore) -> None:
    url = storage.put("shots/1.jpg", b"picture")
    for _ in range(3):
        await fetch(store, url)
    assert len(storage.seen) == 6
    assert store._transport.session is not None
    assert store._transport.session.connector is not None
    assert len(store._transport.session.connector._conns) == 1


@pytest.mark.parametrize(
    "url",
    [
        "",
        "1.jpg",
        "shots/1.jpg",
        "/shots/1.jpg",
        "//robots.blob.core.windows.net/shots/1.jpg",
        "robots.blob.core.windows.net/shots/1.jpg",
        "file:///etc/passwd",
        "ftp://robots.blob.core.windows.net/shots/1.jpg",
        "javascript:alert(1)/shots/1.jpg",
        # other hosts
        "https://evil.net/shots/1.jpg",
        "https://evil.blob.core.windows.net/shots/1.jpg",
        "https://robots.blob.core.windows.net.evil.net/shots/1.jpg",
        "https://evilrobots.blob.core.windows.net/shots/1.jpg",
        "https://robots.table.core.windows.net/shots/1.jpg",
        "https://robots.blob.core.windows.net./shots/1.jpg",
        "https://evil.dfs.core.windows.net/shots/1.jpg",
        "https://169.254.169.254/metadata/identity/oauth2/token",
        "http://169.254.169.254/metadata/identity/oauth2/token",
        "https://evil.net/https://robots.blob.core.windows.net/shots/1.jpg",
        "https://evil.net?https://robots.blob.core.windows.net/shots/1.jpg",
        "https://evil.net#robots.blob.core.windows.net/shots/1.jpg",
        # user information
        "https://robots.blob.core.windows.net@evil.net/shots/1.jpg",
        "https://user:pass@robots.blob.core.windows.net/shots/1.jpg",
        "https://robots.blob.core.windows.net:443@evil.net/shots/1.jpg",
        "https://robots.blob.core.windows.net%40evil.net/shots/1.jpg",
        # what two readers of a URL may understand differently
        "https://evil.net\\@robots.blob.core.windows.net/shots/1.jpg",
        "https://robots.blob.core.windows.net\\.evil.net/shots/1.jpg",
        "https:\\\\robots.blob.core.windows.net\\shots\\1.jpg",
        "https://robots.blob.core.windows.net/shots/..\\..\\1.jpg",
        "https://robots.blob.core.windows.net/shots\r\nHost: evil.net/1.jpg",
        "https://robots.blob.core.windows.net/shots/\x001.jpg",
        "https://robots.blob.core.windows.net/shots/%0d%0aX:%20y",
        "https://robots.blob.core.windows.net/shots/%00",
        "https://robots.blob.core.windows.net/shots/1.jpg#?sig=x",
        "https://[robots.blob.core.windows.net/shots/1.jpg",
        # ports and schemes
        "https://robots.blob.core.windows.net:8443/shots/1.jpg",
        "https://robots.blob.core.windows.net:x/shots/1.jpg",
        "http://robots.blob.core.windows.net/shots/1.jpg",
        "http://robots.blob.core.windows.net:443/shots/1.jpg",
        # letters that only look alike, or become alike
        "https://r\u043ebots.blob.core.windows.net/shots/1.jpg",
        "https://robot\u017f.blob.core.windows.net/shots/1.jpg",
        "https://robots.blob.core.windows\u3002net/shots/1.jpg",
        "https://robots\uff0eblob.core.windows.net/shots/1.jpg",
        # ways out of the container
        "https://robots.blob.core.windows.net/../shots/1.jpg",
        "https://robots.blob.core.windows.net/shots/../../1.jpg",
        "https://robots.blob.core.windows.net/shots/%2e%2e/1.jpg",
        "https://robots.blob.core.windows.net/%2E%2E/shots/1.jpg",
        "https://robots.blob.core.windows.net/shots/..%2f..%2f1.jpg",
        "https://robots.blob.core.windows.net/shots/./1.jpg",
        "https://robots.blob.core.windows.net/shots/%5c..%5c1.jpg",
        # no blob
        "https://robots.blob.core.windows.net",
        "https://robots.blob.core.windows.net/shots",
        "https://robots.blob.core.windows.net/shots/",
        "https://robots.blob.core.windows.net//1.jpg",
        # queries that are no signature
        "https://robots.blob.core.windows.net/shots/1.jpg?comp=metadata",
        "https://robots.blob.core.windows.net/shots/1.jpg?snapshot=2026-01-01",
        f"https://robots.blob.core.windows.net/shots/1.jpg?{SIGNATURE}&snapshot=x%26restype=container%26comp=list",
        f"https://robots.blob.core.windows.net/shots/1.jpg?{SIGNATURE}&versionid=1",
        "https://robots.blob.core.windows.net/shots/1.jpg?sig=",
    ],
)
async def test_nothing_else_is_fetched(azure: BlobStore, url: str) -> None:
    text = await refusal(azure, url, SourceRefused)
    assert "VERYSECRET" not in text
    assert "pass" not in text
    assert len(text) < 500
    assert sent_by(azure) == []


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/devstoreaccount10/shots/1.jpg",
        "http://127.0.0.1:{port}/devstoreaccount1_shots/1.jpg/x",
        "http://127.0.0.1:{port}/devstoreaccount/shots/1.jpg",
        "http://127.0.0.1:{port}/DEVSTOREACCOUNT1/shots/1.jpg",
        "http://127.0.0.1:{port}/devstoreaccount1",
        "http://127.0.0.1:{port}/devstoreaccount1/",
        "http://127.0.0.1:{port}/devstoreaccount1/shots",
        "http://127.0.0.1:{port}/devstoreaccount1//1.jpg",
        "http://127.0.0.1:{port}/devstoreaccount1/../other/shots/1.jpg",
        "http://127.0.0.1:{port}/devstoreaccount1/%2e%2e/other/1.jpg",
        "http://127.0.0.1:{port}//devstoreaccount1/shots/1.jpg",
        "http://127.0.0.1/devstoreaccount1/shots/1.jpg",
        "http://127.0.0.1:1{port}/devstoreaccount1/shots/1.jpg",
        "https://127.0.0.1:{port}/devstoreaccount1/shots/1.jpg",
        "http://localhost:{port}/devstoreaccount1/shots/1.jpg",
        "http://127.1:{port}/devstoreaccount1/shots/1.jpg",
        "http://2130706433:{port}/devstoreaccount1/shots/1.jpg",
        "http://0x7f000001:{port}/devstoreaccount1/shots/1.jpg",
        "http://0177.0.0.1:{port}/devstoreaccount1/shots/1.jpg",
        "http://0.0.0.0:{port}/devstoreaccount1/shots/1.jpg",
        "http://[::ffff:127.0.0.1]:{port}/devstoreaccount1/shots/1.jpg",
        "http://127.0.0.1.nip.io:{port}/devstoreaccount1/shots/1.jpg",
    ],
)
async def test_nothing_beside_an_allowed_account_is_fetched(storage: Blobs, store: BlobStore, url: str) -> None:
    storage.put("shots/1.jpg", b"picture")
    await refusal(store, url.format(port=storage.port), SourceRefused)
    assert storage.seen == []


async def test_a_host_with_a_letter_that_lower_case_makes_equal_is_refused() -> None:
    store = BlobStore(("https://kraken.blob.core.windows.net",), None, None)
    await refusal(store, "https://\u212araken.blob.core.windows.net/shots/1.jpg", SourceRefused)


PIECES = [
    "https:",
    "http:",
    "//",
    "/",
    "\\",
    "@",
    ":",
    "?",
    "#",
    "..",
    ".",
    "%2e",
    "%2f",
    "%00",
    "sig=",
    "&",
    "[",
    "]",
    ":443",
    "robots.blob.core.windows.net",
    "robots.dfs.core.windows.net",
    "evil.net",
    "127.0.0.1",
    "shots",
    "1.jpg",
]
pieces = st.sampled_from(PIECES)


@settings(max_examples=300, deadline=None)
@given(
    st.text(max_size=80) | st.lists(pieces, max_size=12).map("".join) | st.text(max_size=40).map(f"{AZURE}/".__add__)
)
def test_whatever_a_link_is_it_leads_to_an_allowed_account_or_is_refused(url: str) -> None:
    try:
        place = Accounts((AZURE,)).place_of(url)
    except SourceRefused as error:
        str(error).encode()
    else:
        assert place.account == AZURE
        assert place.container
        assert place.name
        assert ".." not in f"{place.container}/{place.name}".split("/")


async def test_without_accounts_nothing_is_fetched(storage: Blobs) -> None:
    store = BlobStore((), None, None)
    assert "ROO_BLOB_ACCOUNTS" in await refusal(store, storage.put("shots/1.jpg", b"picture"), SourceRefused)
    assert storage.seen == []


@pytest.mark.parametrize(
    "url",
    [
        f"{AZURE}/shots/r7/1.jpg",
        "HTTPS://ROBOTS.BLOB.CORE.WINDOWS.NET/shots/r7/1.jpg",
        "https://robots.dfs.core.windows.net/shots/r7/1.jpg",
    ],
)
async def test_a_blob_has_one_address_however_it_is_written(azure: BlobStore, url: str) -> None:
    await refusal(azure, url, StorageUnavailable)
    assert {request.url for request in sent_by(azure)} == {f"{AZURE}/shots/r7/1.jpg"}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_redirects_are_not_followed(storage: Blobs, store: BlobStore, status: int, method: str) -> None:
    url = storage.put("shots/1.jpg", b"picture")
    async with Blobs() as other:
        location = other.put("shots/1.jpg", b"secret of the network")
        storage.troubles["shots/1.jpg"].append(Trouble(status, method=method, location=location))
        assert "no redirect is followed" in await refusal(store, url, SourceRefused)
        assert other.seen == []
    assert storage.methods.count(method) == 1


async def test_our_token_goes_to_an_allowed_account_over_https(azure: BlobStore) -> None:
    await refusal(azure, f"{AZURE}/shots/1.jpg", StorageUnavailable)
    with pytest.raises(StorageUnavailable):
        await azure.store("1.json", b"{}", "application/json")
    assert {request.method for request in sent_by(azure)} == {"HEAD", "PUT"}
    assert all(request.headers["Authorization"] == "Bearer OURTOKEN" for request in sent_by(azure))


@pytest.mark.parametrize("signature", [SIGNATURE, "sig=x", "sv=1&%73ig=x", "x=1&sig=a&sig=b"])
async def test_our_token_is_not_sent_with_a_links_own_signature(azure: BlobStore, signature: str) -> None:
    await refusal(azure, f"{AZURE}/shots/1.jpg?{signature}", StorageUnavailable)
    assert sent_by(azure)
    for request in sent_by(azure):
        assert "Authorization" not in request.headers
        assert "sig=" in urlsplit(request.url).query


async def test_our_token_is_not_sent_over_plain_http(storage: Blobs, store: BlobStore) -> None:
    await fetch(store, storage.put("shots/1.jpg", b"picture"))
    await store.store("1.json", b"{}", "application/json")
    assert all("Authorization" not in request.headers for request in storage.seen)


async def test_a_links_signature_reaches_the_storage_and_what_is_not_of_it_does_not(
    storage: Blobs, store: BlobStore
) -> None:
    url = storage.put("shots/1.jpg", b"picture")
    assert await fetch(store, f"{url}?{SIGNATURE}&comp=list&other=1") == b"picture"
    assert all("VERYSECRET" in request.query for request in storage.seen)
    assert all("comp" not in request.query and "other" not in request.query for request in storage.seen)


async def test_signatures_are_neither_in_errors_nor_in_logs(
    storage: Blobs, store: BlobStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    await fetch(store, f"{storage.put('shots/1.jpg', b'picture')}?{SIGNATURE}")
    texts = []
    for number, (trouble, error) in enumerate(
        [
            (Trouble(404, "BlobNotFound"), SourceNotFound),
            (Trouble(403, "AuthenticationFailed"), SourceRefused),
            (Trouble(503, "ServerBusy"), StorageUnavailable),
            (Trouble(307, location="http://127.0.0.1:1/x"), SourceRefused),
        ]
    ):
        storage.troubles[f"shots/{number}"].append(trouble)
        texts.append(await refusal(store, f"{storage.url(f'shots/{number}')}?{SIGNATURE}", error))
    signed = BlobStore((), f"{storage.url('gone')}?{SIGNATURE}", None)
    with pytest.raises(StorageUnavailable) as caught:
        await signed.store("1.json", b"{}", "application/json")
    await signed.close()
    assert "VERYSECRET" not in "".join([*texts, str(caught.value), caplog.text])


async def test_a_blob_that_is_not_there_is_said_to_be_missing(storage: Blobs, store: BlobStore) -> None:
    text = await refusal(store, storage.url("shots/none.jpg"), SourceNotFound)
    assert f"127.0.0.1:{storage.port}/devstoreaccount1/shots/none.jpg" in text
    storage.put("shots/gone.jpg", b"picture")
    storage.troubles["shots/gone.jpg"].append(Trouble(404, "BlobNotFound", method="GET"))
    await refusal(store, storage.url("shots/gone.jpg"), SourceNotFound)


@pytest.mark.parametrize(
    ("status", "code"), [(403, "AuthorizationPermissionMismatch"), (401, ""), (409, "BlobArchived")]
)
async def test_what_our_identity_may_not_read_is_tried_later_and_named(
    storage: Blobs, store: BlobStore, status: int, code: str
) -> None:
    storage.troubles["shots/1.jpg"].append(Trouble(status, code))
    assert f"{status} {code}".strip() in await refusal(store, storage.url("shots/1.jpg"), StorageUnavailable)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_signature_that_is_refused_will_never_do(storage: Blobs, store: BlobStore, status: int) -> None:
    storage.troubles["shots/1.jpg"].append(Trouble(status, "AuthenticationFailed"))
    text = await refusal(store, f"{storage.url('shots/1.jpg')}?{SIGNATURE}", SourceRefused)
    assert "AuthenticationFailed" in text


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_busy_storage_is_asked_again_and_then_reported(storage: Blobs, store: BlobStore, method: str) -> None:
    url = storage.put("shots/1.jpg", b"picture")
    storage.troubles["shots/1.jpg"] = [Trouble(503, "ServerBusy", method, times=2)]
    assert await fetch(store, url) == b"picture"
    storage.troubles["shots/1.jpg"] = [Trouble(503, "ServerBusy", method)]
    assert "503 ServerBusy" in await refusal(store, url, StorageUnavailable)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_storage_that_is_silent_is_not_waited_for_for_ever(storage: Blobs, method: str) -> None:
    store = BlobStore((storage.account,), None, None, total_seconds=0.1)
    url = storage.put("shots/1.jpg", b"picture")
    storage.troubles["shots/1.jpg"].append(Trouble(method=method, silent=True))
    assert "does not answer" in await refusal(store, url, StorageUnavailable)
    await store.close()


async def test_storage_that_is_not_there_is_reported(storage: Blobs, store: BlobStore) -> None:
    url = storage.put("shots/1.jpg", b"picture")
    await storage._runner.cleanup()
    assert "does not answer" in await refusal(store, url, StorageUnavailable)


async def test_a_blob_that_is_too_large_or_empty_is_not_downloaded(storage: Blobs, store: BlobStore) -> None:
    await refusal(store, storage.put("shots/large.jpg", bytes(MOST + 1)), PayloadTooLarge)
    await refusal(store, storage.put("shots/empty.jpg", b""), InvalidMessage)
    assert storage.methods == ["HEAD", "HEAD"]
    assert len(await fetch(store, storage.put("shots/fits.jpg", bytes(MOST)))) == MOST


async def test_without_room_a_blob_is_not_downloaded(storage: Blobs, store: BlobStore) -> None:
    room = Room(most=3)
    await refusal(store, storage.put("shots/1.jpg", b"picture"), Overloaded, room)
    assert (storage.methods, room.asked) == (["HEAD"], [7])


async def test_a_blob_that_has_grown_is_not_read_beyond_its_room(storage: Blobs, store: BlobStore) -> None:
    url = storage.put("shots/1.jpg", b"picture, and more of it", claimed=7)
    assert await fetch(store, url) == b"picture"


@pytest.mark.parametrize("fault", [{"claimed": 9}, {"cut_at": 3}], ids=["shrunk", "cut off"])
async def test_a_blob_that_comes_short_is_not_taken(storage: Blobs, store: BlobStore, fault: dict[str, int]) -> None:
    await refusal(store, storage.put("shots/1.jpg", b"picture", **fault), StorageUnavailable)


async def test_a_body_that_is_cut_at_every_try_is_called_so(storage: Blobs, store: BlobStore) -> None:
    assert "cut the body" in await refusal(store, storage.put("shots/1.jpg", b"picture", cut_at=3), StorageUnavailable)


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
async def test_a_blob_that_is_stored_encoded_is_refused_for_good_before_it_is_fetched(
    storage: Blobs, store: BlobStore, encoding: str
) -> None:
    url = storage.put("shots/1.jpg", b"whatever", content_encoding=encoding)
    assert encoding in await refusal(store, url, InvalidMessage)
    assert storage.methods == ["HEAD"]


async def test_a_blob_that_says_it_is_stored_as_it_is_is_fetched(storage: Blobs, store: BlobStore) -> None:
    assert await fetch(store, storage.put("shots/1.jpg", b"picture", content_encoding="identity")) == b"picture"


async def test_a_fetch_can_be_cancelled_while_the_storage_is_silent(storage: Blobs, store: BlobStore) -> None:
    url, room = storage.put("shots/1.jpg", b"picture"), Room()
    storage.troubles["shots/1.jpg"].append(Trouble(method="GET", silent=True))
    task = asyncio.create_task(fetch(store, url, room))
    await until_async(lambda: room.held == 7)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_storing_again_replaces_and_gives_the_same_link(storage: Blobs, store: BlobStore) -> None:
    assert store.takes_results
    first = await store.store("0a/colour-1.json", b"old", "application/json")
    again = await store.store("0a/colour-1.json", b"new", "application/json")
    assert first == again == storage.url("results/0a/colour-1.json")
    assert list(storage.blobs) == ["results/0a/colour-1.json"]
    blob = storage.blobs["results/0a/colour-1.json"]
    assert (blob.content, blob.content_type) == (b"new", "application/json")


async def test_a_container_may_bear_a_signature_which_is_not_in_the_links(storage: Blobs) -> None:
    store = BlobStore((), f"{storage.url('results')}/?{SIGNATURE}", OurIdentity())
    assert await store.store("a b#.json", b"{}", "application/json") == storage.url("results/a%20b%23.json")
    assert "VERYSECRET" in storage.seen[0].query
    assert list(storage.blobs) == ["results/a b#.json"]
    await store.close()


@pytest.mark.parametrize(
    "trouble", [Trouble(404, "ContainerNotFound"), Trouble(403, "AuthorizationFailure"), Trouble(503, "ServerBusy")]
)
async def test_a_container_that_takes_nothing_is_tried_later(
    storage: Blobs, store: BlobStore, trouble: Trouble
) -> None:
    storage.troubles["results/1.json"].append(trouble)
    with pytest.raises(StorageUnavailable, match=f"{trouble.status} {trouble.code}"):
        await store.store("1.json", b"{}", "application/json")


async def test_without_a_container_no_results_are_taken() -> None:
    assert not BlobStore((), None, None).takes_results


@pytest.mark.parametrize(
    "account", ["robots.blob.core.windows.net", f"{AZURE}/", "https://Robots.Blob.core.windows.net"]
)
def test_an_account_is_named_with_or_without_its_scheme(account: str) -> None:
    BlobStore((account, "http://localhost:10000/devstoreaccount1", "http://[::1]:10000/x"), f"{AZURE}/results", None)


@pytest.mark.parametrize(
    ("accounts", "container"),
    [
        (("http://robots.blob.core.windows.net",), None),
        (("http://10.0.0.4/devstoreaccount1",), None),
        (("ftp://robots.blob.core.windows.net",), None),
        (("https://",), None),
        (("",), None),
        (("https://me:VERYSECRET@robots.blob.core.windows.net",), None),
        ((f"{AZURE}?{SIGNATURE}",), None),
        ((f"{AZURE}/shots",), None),
        ((), AZURE),
        ((), f"{AZURE}/"),
        ((), f"{AZURE}?{SIGNATURE}"),
        ((), f"http://robots.blob.core.windows.net/results?{SIGNATURE}"),
        ((), f"https://robots:x/results?{SIGNATURE}"),
    ],
)
def test_settings_that_are_no_account_or_container_stop_the_start(
    accounts: tuple[str, ...], container: str | None
) -> None:
    with pytest.raises(StartupError, match="ROO_RESULTS_CONTAINER" if container else "ROO_BLOB_ACCOUNTS") as caught:
        BlobStore(accounts, container, None)
    assert "VERYSECRET" not in str(caught.value)
