"""A lock keeps itself: whatever becomes of one renewal, no other lock suffers, and each one's end is noticed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from azure.servicebus.exceptions import MessageLockLostError

from app.servicebus.link_errors import LinkLost
from app.servicebus.lock_period import LockPeriod
from app.servicebus.locks import LockKeeper
from app.servicebus.receiver import Received
from tests.fixtures.waiting import until_async
from tests.servicebus.wire import received

Renew = Callable[[Received, float], Awaitable[None]]


def message(name: str = "m", *, lock: float = 1.5, age: float = 0.0, ahead: float = 0.0) -> Received:
    """A message that the broker has locked for so long just now, sent `age` seconds ago; our clock is `ahead`."""
    found = received(b"picture", message_id=name, age=age + ahead)
    return Received(found, None, datetime.now(UTC) + timedelta(seconds=lock - ahead))


async def never(_: Received, seconds: float) -> None:
    """A renewal that is not answered."""
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    "error",
    [LinkLost("cut"), ConnectionResetError("reset"), ZeroDivisionError("a defect"), TimeoutError(), KeyError(1)],
)
async def test_a_renewal_that_fails_in_whatever_way_is_tried_again(error: Exception) -> None:
    tried: list[str] = []

    async def renew(of: Received, seconds: float) -> None:
        tried.append(str(of.message.message_id))
        if len(tried) == 1:
            raise error

    keeper, lost = LockKeeper("jobs", renew), []
    with keeper.hold(message(lock=2), lambda: lost.append(1)) as lock:
        await until_async(lambda: len(tried) >= 3)
        assert lock.remaining() > 0.5
    assert not lost
    await keeper.close()


async def test_a_renewal_that_is_never_answered_holds_up_no_other_and_ends_its_own_lock_alone() -> None:
    renewed: list[str] = []

    async def renew(of: Received, seconds: float) -> None:
        if of.message.message_id == "silent":
            await asyncio.Event().wait()
        renewed.append(str(of.message.message_id))

    keeper, lost = LockKeeper("jobs", renew), []
    with (
        keeper.hold(message("silent"), lambda: lost.append("silent")) as silent,
        keeper.hold(message("other"), lambda: lost.append("other")) as other,
    ):
        await until_async(lambda: silent.lost)
        await until_async(lambda: len(renewed) >= 3)
        assert not other.lost
    assert lost == ["silent"]
    assert set(renewed) == {"other"}
    await keeper.close()


async def test_an_answer_that_never_comes_is_asked_for_again_while_the_lock_lasts() -> None:
    tried = 0

    async def renew(_: Received, seconds: float) -> None:
        nonlocal tried
        tried += 1
        if tried == 1:
            await asyncio.Event().wait()

    keeper, lost = LockKeeper("jobs", renew), []
    with keeper.hold(message(lock=2), lambda: lost.append(1)):
        await until_async(lambda: tried >= 3)
    assert not lost
    await keeper.close()


async def test_what_the_broker_says_is_lost_is_lost_at_once_and_told_once() -> None:
    async def renew(_: Received, seconds: float) -> None:
        raise MessageLockLostError

    keeper, lost = LockKeeper("jobs", renew), []
    with keeper.hold(message(lock=60), lambda: lost.append(1)) as lock:
        keeper.begin_renewal(lock)
        await until_async(lambda: lock.lost)
        assert lock.remaining() == 0
    assert lost == [1]
    await keeper.close()


async def test_closing_ends_renewals_that_are_under_way() -> None:
    keeper = LockKeeper("jobs", never)
    with keeper.hold(message(lock=60), lambda: None) as lock:
        keeper.begin_renewal(lock)
        await asyncio.sleep(0)
    await asyncio.wait_for(keeper.close(), 5)


async def test_many_failures_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    tried = 0

    async def renew(_: Received, seconds: float) -> None:
        nonlocal tried
        tried += 1
        raise LinkLost("the connection is gone")

    keeper = LockKeeper("jobs", renew)
    with keeper.hold(message(lock=30), lambda: None) as lock:
        keeper.begin_renewal(lock)
        await until_async(lambda: tried >= 5)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    await keeper.close()


@pytest.mark.parametrize(("ahead", "words"), [(40, "ahead"), (-40, "behind")])
def test_a_wrong_clock_is_told_once_and_does_not_count(
    ahead: float, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Forty seconds either way, and a lock of thirty: by our clock it is over before it begins, or lasts for ever."""
    period = LockPeriod("jobs")
    for number in range(5):
        left = period.left(message(f"m{number}", lock=30, ahead=ahead))
        assert 0 < left <= 30.1
    assert period.seconds <= 30.1
    assert period.clock_ahead == pytest.approx(ahead, abs=1)
    (told,) = [record.getMessage() for record in caplog.records]
    assert words in told
    assert "jobs" in told


@pytest.mark.parametrize("ahead", [40, -400])
def test_where_nothing_is_known_a_lock_is_taken_for_the_shortest_that_there_is(ahead: float) -> None:
    """A message of an old backlog does not tell how long its lock lasts, and the clock is not to be believed."""
    assert LockPeriod("jobs").left(message(lock=30, age=3600, ahead=ahead)) <= 5


def test_a_right_clock_is_believed_and_nothing_said(caplog: pytest.LogCaptureFixture) -> None:
    period = LockPeriod("jobs")
    assert period.left(message(lock=60, age=3600)) == pytest.approx(60, abs=1)
    assert period.seconds == pytest.approx(60, abs=1)
    assert period.clock_ahead == 0
    assert not caplog.records


def test_a_clock_that_is_set_right_is_believed_again() -> None:
    period = LockPeriod("jobs")
    period.left(message("before", lock=30, ahead=40))
    assert period.clock_ahead == pytest.approx(40, abs=1)
    period.left(message("after", lock=30))
    assert period.clock_ahead == pytest.approx(0, abs=1)


def test_a_message_that_waited_under_way_has_less_left() -> None:
    period = LockPeriod("jobs")
    period.left(message(lock=60))
    assert period.left(message(lock=12, age=48)) == pytest.approx(12, abs=1)
    assert period.seconds == pytest.approx(60, abs=1)
