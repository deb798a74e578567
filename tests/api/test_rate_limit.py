"""How often each caller may ask, and that remembering callers takes bounded memory."""

import pytest

from app.api.security.perimeter import Perimeter
from app.api.security.rate_limit import RateLimiter
from app.errors import RateLimited
from tests.api.test_auth import Application, Clock, header


def allowed(limiter: RateLimiter, caller: str, times: int) -> int:
    """How many of so many requests in a row go through."""
    count = 0
    for _ in range(times):
        try:
            limiter.take(caller)
        except RateLimited:
            continue
        count += 1
    return count


def test_a_burst_then_the_rate() -> None:
    clock = Clock()
    limiter = RateLimiter(2.0, 5, clock=clock)
    assert allowed(limiter, "a", 20) == 5
    clock.now += 0.5
    assert allowed(limiter, "a", 20) == 1
    clock.now += 1.5
    assert allowed(limiter, "a", 20) == 3
    clock.now += 1000
    assert allowed(limiter, "a", 20) == 5


def test_callers_do_not_use_up_each_others() -> None:
    limiter = RateLimiter(1.0, 3, clock=Clock())
    assert allowed(limiter, "a", 10) == 3
    assert allowed(limiter, "b", 10) == 3


def test_the_time_to_wait_is_enough_and_waiting_is_not_punished() -> None:
    clock = Clock()
    limiter = RateLimiter(0.25, 1, clock=clock)
    limiter.take("a")
    for _ in range(5):
        with pytest.raises(RateLimited) as error:
            limiter.take("a")
    assert error.value.retry_after == 4.0
    clock.now += 4.0
    limiter.take("a")


def test_memory_is_bounded_and_the_busy_are_remembered() -> None:
    limiter = RateLimiter(1.0, 2, callers=100, clock=Clock())
    assert allowed(limiter, "busy", 2) == 2
    for number in range(10_000):
        limiter.take(f"stranger-{number}")
        assert allowed(limiter, "busy", 1) == 0
    assert limiter.remembered == 100


async def ask_from(application: Application, address: str) -> int:
    answer: list[int] = []

    async def send(message: dict[str, object]) -> None:
        answer.append(int(str(message.get("status", 0))))

    scope = {"type": "http", "path": "/v1/predict", "method": "GET", "headers": [], "client": (address, 1)}
    await application.front(scope, None, send)  # type: ignore[arg-type]
    return answer[0]


async def test_without_keys_the_address_is_the_caller() -> None:
    behind = Application(Perimeter(limiter=RateLimiter(1.0, 1, clock=Clock())))
    assert [await ask_from(behind, "192.0.2.1") for _ in range(2)] == [200, 429]
    assert await ask_from(behind, "192.0.2.2") == 200
    assert [await ask_from(behind, f"2001:db8::{number}") for number in (1, 2)] == [200, 429]
    assert await ask_from(behind, "2001:db8:0:1::1") == 200
    assert await ask_from(behind, "::ffff:192.0.2.1") == 429  # IPv4, as a dual-stack socket shows it
    assert await ask_from(behind, "fe80::1%eth0") == 200


async def test_probes_are_not_counted() -> None:
    behind = Application(Perimeter(limiter=RateLimiter(1.0, 1, clock=Clock())))
    for _ in range(5):
        assert (await behind.ask("/livez"))[0]["status"] == 200
    assert (await behind.ask("/v1/predict"))[0]["status"] == 200
    refused = await behind.ask("/v1/predict")
    assert refused[0]["status"] == 429
    assert header(refused, b"retry-after") == b"1"
    assert header(refused, b"www-authenticate") is None
    assert behind.read == 0
