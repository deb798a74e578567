"""How much can be taken: by each model's own speed, and by the queue of those who ask."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.capacity import CONTENDED, LIGHT_SECONDS, STUCK_SECONDS, UNKNOWN, Capacity
from app.core.request import Priority

PEOPLE, BULK = Priority.INTERACTIVE, Priority.BULK


class Queues:
    """A batcher's queues, as long as a test wants them."""

    bulk_share = 0.1

    def __init__(self) -> None:
        self.people: dict[str, int] = {}
        self.bulk: dict[str, int] = {}

    def waiting(self) -> int:
        return sum(self.people.values()) + sum(self.bulk.values())

    def waiting_by_key(self, priority: Priority) -> Mapping[str, int]:
        return self.people if priority is PEOPLE else self.bulk


class Clock:
    """A clock that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queues() -> Queues:
    return Queues()


@pytest.fixture
def capacity(queues: Queues, clock: Clock) -> Capacity[str]:
    made = Capacity(queues, clock)
    made.lanes = 2
    return made


def compute(capacity: Capacity[str], clock: Clock, model: str, seconds: float, size: int = 1, bulk: int = 0) -> None:
    capacity.begin(0, model, size, bulk)
    clock.now += seconds
    capacity.end(0, size)


def test_speed_is_known_for_each_model_by_itself(capacity: Capacity[str], clock: Clock) -> None:
    assert capacity.seconds("fast") == 0
    compute(capacity, clock, "slow", 2.0)
    compute(capacity, clock, "fast", 0.04, size=4)
    assert capacity.seconds("slow") == pytest.approx(2.0)
    assert capacity.seconds("fast") == pytest.approx(0.01)
    assert set(capacity.speeds()) == {"slow", "fast"}


def test_a_batch_of_which_nothing_was_computed_teaches_nothing(capacity: Capacity[str], clock: Clock) -> None:
    capacity.begin(0, "model", 3)
    clock.now += 0.001
    capacity.end(0, 0)
    assert capacity.seconds("model") == 0


def test_a_model_whose_pictures_take_little_of_a_core_is_light(capacity: Capacity[str]) -> None:
    assert not capacity.light("small"), "nothing is known of it"
    capacity.learn("small", LIGHT_SECONDS)
    assert not capacity.light("small"), "its core's time was not measured"
    capacity.learn("small", LIGHT_SECONDS, LIGHT_SECONDS / 2)
    capacity.learn("large", LIGHT_SECONDS, LIGHT_SECONDS * 2)
    assert capacity.light("small")
    assert not capacity.light("large")


def test_one_stays_light_only_where_it_is_without_contention(capacity: Capacity[str]) -> None:
    between = LIGHT_SECONDS * (1 + CONTENDED) / 2
    capacity.learn("model", between, between)
    assert capacity.light("model")
    capacity.learn("model", between, between)
    assert not capacity.light("model")


def test_light_pictures_have_but_one_lane(capacity: Capacity[str], queues: Queues) -> None:
    capacity.learn("small", 0.0001, 0.0001)
    queues.people = {"small": 100}
    assert capacity.pending() == pytest.approx(0.01)
    assert capacity.wait("small", PEOPLE) == pytest.approx(0.0101)
    assert capacity.credit("small", 0.02) == 100


def test_a_slow_moment_is_forgotten_while_the_model_rests(capacity: Capacity[str], clock: Clock) -> None:
    compute(capacity, clock, "model", 0.1)
    for _ in range(50):
        compute(capacity, clock, "model", 10.0)
    slow = capacity.seconds("model")
    assert slow > 9
    clock.now += 30
    assert capacity.seconds("model") == pytest.approx(0.1 + (slow - 0.1) / 2)
    clock.now += 600
    assert capacity.seconds("model") == pytest.approx(0.1, abs=0.01)


def test_it_is_not_forgotten_while_the_model_runs(capacity: Capacity[str], clock: Clock) -> None:
    compute(capacity, clock, "model", 0.1)
    for _ in range(50):
        compute(capacity, clock, "model", 10.0)
    capacity.begin(1, "model", 1)
    clock.now += 100
    assert capacity.seconds("model") > 9


def test_people_are_judged_by_peoples_queue(capacity: Capacity[str], queues: Queues, clock: Clock) -> None:
    compute(capacity, clock, "model", 0.05)
    queues.bulk = {"model": 100}
    assert capacity.wait("model", PEOPLE) == pytest.approx(0.05)
    assert capacity.wait("model", BULK) == pytest.approx(100 * 0.05 / 2 + 0.05)
    queues.people = {"model": 10}
    assert capacity.wait("model", PEOPLE) == pytest.approx(10 * 0.05 / 2 / 0.9 + 0.05)


def test_another_models_queue_counts_no_more_than_the_own(
    capacity: Capacity[str], queues: Queues, clock: Clock
) -> None:
    compute(capacity, clock, "slow", 2.0)
    compute(capacity, clock, "fast", 0.01)
    queues.people = {"slow": 50}
    assert capacity.wait("fast", PEOPLE) < 0.1
    assert capacity.wait("slow", PEOPLE) == pytest.approx(52.0)


def test_busy_lanes_are_waited_for_until_the_first_is_free(
    capacity: Capacity[str], queues: Queues, clock: Clock
) -> None:
    compute(capacity, clock, "slow", 2.0)
    compute(capacity, clock, "fast", 0.01)
    capacity.begin(0, "slow", 1)
    assert capacity.wait("fast", PEOPLE) == pytest.approx(0.01)
    clock.now += 0.5
    capacity.begin(1, "slow", 1)
    assert capacity.wait("fast", PEOPLE) == pytest.approx(1.51)
    clock.now += 60
    assert capacity.wait("fast", PEOPLE) == pytest.approx(0.01)


def test_pending_is_all_work_that_waits(capacity: Capacity[str], queues: Queues, clock: Clock) -> None:
    compute(capacity, clock, "slow", 2.0)
    compute(capacity, clock, "fast", 0.01)
    queues.people, queues.bulk = {"slow": 3}, {"fast": 100}
    assert capacity.pending() == pytest.approx((6 + 1) / 2)
    assert capacity.retry_after() == pytest.approx(3.5)
    queues.people, queues.bulk = {}, {}
    assert capacity.retry_after() == 1.0


def test_credit_is_what_fits_beside_what_waits(capacity: Capacity[str], queues: Queues, clock: Clock) -> None:
    assert capacity.credit("model", 10) == UNKNOWN
    compute(capacity, clock, "model", 0.5)
    assert capacity.credit("model", 10) == 40
    queues.people, queues.bulk = {"model": 10}, {"model": 10}
    assert capacity.credit("model", 10) == 20
    queues.bulk = {"model": 1000}
    assert capacity.credit("model", 10) == 0


def test_credit_for_any_model_goes_by_the_slowest_that_bulk_asked_lately(capacity: Capacity[str], clock: Clock) -> None:
    compute(capacity, clock, "slow", 2.0)
    compute(capacity, clock, "fast", 0.01)
    assert capacity.credit(None, 10) == 10
    compute(capacity, clock, "fast", 0.01, bulk=1)
    assert capacity.credit(None, 10) == pytest.approx(2000, rel=0.01)
    compute(capacity, clock, "slow", 2.0, bulk=1)
    assert capacity.credit(None, 10) == 10


def test_a_lost_device_and_stuck_lanes_give_no_credit(capacity: Capacity[str], clock: Clock) -> None:
    compute(capacity, clock, "model", 0.5)
    capacity.begin(0, "model", 1)
    clock.now += STUCK_SECONDS + 1
    assert capacity.stuck() > STUCK_SECONDS
    assert capacity.credit("model", 10) == 0
    capacity.end(0, 0)
    assert capacity.credit("model", 10) > 0
    capacity.lose_device("the driver is gone")
    assert capacity.credit("model", 10) == 0


@given(
    people=st.dictionaries(st.sampled_from(["slow", "fast"]), st.integers(1, 50)),
    bulk=st.dictionaries(st.sampled_from(["slow", "fast"]), st.integers(1, 50)),
    running=st.lists(st.tuples(st.sampled_from(["slow", "fast"]), st.integers(1, 8)), max_size=2),
)
def test_no_wait_is_longer_than_its_bound(
    people: dict[str, int], bulk: dict[str, int], running: list[tuple[str, int]]
) -> None:
    queues, clock = Queues(), Clock()
    capacity: Capacity[str] = Capacity(queues, clock)
    capacity.lanes = 2
    queues.people, queues.bulk = people, bulk
    capacity.learn("slow", 2.0)
    capacity.learn("fast", 0.01)
    for lane, (model, size) in enumerate(running):
        capacity.begin(lane, model, size)
    longest = max(capacity.wait(model, priority) for model in ("slow", "fast") for priority in Priority)
    assert capacity.may_exceed(longest * 0.999)
    assert not capacity.may_exceed(2.0 * (queues.waiting() + sum(size for _, size in running) + 1))
