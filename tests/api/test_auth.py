"""Who may ask: API keys and tokens, in the test's process, against every way of being wrong."""

import asyncio
import base64
import hashlib
import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.types import Message

from app.api.request_id import RequestIdMiddleware
from app.api.security import api_keys, signing_keys
from app.api.security.api_keys import ApiKeys
from app.api.security.perimeter import Perimeter
from app.api.security.scheme import Identity, Role
from app.api.security.signing_keys import COOLDOWN_SECONDS, TRUSTED_SECONDS, SigningKeys
from app.api.security.tokens import Tokens
from app.errors import Forbidden, IdentityUnavailable, StartupError, Unauthorized
from tests.fixtures.issuer import AUDIENCE, ROLE, Issuer, issuing, published, rsa_key
from tests.fixtures.waiting import until_async

OLD, NEW = "old-key-0123456789abcdef01", "new-key-0123456789abcdef01"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


# --- keys ------------------------------------------------------------------------------------------------------------


def key_file(folder: Path, *lines: str) -> Path:
    """Written beside and renamed, as whoever rotates secrets does it."""
    target, fresh = folder / "keys", folder / "fresh"
    fresh.write_text("\n".join(lines))
    fresh.rename(target)
    return target


async def holder(scheme: ApiKeys, key: str) -> str | None:
    try:
        return (await scheme.identify(key.encode())).name
    except Unauthorized:
        return None


async def test_keys_are_rotated_without_a_restart(tmp_path: Path) -> None:
    scheme = ApiKeys(key_file(tmp_path, f"camera:{OLD}"))
    assert [await holder(scheme, key) for key in (OLD, NEW)] == ["key:camera", None]
    key_file(tmp_path, f"camera:{OLD}", f"camera:{NEW}")
    scheme.look()
    assert [await holder(scheme, key) for key in (OLD, NEW)] == ["key:camera", "key:camera"]
    key_file(tmp_path, f"camera:{NEW}")
    scheme.look()
    assert [await holder(scheme, key) for key in (OLD, NEW)] == [None, "key:camera"]


async def test_a_key_may_be_an_administrators(tmp_path: Path) -> None:
    digest = hashlib.sha256(NEW.encode()).hexdigest()
    scheme = ApiKeys(key_file(tmp_path, f"camera : {OLD}", f"operator:sha256:{digest}   admin"))
    assert await scheme.identify(OLD.encode()) == Identity("key:camera")
    assert await scheme.identify(NEW.encode()) == Identity("key:operator", Role.ADMIN)
    for role in (Role.VIEWER, Role.OPERATOR):
        scheme = ApiKeys(key_file(tmp_path, f"anna:{OLD} {role.name.lower()}"))
        assert await scheme.identify(OLD.encode()) == Identity("key:anna", role)
    for line in (f"camera:{OLD} root", f"camera:{OLD} admin admin", "camera: admin", f"camera:{OLD} caller"):
        with pytest.raises(StartupError, match="ROO_API_KEYS_FILE"):
            ApiKeys(key_file(tmp_path, line))


async def test_a_mounted_secret_is_followed_through_its_symbolic_links(tmp_path: Path) -> None:
    """Kubernetes mounts `keys -> ..data/keys` and `..data -> ..v1`, and replaces `..data` by a rename."""
    for version, key in (("..v1", OLD), ("..v2", NEW)):
        (tmp_path / version).mkdir()
        (tmp_path / version / "keys").write_text(key)
    (tmp_path / "..data").symlink_to("..v1")
    (tmp_path / "keys").symlink_to("..data/keys")
    scheme = ApiKeys(tmp_path / "keys")
    (tmp_path / "..next").symlink_to("..v2")
    (tmp_path / "..next").rename(tmp_path / "..data")
    scheme.look()
    assert await holder(scheme, OLD) is None
    assert await holder(scheme, NEW) is not None


async def test_a_second_write_within_the_same_tick_is_seen(tmp_path: Path) -> None:
    path = key_file(tmp_path, OLD)
    scheme = ApiKeys(path)
    before = path.stat()
    path.write_text(NEW)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    scheme.look()
    assert await holder(scheme, NEW) is not None


