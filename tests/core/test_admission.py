"""Budgets: bulk leaves room for people, and nothing is refused for ever."""

from contextlib import ExitStack

import pytest

from app.core.admission import Admission, Budget
from app.core.request import Priority
from app.errors import Overloaded


def soon() -> float:
    return 1.0


def test_bulk_leaves_a_quarter_to_people() -> None:
    admission = Admission(Budget(4, 1000, 1000))
    one = Budget(1, 10, 10)
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(admission.permit(one, Priority.BULK, soon))
        assert (admission.free(Priority.BULK), admission.free(Priority.INTERACTIVE)) == (0, 1)
        with pytest.raises(Overloaded, match="pictures"), admission.permit(one, Priority.BULK, soon):
            pass
        with admission.permit(one, Priority.INTERACTIVE, soon):
            assert admission.used.pictures == 4
    assert admission.used == Budget(0, 0, 0)


@pytest.mark.parametrize("wanted", [Budget(1, 0, 0), Budget(0, 1000, 0), Budget(0, 0, 1000)])
def test_what_alone_exceeds_bulks_ceiling_is_admitted_where_that_budget_is_free(wanted: Budget) -> None:
    admission = Admission(Budget(1, 1000, 1000))
    others = Budget(0 if wanted.pictures else 1, 0 if wanted.image_bytes else 500, 0 if wanted.pixels else 500)
    with ExitStack() as held:
        held.enter_context(admission.permit(others, Priority.INTERACTIVE, soon))
        held.enter_context(admission.permit(wanted, Priority.BULK, soon))
        with pytest.raises(Overloaded), admission.permit(wanted, Priority.BULK, soon):
            pass


def test_what_exceeds_the_whole_budget_is_never_admitted() -> None:
    with pytest.raises(Overloaded), Admission(Budget(1, 10, 10)).permit(Budget(1, 11, 1), Priority.INTERACTIVE, soon):
        pass
