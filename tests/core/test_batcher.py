"""The batcher's promises: every waiter exactly one answer, people before robots, no wait for a free lane."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from queue import Queue

import pytest

from app.core.batch import Batch
from app.core.batcher import Batcher
from app.core.request import Deadline, Flow, Priority
from app.errors import DeadlineExceeded, Draining, EngineFailure
from tests.fixtures.waiting import until

PATIENCE = 10.0


@dataclass(frozen=True)
class Key:
    max_batch_size: int = 4
    name: str = "a"


KEY = Key()
PEOPLE, ROBOTS = Priority.INTERACTIVE, Priority.BULK


class Clock:
    """Time that a test moves by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def make(**options: float) -> Batcher[Key, str, str]:
    return Batcher(**options)


def submit(batcher: Batcher[Key, str, str], *items: str, priority: Priority = PEOPLE) -> list["Future[str]"]:
    return [batcher.submit(KEY, item, priority) for item in items]


def take(batcher: Batcher[Key, str, str]) -> Batch[Key, str, str]:
    """Take what is there; the batcher must have something, or the test would wait for ever."""
    assert batcher.waiting()
    batch = batcher.take()
    assert batch is not None
    return batch


def items(batch: Batch[Key, str, str]) -> list[str]:
    return [entry.item for entry in batch.entries]


def answer(batch: Batch[Key, str, str]) -> None:
    with batch:
        for entry in batch.entries:
            entry.answer(entry.item.upper())


def test_what_waits_becomes_the_next_batch_up_to_the_limit() -> None:
    batcher = make()
    submit(batcher, *"abcdef")
    assert items(take(batcher)) == list("abcd")
    assert items(take(batcher)) == list("ef")


def test_each_waiter_gets_its_own_result() -> None:
    batcher = make()
    futures = submit(batcher, "x", "y", "z")
    answer(take(batcher))
    assert [future.result(PATIENCE) for future in futures] == ["X", "Y", "Z"]


def test_a_cancelled_neighbour_is_skipped_and_costs_the_others_nothing() -> None:
    batcher = make()
    first, second, third = submit(batcher, "a", "b", "c")
    assert second.cancel()
    assert batcher.waiting() == 2
    batch = take(batcher)
    assert items(batch) == ["a", "c"]
    answer(batch)
    assert (first.result(PATIENCE), third.result(PATIENCE)) == ("A", "C")


def test_a_waiter_who_leaves_while_being_computed_does_not_disturb_the_others() -> None:
    batcher = make()
    first, second = submit(batcher, "a", "b")
    batch = take(batcher)
    assert not first.cancel()
    answer(batch)
    assert second.result(PATIENCE) == "B"


def test_all_cancelled_means_no_batch_at_all() -> None:
    batcher = make()
    for future in submit(batcher, "a", "b"):
        future.cancel()
    batcher.close()
    assert batcher.take() is None


def test_leaving_the_batch_answers_whoever_was_forgotten() -> None:
    batcher = make()
    first, second = submit(batcher, "a", "b")
    with take(batcher) as batch:
        batch.entries[0].answer("A")
    assert first.result(PATIENCE) == "A"
    with pytest.raises(EngineFailure):
        second.result(PATIENCE)


def test_a_lane_that_raises_leaves_nobody_waiting() -> None:
    batcher = make()
    (future,) = submit(batcher, "a")
    with pytest.raises(ZeroDivisionError), take(batcher):
        raise ZeroDivisionError
    with pytest.raises(EngineFailure):
        future.result(PATIENCE)


def test_only_the_first_answer_counts() -> None:
    batcher = make()
    (future,) = submit(batcher, "a")
    with take(batcher) as batch:
        batch.entries[0].answer("first")
        batch.entries[0].answer("second")
        batch.entries[0].fail(EngineFailure("third"))
    assert future.result(PATIENCE) == "first"