async def test_a_file_that_breaks_leaves_the_keys_as_they_were_and_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = key_file(tmp_path, f"camera:{OLD}")
    scheme = ApiKeys(path)
    for content in ("", "camera:short", None):
        path.unlink() if content is None else path.write_text(content)
        caplog.clear()
        scheme.look()
        scheme.look()
        assert await holder(scheme, OLD) == "key:camera"
        assert len(caplog.records) == 1
        assert str(path) in caplog.text
        assert "short" not in caplog.text.replace("shorter", "")
    path.write_text(f"camera:{NEW}")
    scheme.look()
    assert await holder(scheme, OLD) is None


def test_lines_are_names_and_keys_or_digests() -> None:
    digest = hashlib.sha256(NEW.encode()).hexdigest()
    keys = api_keys.parse(f"# robots\n\n  camera : {OLD}  \nbackend:sha256:{digest.upper()}\r\n")
    assert [(key.name, key.digest) for key in keys] == [
        ("camera", hashlib.sha256(OLD.encode()).digest()),
        ("backend", bytes.fromhex(digest)),
    ]
    (alone,) = api_keys.parse(f"sha256:{digest}")
    assert alone.name == f"key-{digest[:8]}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no key"),
        ("# only this", "no key"),
        ("camera:secret", "shorter than 24"),
        (f"a b:{OLD}", "line 1: a name"),
        (f"camera:{OLD} trailing", "line 1: a key"),
        (f"camera:{OLD}\nother:{OLD}", "line 2 repeats"),
        (f"camera:sha256:{'0' * 63}", "line 1: a key"),
        ("\n".join(f"{OLD}{number}" for number in range(257)), "257 keys"),
    ],
)
def test_a_wrong_line_is_named_and_not_quoted(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        api_keys.parse(text)
    assert "secret" not in str(error.value)
    assert OLD not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"k" * (api_keys.MOST_BYTES + 1), None])
def test_without_usable_keys_there_is_no_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(StartupError, match="ROO_API_KEYS_FILE"):
        ApiKeys(path)


# --- tokens ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as issuer:
        yield issuer


def verifier(issuer: Issuer, *roles: str, clock: Clock | None = None, admins: tuple[str, ...] = ()) -> Tokens:
    keys = SigningKeys(lambda: signing_keys.fetch(issuer.url), clock or Clock())
    return Tokens(
        keys,
        issuer.url,
        (AUDIENCE, "another"),
        roles or (ROLE,),
        granted={Role.OPERATOR: ("Queue.Operate",), Role.ADMIN: admins},
    )


async def test_a_role_makes_an_administrator(issuer: Issuer) -> None:
    tokens = verifier(issuer, admins=("Models.Change",))
    both, alone = issuer.token(roles=[ROLE, "Models.Change"]), issuer.token(roles=None, scp="openid Models.Change")
    for token in (both, alone, alone):  # the third is remembered
        assert await tokens.identify(bearer(token)) == Identity("token:robot-7", Role.ADMIN)
    assert await tokens.identify(bearer(issuer.token())) == Identity("token:robot-7")
    operator = issuer.token(roles=[ROLE, "Queue.Operate"])
    assert await tokens.identify(bearer(operator)) == Identity("token:robot-7", Role.OPERATOR)
    with pytest.raises(Forbidden):
        await tokens.identify(bearer(issuer.token(roles=["Another"])))


def bearer(token: str) -> bytes:
    return f"Bearer {token}".encode()


def pieces(*parts: object) -> str:
    """A token put together by hand."""
    encoded = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in parts]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in encoded)


