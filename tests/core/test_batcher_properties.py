"""Under any mixture of arrivals, cancellations, failures and lanes, every waiter gets exactly one answer, its own."""

import threading
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.batcher import Batcher
from app.core.request import Deadline, Priority
from app.errors import DeadlineExceeded, Draining, EngineFailure

PATIENCE = 20.0


@dataclass(frozen=True)
class Key:
    name: str
    max_batch_size: int


@dataclass(frozen=True)
class Arrival:
    key: Key
    priority: Priority
    cancel: bool
    expired: bool
    poison: bool
    forgotten: bool


KEYS = (Key("a", 1), Key("b", 3), Key("c", 4))

arrivals = st.lists(
    st.builds(
        Arrival,
        key=st.sampled_from(KEYS),
        priority=st.sampled_from(Priority),
        cancel=st.booleans(),
        expired=st.sampled_from([False, False, False, True]),
        poison=st.sampled_from([False, False, False, True]),
        forgotten=st.sampled_from([False, False, False, True]),
    ),
    max_size=40,
)


def _lane(batcher: "Batcher[Key, tuple[int, Arrival], int]", seen: list[int]) -> None:
    while (batch := batcher.take()) is not None:
        with batch:
            assert len(batch) <= batch.key.max_batch_size
            assert all(entry.key == batch.key for entry in batch.entries)
            for entry in batch.entries:
                number, arrival = entry.item
                seen.append(number)
                if arrival.poison:
                    entry.fail(EngineFailure("poison"))
                elif not arrival.forgotten:
                    entry.answer(number)


@settings(max_examples=150, deadline=None)
@given(
    arrivals=arrivals,
    lanes=st.integers(1, 4),
    share=st.sampled_from([0.0, 0.1, 0.5]),
    light=st.sets(st.sampled_from("abc")),
    drain=st.booleans(),
)
def test_every_waiter_is_answered_exactly_once_with_its_own_result(
    arrivals: list[Arrival], lanes: int, share: float, light: set[str], drain: bool
) -> None:
    batcher: Batcher[Key, tuple[int, Arrival], int] = Batcher(share)
    batcher.weigh(lambda key: 1.0, lambda key: key.name in light)
    seen: list[int] = []
    threads = [threading.Thread(target=_lane, args=(batcher, seen)) for _ in range(lanes)]
    for thread in threads:
        thread.start()
    answers = [0] * len(arrivals)
    futures: list[Future[int]] = []
    for number, arrival in enumerate(arrivals):
        deadline = Deadline.after(-1.0) if arrival.expired else None
        future = batcher.submit(arrival.key, (number, arrival), arrival.priority, deadline)
        future.add_done_callback(lambda _, number=number: answers.__setitem__(number, answers[number] + 1))
        futures.append(future)
        if arrival.cancel:
            future.cancel()
    batcher.close()
    if drain:
        batcher.refuse_waiting()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    for number, (arrival, future) in enumerate(zip(arrivals, futures, strict=True)):
        _check(number, arrival, future, refusals=drain)
    assert answers == [1] * len(arrivals)
    assert len(seen) == len(set(seen)), "no item is computed twice"
    assert batcher.waiting() == 0


def _check(number: int, arrival: Arrival, future: "Future[int]", *, refusals: bool) -> None:
    assert future.done()
    if future.cancelled():
        assert arrival.cancel
        return
    try:
        error = future.exception(0)
    except CancelledError:
        assert arrival.cancel
        return
    if error is None:
        assert future.result(0) == number
        spoiled = arrival.expired or arrival.poison or arrival.forgotten
        assert not spoiled
    elif isinstance(error, DeadlineExceeded):
        assert arrival.expired
    elif isinstance(error, Draining):
        assert refusals
    else:
        assert isinstance(error, EngineFailure)
        assert arrival.poison or arrival.forgotten
