"""Permits: bulk leaves room for people, a model for others, a caller for others, and nothing is refused for ever."""

import contextlib
from contextlib import ExitStack

import pytest

from app.core.admission import Admission, Budget, Permit
from app.core.request import Priority
from app.errors import Overloaded

PEOPLE, BULK = Priority.INTERACTIVE, Priority.BULK


def permits(admission: Admission, held: ExitStack, priority: Priority, count: int = 1) -> list[Permit]:
    return [held.enter_context(admission.permit(priority)) for _ in range(count)]


def test_bulk_leaves_a_quarter_to_people() -> None:
    admission = Admission(Budget(4, 1000, 1000))
    with ExitStack() as held:
        for permit in permits(admission, held, BULK, 3):
            permit.take_picture("model", 10)
        assert (admission.free(BULK), admission.free(PEOPLE)) == (0, 1)
        robot, person = *permits(admission, held, BULK), *permits(admission, held, PEOPLE)
        with pytest.raises(Overloaded, match="pictures"):
            robot.take_picture("model", 10)
        person.take_picture("model", 10)
        assert admission.used == Budget(4, 0, 40)
    assert admission.used == Budget(0, 0, 0)


def test_a_permit_holds_all_that_it_took_until_its_block_is_left_whatever_happened() -> None:
    admission = Admission(Budget(4, 1000, 1000))
    with contextlib.suppress(ZeroDivisionError), admission.permit(PEOPLE, "robot-7") as permit:
        permit.take_bytes(100)
        permit.take_bytes(50)
        permit.give_back_bytes(30)
        permit.take_picture("model", 10)
        assert admission.used == Budget(1, 120, 10)
        raise ZeroDivisionError
    assert admission.used == Budget(0, 0, 0)


def test_no_more_is_given_back_than_was_taken() -> None:
    admission = Admission(Budget(4, 1000, 1000))
    with admission.permit(PEOPLE) as permit, admission.permit(PEOPLE) as other:
        other.take_bytes(100)
        permit.take_bytes(10)
        permit.give_back_bytes(60)
        assert admission.used.image_bytes == 100


@pytest.mark.parametrize("priority", [PEOPLE, BULK])
def test_what_alone_exceeds_its_ceiling_is_admitted_where_nobody_else_holds_any(priority: Priority) -> None:
    admission = Admission(Budget(1, 1000, 1000))
    with admission.permit(priority, "lonely") as first, admission.permit(priority, "later") as second:
        first.take_bytes(500)
        first.take_bytes(500)
        first.take_picture("model", 1000)
        assert admission.used == Budget(1, 1000, 1000)
        with pytest.raises(Overloaded, match="bytes"):
            second.take_bytes(1)
        with pytest.raises(Overloaded, match="pictures"):
            second.take_picture("model", 0)


def test_what_exceeds_the_whole_budget_is_never_admitted() -> None:
    admission = Admission(Budget(1, 10, 10))
    with admission.permit(PEOPLE) as permit:
        with pytest.raises(Overloaded, match="bytes"):
            permit.take_bytes(11)
        with pytest.raises(Overloaded, match="pixels"):
            permit.take_picture("model", 11)
    assert admission.used == Budget(0, 0, 0)


def test_of_several_models_none_holds_all_places() -> None:
    admission = Admission(Budget(8, 1000, 1000))
    with ExitStack() as held:
        for permit in permits(admission, held, PEOPLE, 6):
            permit.take_picture("slow", 1, shared=True)
        (next_one,) = permits(admission, held, PEOPLE)
        with pytest.raises(Overloaded, match="this model"):
            next_one.take_picture("slow", 1, shared=True)
        next_one.take_picture("fast", 1, shared=True)
        next_one.take_picture("fast", 1, shared=True)
        assert admission.used.pictures == 8


def test_a_single_model_may_hold_them_all() -> None:
    admission = Admission(Budget(8, 1000, 1000))
    with admission.permit(PEOPLE) as permit:
        for _ in range(8):
            permit.take_picture("only", 1)


def test_a_caller_leaves_room_for_the_next_however_many_there_are() -> None:
    admission = Admission(Budget(100, 1 << 20, 1000))
    with ExitStack() as held:
        for number in range(5):
            fill(admission, held, f"greedy-{number}")
            held.enter_context(admission.permit(PEOPLE, f"modest-{number}")).take_bytes(1 << 10)


def fill(admission: Admission, held: ExitStack, caller: str) -> None:
    """Send bodies of 10 KiB until one is refused."""
    for _ in range(200):
        permit = held.enter_context(admission.permit(PEOPLE, caller))
        try:
            permit.take_bytes(10 << 10)
        except Overloaded:
            return
    raise AssertionError("nothing was refused")


def test_a_callers_requests_count_together_and_bytes_given_back_count_no_more() -> None:
    admission = Admission(Budget(100, 1000, 1000))
    with admission.permit(PEOPLE, "one") as other, admission.permit(PEOPLE, "two") as first:
        other.take_bytes(10)
        first.take_bytes(700)
        with admission.permit(PEOPLE, "two") as second:
            with pytest.raises(Overloaded, match="Your own"):
                second.take_bytes(150)
            first.give_back_bytes(400)
            second.take_bytes(150)


def test_a_refusal_says_when_to_come_again() -> None:
    admission = Admission(Budget(1, 10, 10), retry_after=lambda: 9.0)
    with admission.permit(BULK) as permit, pytest.raises(Overloaded) as refused:
        permit.take_bytes(11)
    assert refused.value.retry_after == 9.0
