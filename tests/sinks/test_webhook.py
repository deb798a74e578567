"""What is posted, how it is signed, what each answer means, and where nothing is posted to."""

import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.resolver import ThreadedResolver

from app.errors import RequestError, ResultRefused, ResultsUnavailable, ResultTooLarge
from app.sinks import persistence
from app.sinks.base import Finding
from app.sinks.public_addresses import is_public
from app.sinks.signing import signature
from app.sinks.webhook import Webhook
from tests.fixtures.hook import SECRET, Hook, is_signed

FINDING = Finding("abc", json.dumps({"request_id": "r1"}).encode(), {"traceparent": "00-1-2-01"})


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(persistence, "FIRST_PAUSE", 0.001)


@asynccontextmanager
async def posting(
    url: str, *secrets: str, hosts: frozenset[str] = frozenset({"127.0.0.1", "localhost"})
) -> AsyncIterator[Webhook]:
    webhook = Webhook(url, [secret.encode() for secret in secrets or (SECRET,)], hosts, 1000)
    try:
        yield webhook
    finally:
        await webhook.close()


async def asked(hook: Hook, *secrets: str) -> None:
    async with posting(f"http://127.0.0.1:{hook.port}/in", *secrets) as webhook:
        await webhook.keep(FINDING)


async def test_a_result_is_posted_with_its_id_its_trace_and_a_signature() -> None:
    async with Hook() as hook:
        await asked(hook)
        posted = hook.taken["abc"]
        assert posted.body == {"request_id": "r1"}
        assert posted.headers["Content-Type"] == "application/json"
        assert posted.headers["traceparent"] == "00-1-2-01"


async def test_while_secrets_are_exchanged_either_verifies() -> None:
    async with Hook() as hook:
        for hook.secret in ("the secret of yesterday", "the secret of tomorrow"):
            await asked(hook, "the secret of yesterday", "the secret of tomorrow")
        hook.secret = "another that nobody has"
        with pytest.raises(ResultsUnavailable, match="answers 401 Unauthorized: it does not know our signature"):
            await asked(hook, "the secret of yesterday")


def test_a_signature_is_of_one_body_and_one_time() -> None:
    header = signature([SECRET.encode()], b"body", 1_764_547_200)
    assert header == (
        # printf '1764547200.body' | openssl dgst -sha256 -hmac 'a secret of the tests, long enough'
        "t=1764547200,v1=93196bf10f48134ade70d3b77a2522a498540b7f05fa3f33e05b9f8d6ae9c6b2"
    )
    assert is_signed(header, b"body", SECRET, 1_764_547_200)
    assert not is_signed(header, b"Body", SECRET, 1_764_547_200)
    assert not is_signed(header.replace("t=1764547200", "t=1764547201"), b"body", SECRET, 1_764_547_200)
    assert not is_signed(header, b"body", SECRET, time.time() + 10**9)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_what_may_pass_is_tried_again(status: int) -> None:
    async with Hook() as hook:
        hook.answers += [web.Response(status=status) for _ in range(persistence.TRIES - 1)]
        await asked(hook)
        assert hook.times["abc"] == 1
        hook.always, hook.asked = status, 0
        with pytest.raises(ResultsUnavailable, match=f"the webhook at 127.0.0.1 answers {status} "):
            await asked(hook)
        assert hook.asked == persistence.TRIES


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (400, ResultRefused, "it will not take this result"),
        (422, ResultRefused, "it will not take this result"),
        (413, ResultTooLarge, "too large"),
        (301, ResultsUnavailable, "no redirect is followed"),
        (307, ResultsUnavailable, "no redirect is followed"),
        (401, ResultsUnavailable, "ROO_WEBHOOK_SECRET"),
        (403, ResultsUnavailable, "ROO_WEBHOOK_SECRET"),
        (404, ResultsUnavailable, "is ROO_WEBHOOK_URL right"),
        (405, ResultsUnavailable, "is ROO_WEBHOOK_URL right"),
    ],
)
async def test_what_will_not_pass_is_said_at_once(status: int, error: type[RequestError], said: str) -> None:
    async with Hook() as hook:
        hook.always = status
        with pytest.raises(error, match=said) as caught:
            await asked(hook)
        assert type(caught.value) is error
        assert hook.asked == 1