def test_people_go_first_and_robots_fill_the_free_slots() -> None:
    batcher = make(bulk_share=0.0)
    submit(batcher, "r1", "r2", "r3", priority=ROBOTS)
    submit(batcher, "p1", "p2")
    assert items(take(batcher)) == ["p1", "p2", "r1", "r2"]
    assert items(take(batcher)) == ["r3"]


def test_robots_keep_their_share_while_people_never_stop_coming() -> None:
    batcher = make(bulk_share=0.25)
    robots = submit(batcher, *(f"r{number}" for number in range(10)), priority=ROBOTS)
    batches = 0
    while not all(future.done() for future in robots):
        submit(batcher, *(f"p{batches}{slot}" for slot in range(KEY.max_batch_size)))
        answer(take(batcher))
        batches += 1
        assert batches <= 14, "a quarter of four slots is one a batch"
    assert batches >= 10, "robots must not take more than their share from people"


def test_without_a_share_robots_wait_for_people() -> None:
    batcher = make(bulk_share=0.0)
    submit(batcher, "r", priority=ROBOTS)
    for _ in range(50):
        submit(batcher, *"abcd")
        assert "r" not in items(take(batcher))
    assert items(take(batcher)) == ["r"]


def test_a_share_works_with_batches_of_one() -> None:
    batcher: Batcher[Key, str, str] = Batcher(bulk_share=0.5)
    key = Key(max_batch_size=1)
    batcher.submit(key, "r", ROBOTS)
    taken = []
    for number in range(4):
        batcher.submit(key, f"p{number}", PEOPLE)
        taken += items(take(batcher))
    assert taken[:2] == ["p0", "r"] or taken[:3] == ["p0", "p1", "r"]


def test_a_batch_has_one_key_and_the_longest_waiting_key_goes_first() -> None:
    clock = Clock()
    batcher: Batcher[Key, str, str] = Batcher(clock=clock)
    a, b = Key(name="a"), Key(name="b")
    for key, item in ((b, "b1"), (a, "a1"), (b, "b2"), (a, "a2")):
        batcher.submit(key, item, PEOPLE)
        clock.now += 1
    assert items(take(batcher)) == ["b1", "b2"]
    assert items(take(batcher)) == ["a1", "a2"]


def test_who_is_too_late_is_told_so_and_not_computed() -> None:
    clock = Clock()
    batcher: Batcher[Key, str, str] = Batcher(clock=clock)
    late = batcher.submit(KEY, "late", PEOPLE, Deadline(clock.now + 1))
    patient = batcher.submit(KEY, "patient", PEOPLE, Deadline(clock.now + 10))
    clock.now += 5
    batch = take(batcher)
    assert items(batch) == ["patient"]
    with pytest.raises(DeadlineExceeded):
        late.result(PATIENCE)
    answer(batch)
    assert patient.result(PATIENCE) == "PATIENT"


def test_after_close_what_is_queued_is_finished_and_nothing_new_is_taken() -> None:
    batcher = make()
    (future,) = submit(batcher, "a")
    batcher.close()
    with pytest.raises(Draining):
        submit(batcher, "b")
    answer(take(batcher))
    assert future.result(PATIENCE) == "A"
    assert batcher.take() is None


def test_refusing_answers_all_that_no_lane_has_taken() -> None:
    batcher = make()
    futures = submit(batcher, *"abcde")
    batch = take(batcher)
    batcher.close()
    assert batcher.refuse_waiting() == 1
    answer(batch)
    assert [future.result(PATIENCE) for future in futures[:4]] == list("ABCD")
    with pytest.raises(Draining):
        futures[4].result(PATIENCE)


def test_an_idle_lane_takes_work_the_moment_it_comes() -> None:
    batcher = make()
    done = threading.Event()
    lane = _lane(batcher, done.set)
    (future,) = submit(batcher, "a")
    assert future.result(PATIENCE) == "A"
    batcher.close()
    lane.join(PATIENCE)
    assert done.is_set()


