"""Memory for decoded pictures: never more than the limit, first come first served, and always given back."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.core.working_memory import WorkingMemory
from tests.fixtures.waiting import until


def test_no_more_is_held_than_the_limit_however_many_ask() -> None:
    memory, most, lock = WorkingMemory(100), [0], threading.Lock()
    held = [0]

    def work(size: int) -> None:
        with memory.hold(size):
            with lock:
                held[0] += size
                most[0] = max(most[0], held[0])
            with lock:
                held[0] -= size

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(work, [1 + number * 7 % 60 for number in range(2000)]))
    assert 0 < most[0] <= 100
    assert memory.held == 0


def test_a_large_one_is_not_overtaken_for_ever() -> None:
    memory, order, first = WorkingMemory(100), list[str](), threading.Event()

    def hold_first() -> None:
        with memory.hold(60):
            first.wait(10)

    def work(name: str, size: int) -> None:
        with memory.hold(size):
            order.append(name)

    threads = [threading.Thread(target=hold_first)]
    threads[0].start()
    until(lambda: memory.held == 60)
    threads.append(threading.Thread(target=work, args=("large", 90)))
    threads[1].start()
    until(memory._turn.locked)
    threads.append(threading.Thread(target=work, args=("small", 10)))
    threads[2].start()
    first.set()
    for thread in threads:
        thread.join(10)
    assert order == ["large", "small"]


def test_what_exceeds_the_limit_has_it_all_for_itself() -> None:
    memory = WorkingMemory(100)
    with memory.hold(1000):
        assert memory.held == 100


def test_it_is_given_back_whatever_happens() -> None:
    memory = WorkingMemory(100)
    with pytest.raises(MemoryError), memory.hold(70):
        raise MemoryError
    with memory.hold(100):
        assert memory.held == 100