async def test_a_good_token_is_its_subject(issuer: Issuer) -> None:
    tokens = verifier(issuer)
    assert await tokens.identify(bearer(issuer.token())) == Identity("token:robot-7")
    assert await tokens.identify(b"bearer  " + issuer.token(aud="another").encode()) == Identity("token:robot-7")
    assert await tokens.identify(bearer(issuer.token(roles=None, scp=f"openid {ROLE}"))) == Identity("token:robot-7")
    assert await tokens.identify(bearer(issuer.token(exp=issuer.claims()["exp"] - 610))) == Identity(
        "token:robot-7"  # within the leeway
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"exp": 1_000_000_000}, "expired"),
        ({"exp": None}, "lacks"),
        ({"exp": "soon"}, "cannot be read"),
        ({"exp": 1e400}, "cannot be read"),
        ({"nbf": 30_000_000_000}, "not valid yet"),
        ({"iss": "http://127.0.0.1:1/"}, "issuer"),
        ({"iss": None}, "lacks"),
        ({"aud": "api://somebody-else"}, "audience"),
        ({"aud": AUDIENCE + "/"}, "audience"),
        ({"aud": None}, "lacks"),
        ({"sub": None}, "lacks"),
        ({"sub": 7}, "cannot be read"),
        ({"key_id": None}, "which key"),
        ({"key_id": "unknown"}, "does not publish"),
    ],
)
async def test_wrong_claims_are_refused_and_named(issuer: Issuer, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Unauthorized, match=words):
        await verifier(issuer).identify(bearer(issuer.token(**changes)))


@pytest.mark.parametrize("changes", [{"roles": ["Other"]}, {"roles": None}, {"roles": ROLE.lower()}, {"roles": 1}])
async def test_a_token_without_the_role_is_forbidden(issuer: Issuer, changes: dict[str, Any]) -> None:
    with pytest.raises(Forbidden):
        await verifier(issuer).identify(bearer(issuer.token(**changes)))


async def test_signatures_of_other_kinds_are_refused(issuer: Issuer) -> None:
    tokens, claims, header = verifier(issuer), issuer.claims(), {"kid": "first"}
    message = pieces({"alg": "HS256", "typ": "JWT", "kid": "first"}, claims)
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    forged = [
        pieces({"alg": "none", "kid": "first"}, claims) + ".",
        pieces({"alg": "NONE", "kid": "first"}, claims, b"x"),
        # The public key is no secret: who takes it for an HMAC's lets everybody sign.
        f"{message}.{base64.urlsafe_b64encode(mac.sign(message.encode(), issuer.public_pem())).rstrip(b'=').decode()}",
        jwt.encode(claims, issuer.key, "RS512", headers=header),
        jwt.encode(claims, issuer.key, "PS256", headers=header),
        jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), "ES256", headers=header),
        jwt.encode(claims, rsa_key(), "RS256", headers=header),
        issuer.token()[:-10] + "AAAAAAAAAA",
    ]
    for token in forged:
        with pytest.raises(Unauthorized):
            await tokens.identify(bearer(token))


async def test_a_token_cannot_bring_its_own_key(issuer: Issuer) -> None:
    foreign = rsa_key()
    with issuing() as other:
        for brought in ({"jwk": published(foreign, "first")}, {"jku": other.url + "/keys"}, {"x5u": other.url}):
            headers = {"kid": "first", **brought}
            with pytest.raises(Unauthorized, match="signature"):
                await verifier(issuer).identify(bearer(jwt.encode(issuer.claims(), foreign, "RS256", headers=headers)))
        assert other.asked == []


@pytest.mark.parametrize(
    "credential",
    [
        b"",
        b"Bearer",
        b"Bearer x",
        b"Basic dXNlcjpwYXNz",
        b"Bearer a.b.c.d",
        b"Bearer a.b.c, Bearer a.b.c",
        b"Bearer \xff.\xff.\xff",
        b"Bearer " + b"a" * 20_000 + b".b.c",
        bearer(pieces(b"not json", {}, b"x")),
        bearer(pieces([], {}, b"x")),
        bearer(pieces(b"[" * 8000, {}, b"x")),
        bearer(pieces({"alg": "RS256", "kid": 7}, {}, b"x")),
        bearer(pieces({"alg": ["RS256"], "kid": "first"}, {}, b"x")),
        bearer(pieces({"alg": "RS256", "kid": "first", "crit": ["exp"]}, {}, b"x")),
    ],
)
async def test_what_is_no_token_is_refused_whatever_it_is(issuer: Issuer, credential: bytes) -> None:
    with pytest.raises(Unauthorized):
        await verifier(issuer).identify(credential)