def test_free_lanes_share_what_waits_instead_of_one_taking_it_all() -> None:
    batcher = make()
    sizes: list[int] = []
    both = threading.Barrier(2, timeout=PATIENCE)

    def work() -> None:
        batch = batcher.take()
        assert batch is not None
        sizes.append(len(batch))
        both.wait()
        answer(batch)

    lanes = [threading.Thread(target=work) for _ in range(2)]
    for lane in lanes:
        lane.start()
    until(lambda: batcher.idle_lanes(KEY) == 2)
    with batcher._changed:  # the lanes wake up once all four are there
        futures = [batcher.submit(KEY, item, PEOPLE) for item in "abcd"]
    for future in futures:
        future.result(PATIENCE)
    assert sizes == [2, 2]


def test_who_waits_for_what_is_replaced_is_not_passed_by_those_who_come_later() -> None:
    clock = Clock()
    batcher: Batcher[Key, str, str] = Batcher(clock=clock)
    old, new, other = Key(1, "old"), Key(1, "new"), Key(1, "other")
    for number in range(4):
        clock.now += 1
        batcher.submit(old, f"old {number}", PEOPLE)
    answer(take(batcher))
    batcher.succeed(new, old)
    for number in range(3):
        clock.now += 1
        batcher.submit(new, f"new {number}", PEOPLE)
    batcher.submit(other, "other", PEOPLE)
    found = []
    while batcher.waiting():
        batch = take(batcher)
        found += items(batch)
        answer(batch)
    assert found.index("other") <= 2, "both together have one key's turns"
    found.remove("other")
    assert found == ["old 1", "old 2", "old 3", "new 0", "new 1", "new 2"]
    batcher.wait_until_free(old)
    batcher.succeed(other, new)
    batcher.wait_until_free(new)
    batcher.wait_until_free(other)
    assert not any(queue._one_turn or queue._used_until for queue in batcher._queues.values()), "nothing is kept"


LIGHT, HEAVY = Key(name="light"), Key(name="heavy")


def _light_batcher(clock: Callable[[], float] = time.monotonic) -> Batcher[Key, str, str]:
    batcher: Batcher[Key, str, str] = Batcher(clock=clock)
    batcher.weigh(lambda key: 0.001, lambda key: key == LIGHT)
    return batcher


@contextmanager
def _another_lane(batcher: Batcher[Key, str, str]) -> Iterator["Queue[list[str]]"]:
    """Beside the test's thread, which is a lane, too; it tells what it takes, and answers it."""
    taken: Queue[list[str]] = Queue()

    def work() -> None:
        while (batch := batcher.take()) is not None:
            taken.put(items(batch))
            answer(batch)

    lane = threading.Thread(target=work)
    lane.start()
    until(lambda: batcher._idle == 1)
    yield taken
    batcher.close()
    lane.join(PATIENCE)
    assert not lane.is_alive()


def test_one_lane_takes_all_light_items_that_came_while_it_was_busy() -> None:
    batcher = _light_batcher()
    for item in "ab":
        batcher.submit(LIGHT, item, PEOPLE)
    first = take(batcher)
    assert items(first) == ["a", "b"], "no idle lane is left its share"
    with _another_lane(batcher) as others:
        for item in "cde":
            batcher.submit(LIGHT, item, PEOPLE)
        answer(first)
        assert (batcher.idle_lanes(LIGHT), batcher.idle_lanes(HEAVY)) == (0, 1), "it is free for others alone"
        second = take(batcher)
        assert items(second) == ["c", "d", "e"]
        assert others.empty()
        answer(second)


def test_other_items_do_not_wait_for_the_lane_that_is_on_light_ones() -> None:
    batcher = _light_batcher()
    batcher.submit(LIGHT, "a", PEOPLE)
    first = take(batcher)
    with _another_lane(batcher) as others:
        future = batcher.submit(HEAVY, "b", PEOPLE)
        assert future.result(PATIENCE) == "B"
        assert others.get(timeout=PATIENCE) == ["b"]
        answer(first)


