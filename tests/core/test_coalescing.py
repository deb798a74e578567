"""ResultCoalescer that travel together: never late by much, never left behind."""

import threading
from concurrent.futures import Future

from app.core.batch import Batch
from app.core.batcher import Batcher
from app.core.coalescing import COMPANY
from app.core.request import Deadline, Priority
from tests.fixtures.waiting import until

PEOPLE, ROBOTS = Priority.INTERACTIVE, Priority.BULK


class Key:
    max_batch_size = 1


KEY = Key()


def submit(batcher: Batcher[Key, int, int], count: int, priority: Priority = PEOPLE) -> list["Future[int]"]:
    return [batcher.submit(KEY, number, priority) for number in range(count)]


def answer_next(batcher: Batcher[Key, int, int]) -> None:
    batch = batcher.take()
    assert batch is not None
    answer(batch)


def answer(batch: Batch[Key, int, int]) -> None:
    with batch:
        batch.entries[0].answer(batch.entries[0].item)


def done(futures: list["Future[int]"]) -> list[bool]:
    return [future.done() for future in futures]


def test_where_many_wait_answers_go_out_together_and_in_order() -> None:
    batcher: Batcher[Key, int, int] = Batcher()
    arrived: list[int] = []
    futures = submit(batcher, 2 * COMPANY + 1)
    for number, future in enumerate(futures):
        future.add_done_callback(lambda _, number=number: arrived.append(number))
    answer_next(batcher)
    assert arrived == [], "twice as many wait as one held answer needs"
    answer_next(batcher)
    assert arrived == [0, 1]


def test_where_few_wait_nobody_waits_for_company() -> None:
    batcher: Batcher[Key, int, int] = Batcher()
    futures = submit(batcher, COMPANY)
    answer_next(batcher)
    assert done(futures[:2]) == [True, False]


def test_only_pictures_of_the_same_priority_count_as_company() -> None:
    batcher: Batcher[Key, int, int] = Batcher()
    submit(batcher, 10 * COMPANY, ROBOTS)
    (person,) = submit(batcher, 1)
    answer_next(batcher)
    assert person.done()


def test_an_answer_whose_deadline_is_near_is_not_held() -> None:
    now = [1000.0]
    batcher: Batcher[Key, int, int] = Batcher(clock=lambda: now[0])
    urgent = batcher.submit(KEY, 0, PEOPLE, Deadline(now[0] + 10))
    patient = batcher.submit(KEY, 1, PEOPLE, Deadline(now[0] + 100))
    submit(batcher, 4 * COMPANY)
    now[0] += 6
    answer_next(batcher)
    assert urgent.done(), "it has waited longer than is left"
    answer_next(batcher)
    assert not patient.done()


def test_no_lane_sleeps_on_an_answer() -> None:
    batcher: Batcher[Key, int, int] = Batcher()
    first, *others = submit(batcher, 2 * COMPANY)
    answer_next(batcher)
    assert not first.done()
    for future in others:
        future.cancel()
    lane = threading.Thread(target=batcher.take, daemon=True)
    lane.start()
    until(first.done)
    batcher.close()
    lane.join()


def test_an_error_is_told_at_once_and_a_second_answer_is_dropped() -> None:
    batcher: Batcher[Key, int, int] = Batcher()
    futures = submit(batcher, 3 * COMPANY)
    batch = batcher.take()
    assert batch is not None
    with batch:
        batch.entries[0].fail(ValueError("no"))
        batch.entries[0].answer(0)
    assert isinstance(futures[0].exception(0), ValueError)
    held = batcher.take()
    assert held is not None
    with held:
        held.entries[0].answer(1)
        held.entries[0].fail(ValueError("too late"))
    batcher.release_answers()
    assert futures[1].result(0) == 1