async def test_a_token_that_was_checked_is_believed_until_it_expires(issuer: Issuer) -> None:
    clock, keys_clock = Clock(), Clock()
    keys = SigningKeys(lambda: signing_keys.fetch(issuer.url), keys_clock)
    tokens = Tokens(keys, issuer.url, (AUDIENCE,), (), clock)
    token, expired = issuer.token(), issuer.token(exp=issuer.claims()["exp"] - 595)
    clock.now = issuer.claims()["nbf"] + 60.0
    assert await tokens.identify(bearer(token)) == await tokens.identify(bearer(expired)) == Identity("token:robot-7")
    issuer.status = 500
    keys_clock.now += TRUSTED_SECONDS  # from now on no token can be checked
    assert await tokens.identify(bearer(token)) == Identity("token:robot-7")
    clock.now += 299
    assert await tokens.identify(bearer(token)) == Identity("token:robot-7")
    with pytest.raises(IdentityUnavailable):
        await tokens.identify(bearer(expired))
    clock.now += 2
    with pytest.raises(IdentityUnavailable):
        await tokens.identify(bearer(token))


async def test_es256_is_taken_and_weak_or_foreign_kinds_of_keys_are_not(issuer: Issuer) -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    weak = rsa_key(1024)
    issuer.keys = [
        published(curve, "curve"),
        published(weak, "weak"),
        published(issuer.key, "for-encryption", use="enc"),
        published(issuer.key, "lying", alg="HS256"),
        {"kty": "oct", "kid": "secret", "k": "AAAA"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": ""},
        {"kid": "empty"},
        "no object",  # type: ignore[list-item]
    ]
    found = signing_keys.fetch(issuer.url)
    assert {key_id: key.algorithm_name for key_id, key in found.items()} == {"curve": "ES256", "lying": "RS256"}
    token = jwt.encode(issuer.claims(), curve, "ES256", headers={"kid": "curve"})
    assert await verifier(issuer).identify(bearer(token)) == Identity("token:robot-7")


# --- the issuer's keys -----------------------------------------------------------------------------------------------


async def test_a_new_key_is_fetched_when_its_first_token_comes(issuer: Issuer) -> None:
    clock = Clock()
    tokens = verifier(issuer, clock=clock)
    await tokens.identify(bearer(issuer.token()))
    issuer.key = rsa_key()
    issuer.keys.append(published(issuer.key, "second"))
    clock.now += COOLDOWN_SECONDS
    assert await tokens.identify(bearer(issuer.token(key_id="second"))) == Identity("token:robot-7")


async def test_a_flood_of_unknown_keys_does_not_reach_the_issuer(issuer: Issuer) -> None:
    clock = Clock()
    tokens = verifier(issuer, clock=clock)
    flood = [bearer(issuer.token(key_id=f"invented-{number}")) for number in range(50)]
    outcomes = await asyncio.gather(*map(tokens.identify, flood), return_exceptions=True)
    assert all(type(outcome) is Unauthorized for outcome in outcomes)
    assert len(issuer.asked) == 2  # the discovery document and the keys, once
    clock.now += COOLDOWN_SECONDS
    await asyncio.gather(*map(tokens.identify, flood), return_exceptions=True)
    assert len(issuer.asked) == 4


async def test_a_caller_that_hangs_up_does_not_end_the_fetch_for_the_others() -> None:
    begun, go = threading.Event(), threading.Event()

    def slow() -> signing_keys.Keys:
        begun.set()
        assert go.wait(20)
        return signing_keys.usable([published(rsa_key(), "first")])

    keys = SigningKeys(slow)
    first, second = (asyncio.create_task(keys.get("first")) for _ in range(2))
    await until_async(begun.is_set)
    first.cancel()
    go.set()
    assert (await second).algorithm_name == "RS256"


async def test_an_issuer_that_is_down_is_told_apart_from_a_bad_token(issuer: Issuer) -> None:
    clock = Clock()
    tokens = verifier(issuer, clock=clock)
    issuer.status = 500
    with pytest.raises(IdentityUnavailable) as error:
        await tokens.identify(bearer(issuer.token()))
    assert error.value.retry_after == COOLDOWN_SECONDS
    issuer.status = 200
    clock.now += COOLDOWN_SECONDS
    assert await tokens.identify(bearer(issuer.token())) == Identity("token:robot-7")


async def test_with_keys_in_the_cache_an_issuer_may_be_down_for_a_day(issuer: Issuer) -> None:
    clock = Clock()
    tokens = verifier(issuer, clock=clock)
    await tokens.identify(bearer(issuer.token()))
    issuer.status = 500
    clock.now += TRUSTED_SECONDS - 1
    assert await tokens.identify(bearer(issuer.token(sub="robot-8"))) == Identity("token:robot-8")
    with pytest.raises(Unauthorized):
        await tokens.identify(bearer(issuer.token(key_id="unknown")))
    clock.now += COOLDOWN_SECONDS
    with pytest.raises(IdentityUnavailable):
        await tokens.identify(bearer(issuer.token(sub="robot-9")))


@pytest.mark.parametrize(
    "configuration",
    [
        {"issuer": "https://elsewhere.example"},
        {"jwks_uri": "http://keys.example/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "https://[broken"},
        {"jwks_uri": None},
    ],
)
def test_a_discovery_document_that_leads_elsewhere_is_refused(issuer: Issuer, configuration: dict[str, Any]) -> None:
    issuer.configuration |= configuration
    with pytest.raises(signing_keys.FetchError):
        signing_keys.fetch(issuer.url)


@pytest.mark.parametrize("answer", [b"[]", b"{", b"[" * 100_000, b'{"issuer": "' + b"x" * 300_000 + b'"}', b"\xff"])
def test_a_strange_answer_is_a_fetch_that_failed(
    issuer: Issuer, answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(issuer, "answer", lambda _: answer)
    with pytest.raises(signing_keys.FetchError):
        signing_keys.fetch(issuer.url)


async def test_what_nobody_foresaw_is_logged_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> signing_keys.Keys:
        raise RuntimeError("the disk is on fire")

    with pytest.raises(IdentityUnavailable):
        await SigningKeys(broken).get("first")
    assert "the disk is on fire" in caplog.text


# --- the gate --------------------------------------------------------------------------------------------------------


class Application:
    """An ASGI application that counts what reached it, behind the gate."""

    def __init__(self, perimeter: Perimeter) -> None:
        self.reached: list[str] = []
        self.read = 0
        self.front = RequestIdMiddleware(perimeter.wrap(self._answer))

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    async def ask(self, path: str, *headers: tuple[bytes, bytes], kind: str = "http") -> list[Message]:
        """The messages that are the answer."""
        answer: list[Message] = []

        async def receive() -> Message:
            self.read += 1
            return {"type": "http.request", "body": b"picture", "more_body": False}

        async def send(message: Message) -> None:
            answer.append(message)

        client = ("192.0.2.1", 5000)
        scope = {"type": kind, "path": path, "method": "POST", "headers": list(headers), "client": client}
        await self.front(scope, receive, send)
        return answer


def header(answer: list[Message], name: bytes) -> bytes | None:
    return dict(answer[0]["headers"]).get(name)


@pytest.fixture
def keyed(tmp_path: Path) -> Application:
    return Application(Perimeter((ApiKeys(key_file(tmp_path, f"camera:{OLD}")),)))


async def test_the_gate_refuses_without_reading(keyed: Application) -> None:
    for headers in (
        [],
        [(b"x-api-key", NEW.encode())],
        [(b"x-api-key", b"")],
        [(b"x-api-key", f"camera:{OLD}".encode())],
        [(b"x-api-key", OLD.encode()), (b"x-api-key", OLD.encode())],
        [(b"authorization", f"Bearer {OLD}".encode())],
        [(b"authorization", f"ApiKey {OLD}".encode())],
    ):
        answer = await keyed.ask("/v1/predict", *headers)
        problem = json.loads(answer[1]["body"])
        assert (answer[0]["status"], problem["code"], problem["retryable"]) == (401, "unauthorized", False)
        assert header(answer, b"www-authenticate") == b'ApiKey realm="roo-vision"'
        assert header(answer, b"x-request-id") == problem["request_id"].encode()
        assert header(answer, b"connection") is None
        assert "X-Api-Key" in problem["detail"]
        assert OLD not in problem["detail"]
    assert (keyed.reached, keyed.read) == ([], 0)


async def test_a_known_key_goes_through_and_probes_need_none(keyed: Application) -> None:
    assert (await keyed.ask("/v1/predict", (b"x-api-key", OLD.encode())))[0]["status"] == 200
    for path in ("/livez", "/startupz", "/readyz", "/docs", "/openapi.json", "/"):
        assert (await keyed.ask(path))[0]["status"] == 200


@pytest.mark.parametrize(
    "path",
    ["/metrics", "/v1/models", "/nothing", "/livez/", "//livez", "/LIVEZ", "/livez/../v1/predict", "", "/docs/more"],
)
async def test_all_that_is_not_open_is_closed(keyed: Application, path: str) -> None:
    assert (await keyed.ask(path))[0]["status"] == 401
    assert keyed.reached == []


async def test_a_web_socket_is_no_way_around(keyed: Application) -> None:
    assert await keyed.ask("/v1/predict", kind="websocket") == [{"type": "websocket.close", "code": 1008}]


async def test_keys_and_tokens_together_but_not_both_at_once(tmp_path: Path, issuer: Issuer) -> None:
    behind = Application(Perimeter((ApiKeys(key_file(tmp_path, OLD)), verifier(issuer))))
    key, token = (b"x-api-key", OLD.encode()), (b"authorization", bearer(issuer.token()))
    assert (await behind.ask("/v1/predict", key))[0]["status"] == 200
    assert (await behind.ask("/v1/predict", token))[0]["status"] == 200
    assert (await behind.ask("/v1/predict", key, token))[0]["status"] == 401
    assert (await behind.ask("/v1/predict", (b"x-api-key", NEW.encode())))[0]["status"] == 401
    answer = await behind.ask("/v1/predict", (b"authorization", bearer(issuer.token(roles=[]))))
    assert answer[0]["status"] == 403
    assert header(answer, b"www-authenticate") == b'ApiKey realm="roo-vision", Bearer realm="roo-vision"'


async def test_an_issuer_that_is_down_is_503_with_a_time_to_come_back(issuer: Issuer) -> None:
    issuer.status = 500
    behind = Application(Perimeter((verifier(issuer),)))
    answer = await behind.ask("/v1/predict", (b"authorization", bearer(issuer.token())))
    assert answer[0]["status"] == 503
    assert header(answer, b"retry-after") == str(int(COOLDOWN_SECONDS)).encode()


async def test_neither_keys_nor_tokens_are_in_the_log(
    tmp_path: Path, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    behind = Application(Perimeter((ApiKeys(key_file(tmp_path, OLD)), verifier(issuer))))
    token = issuer.token()
    for credential in (token, issuer.token(roles=[]), issuer.token(exp=1), token[:-5] + "AAAAA"):
        await behind.ask("/v1/predict", (b"authorization", bearer(credential)))
    for key in (OLD, NEW):
        await behind.ask("/v1/predict", (b"x-api-key", key.encode()))
    assert token.split(".")[0] not in caplog.text
    assert OLD not in caplog.text
    assert NEW not in caplog.text


def test_with_nobody_to_keep_out_nothing_is_added_to_the_path() -> None:
    async def application(*_: object) -> None: ...

    assert Perimeter().wrap(application) is application