def test_light_items_do_not_wait_for_a_lane_on_others() -> None:
    batcher = _light_batcher()
    batcher.submit(HEAVY, "a", PEOPLE)
    first = take(batcher)
    with _another_lane(batcher):
        assert batcher.submit(LIGHT, "b", PEOPLE).result(PATIENCE) == "B"
        answer(first)


def test_light_items_whose_lane_is_stuck_are_taken_by_another() -> None:
    clock = Clock()
    batcher = _light_batcher(clock)
    batcher.submit(LIGHT, "a", PEOPLE)
    stuck = take(batcher)
    with _another_lane(batcher) as others:
        future = batcher.submit(LIGHT, "b", PEOPLE)
        batcher.relieve(0.1)
        assert others.empty(), "it has not waited for long"
        clock.now += 0.2
        batcher.relieve(0.1)
        assert future.result(PATIENCE) == "B"
        answer(stuck)


def test_a_lane_that_dies_on_light_items_is_not_waited_for() -> None:
    batcher = _light_batcher()
    batcher.submit(LIGHT, "a", PEOPLE)
    fatal = take(batcher)
    with _another_lane(batcher):
        answer(fatal)
        batcher.leave()
        assert batcher.submit(LIGHT, "b", PEOPLE).result(PATIENCE) == "B"


def test_items_that_are_light_no_more_do_not_wait_for_the_lane_that_was_on_them() -> None:
    batcher = _light_batcher()
    batcher.submit(LIGHT, "a", PEOPLE)
    first = take(batcher)
    with _another_lane(batcher):
        waiting = [batcher.submit(LIGHT, item, PEOPLE) for item in "bc"]
        batcher.weigh(lambda key: 0.001)
        answer(first)
        own = take(batcher)
        (other,) = (future for future, item in zip(waiting, "bc", strict=True) if item not in items(own))
        assert other.result(PATIENCE)
        answer(own)


def test_ages_and_counts_are_those_of_the_waiting() -> None:
    clock = Clock()
    batcher: Batcher[Key, str, str] = Batcher(clock=clock)
    assert batcher.oldest_age() == 0.0
    submit(batcher, "r", priority=ROBOTS)
    clock.now += 3
    submit(batcher, "p")
    assert batcher.oldest_age() == 3.0
    assert (batcher.waiting(), batcher.waiting(PEOPLE), batcher.waiting(ROBOTS)) == (2, 1, 1)


def _lane(batcher: Batcher[Key, str, str], on_end: Callable[[], None]) -> threading.Thread:
    def work() -> None:
        while (batch := batcher.take()) is not None:
            answer(batch)
        on_end()

    lane = threading.Thread(target=work)
    lane.start()
    return lane


def taken(batcher: Batcher[Key, str, str]) -> list[str]:
    """The items of the next batch."""
    batch = batcher.take()
    assert batch is not None
    return [entry.item for entry in batch.entries]


@pytest.mark.parametrize("robots_key", [Key(16, "a"), Key(16, "b"), Key(1, "b")])
@pytest.mark.parametrize("share", [0.1, 0.25])
def test_robots_share_holds_whichever_model_they_ask(robots_key: Key, share: float) -> None:
    batcher, slots = make(bulk_share=share), Counter[str]()
    for _ in range(600):
        while batcher.waiting(PEOPLE) < 40:
            batcher.submit(Key(16, "a"), "person", PEOPLE)
        while batcher.waiting(ROBOTS) < 40:
            batcher.submit(robots_key, "robot", ROBOTS)
        slots.update(taken(batcher))
    assert slots["robot"] / slots.total() == pytest.approx(share, abs=0.02)


def test_robots_share_is_of_the_lanes_time() -> None:
    batcher, seconds = make(bulk_share=0.2), Counter[str]()
    cost = {"fast": 1, "slow": 20}
    batcher.weigh(lambda key: cost[key.name])
    for _ in range(4000):
        while batcher.waiting(PEOPLE) < 4:
            batcher.submit(Key(1, "fast"), "fast", PEOPLE)
        while batcher.waiting(ROBOTS) < 4:
            batcher.submit(Key(1, "slow"), "slow", ROBOTS)
        seconds.update({name: cost[name] for name in taken(batcher)})
    assert seconds["slow"] / seconds.total() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("priority", [PEOPLE, ROBOTS])