async def test_a_redirect_is_not_followed() -> None:
    async with Hook() as hook, Hook() as other:
        elsewhere = f"http://127.0.0.1:{other.port}/in"
        hook.answers.append(web.Response(status=307, headers={"Location": elsewhere}))
        with pytest.raises(ResultsUnavailable):
            await asked(hook)
        assert other.asked == 0


async def test_long_patience_is_not_waited_for_here_and_holds_for_all_callers() -> None:
    async with Hook() as hook:
        hook.answers.append(web.Response(status=503, headers={"Retry-After": "120"}))
        async with posting(f"http://127.0.0.1:{hook.port}/") as webhook:
            for _ in range(3):
                with pytest.raises(ResultsUnavailable, match="patience") as caught:
                    await webhook.keep(FINDING)
                assert 100 < (caught.value.retry_after or 0) <= 120
            assert hook.asked == 1


async def test_no_answer_puts_all_off_for_longer_than_ten_minutes() -> None:
    async with Hook() as hook:
        hook.answers.append(web.Response(status=503, headers={"Retry-After": "1e300"}))
        async with posting(f"http://127.0.0.1:{hook.port}/") as webhook:
            with pytest.raises(ResultsUnavailable, match="patience") as caught:
                await webhook.keep(FINDING)
            assert (caught.value.retry_after or 0) <= 600


async def test_the_words_of_a_strangers_status_line_are_not_told() -> None:
    async with Hook() as hook:
        hook.answers.append(web.Response(status=403, reason="y" * 1000))
        with pytest.raises(ResultsUnavailable) as caught:
            await asked(hook)
        assert "answers 403 Forbidden: " in str(caught.value)
        hook.answers.append(web.Response(status=499, reason="yyy"))
        with pytest.raises(ResultsUnavailable, match="answers 499: "):
            await asked(hook)


@pytest.mark.parametrize("asked_for", ["-1", "nan", "inf", "Wed, 21 Oct 2026 07:28:00 GMT", "soon"])
async def test_what_is_no_count_of_seconds_is_not_waited_for(asked_for: str) -> None:
    async with Hook() as hook:
        hook.answers.append(web.Response(status=503, headers={"Retry-After": asked_for}))
        await asked(hook)
        assert "abc" in hook.taken


async def test_what_stays_silent_or_is_not_there_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Hook()
    async with hook:
        pass
    with pytest.raises(ResultsUnavailable, match="does not answer"):
        await asked(hook)


@pytest.mark.parametrize("address", ["10.1.2.3", "127.0.0.1", "169.254.169.254", "fd00::1", "::ffff:192.168.1.1"])
async def test_a_name_that_leads_into_our_network_is_not_connected_to(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(self: object, host: str, port: int = 0, family: int = 0) -> list[dict[str, object]]:
        item = {"hostname": host, "host": address, "port": port, "family": family, "proto": 0, "flags": 0}
        return [item]

    monkeypatch.setattr(ThreadedResolver, "resolve", resolve)
    async with Hook() as hook:
        async with posting(f"http://hooks.example.com:{hook.port}/", hosts=frozenset()) as webhook:
            with pytest.raises(ResultsUnavailable, match=r"private address\. Name the host in ROO_WEBHOOK_HOSTS"):
                await webhook.keep(FINDING)
            with pytest.raises(ResultsUnavailable, match="private address"):
                await webhook.check()
        assert hook.asked == 0


async def test_a_listed_name_may_be_in_our_network() -> None:
    async with Hook() as hook:
        async with posting(f"http://localhost:{hook.port}/", hosts=frozenset({"localhost"})) as webhook:
            await webhook.check()
            await webhook.keep(FINDING)
        assert "abc" in hook.taken


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_the_internets_addresses_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "224.0.0.1",
        "::1",
        "fe80::1%eth0",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "::ffff:10.0.0.1",
        "255.255.255.255",
        "168.63.129.16",
        "::ffff:168.63.129.16",
        "192.0.0.8",
        "64:ff9b:1::1",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
    ],
)
def test_others_are_not(address: str) -> None:
    assert not is_public(address)


async def test_no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with Hook() as hook, posting(f"http://127.0.0.1:{hook.port}/in?token=hidden") as webhook:
            await webhook.keep(FINDING)
            hook.always = 500
            with pytest.raises(ResultsUnavailable) as caught:
                await webhook.keep(FINDING)
    assert SECRET not in caplog.text
    assert "hidden" not in caplog.text + str(caught.value)