def test_models_share_the_lanes_time_evenly(priority: Priority) -> None:
    batcher, seconds = make(), Counter[str]()
    cost = {"fast": 0.01, "slow": 2.0}
    batcher.weigh(lambda key: cost[key.name])
    for _ in range(3000):
        for name in cost:
            while batcher.waiting_by_key(priority).get(Key(4, name), 0) < 8:
                batcher.submit(Key(4, name), name, priority)
        for name in taken(batcher):
            seconds[name] += cost[name]  # type: ignore[assignment]
    assert seconds["slow"] / sum(seconds.values()) == pytest.approx(0.5, abs=0.05)


def test_a_model_that_is_seldom_asked_is_next_however_long_the_others_queues_are() -> None:
    batcher = make()
    for _ in range(100):
        batcher.submit(Key(4, "busy"), "busy", PEOPLE)
    for _ in range(10):
        taken(batcher)
    for _ in range(3):
        batcher.submit(Key(4, "seldom"), "seldom", PEOPLE)
        assert taken(batcher) == ["seldom"]
        assert taken(batcher) == ["busy"] * 4


def test_who_was_away_has_saved_nothing_up() -> None:
    batcher = make()
    for _ in range(50):
        batcher.submit(Key(1, "steady"), "steady", PEOPLE)
        taken(batcher)
    for name in ["steady", "returned"] * 10:
        batcher.submit(Key(1, name), name, PEOPLE)
    assert Counter(name for _ in range(10) for name in taken(batcher)) == {"steady": 5, "returned": 5}


def test_robots_pay_nothing_for_slots_that_nobody_else_wanted() -> None:
    batcher = make(bulk_share=0.5)
    for _ in range(100):
        batcher.submit(Key(1), "robot", ROBOTS)
        taken(batcher)
    for name, priority in [("person", PEOPLE), ("robot", ROBOTS)] * 10:
        batcher.submit(Key(1), name, priority)
    assert Counter(name for _ in range(10) for name in taken(batcher)) == {"person": 5, "robot": 5}


HIGH, LOW = Flow("high", 9.0), Flow("low", 1.0)


@pytest.mark.parametrize("keys", [("a", "a"), ("a", "b")], ids=["of one model", "of two"])
@pytest.mark.parametrize("size", [1, 8])
def test_flows_share_the_lanes_time_by_their_weights(size: int, keys: tuple[str, str]) -> None:
    batcher, slots = make(), Counter[str]()
    waiting = Counter[str]()
    for _ in range(2000):
        for flow, name in zip((HIGH, LOW), keys, strict=True):
            while waiting[flow.name] < 2 * size:
                batcher.submit(Key(size, name), flow.name, ROBOTS, flow=flow)
                waiting[flow.name] += 1
        batch = taken(batcher)
        slots.update(batch)
        waiting.subtract(batch)
    assert slots["low"] / slots.total() == pytest.approx(0.1, abs=0.02)


def test_a_flow_that_waits_alone_has_everything_and_a_new_one_is_next() -> None:
    batcher = make()
    for number in range(8):
        batcher.submit(Key(2), f"low {number}", ROBOTS, flow=LOW)
    assert taken(batcher) == ["low 0", "low 1"]
    batcher.submit(Key(2), "high", ROBOTS, flow=HIGH)
    assert taken(batcher) == ["high", "low 2"]
    assert taken(batcher) == ["low 3", "low 4"]


def test_what_is_taken_back_leaves_its_flow() -> None:
    batcher = make()
    first = batcher.submit(Key(1), "high", ROBOTS, flow=HIGH)
    batcher.submit(Key(1), "low", ROBOTS, flow=LOW)
    first.cancel()
    assert batcher.waiting_by_key(ROBOTS) == {Key(1): 1}
    assert taken(batcher) == ["low"]
    assert batcher.waiting() == 0
