"""One table says what becomes of a message; every error has its row."""

from collections.abc import Iterator
from itertools import pairwise

import pytest

from app import errors
from app.servicebus.settlement import MOST_DELAY, VERBS, Verb, delay_before_abandoning, settlement_for


def kinds(base: type[errors.RequestError]) -> Iterator[type[errors.RequestError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from kinds(kind)


def test_the_table_knows_every_error_and_no_other() -> None:
    of_http_alone = {errors.CallerError, *kinds(errors.CallerError)}
    assert set(VERBS) == set(kinds(errors.RequestError)) - {errors.MessageError} - of_http_alone


@pytest.mark.parametrize("kind", VERBS)
def test_what_may_succeed_later_is_never_dead_lettered(kind: type[errors.RequestError]) -> None:
    if kind is errors.DeadlineExceeded:  # trying again helps whoever asks anew, with a new deadline
        assert VERBS[kind] is Verb.DEAD_LETTER
    else:
        assert kind.retryable == (VERBS[kind] is not Verb.DEAD_LETTER)


def test_an_operator_reads_the_error_and_its_text() -> None:
    settlement = settlement_for(errors.InvalidImage("The JPEG is cut short."))
    assert (settlement.verb, settlement.reason) == (Verb.DEAD_LETTER, "InvalidImage")
    assert settlement.description == "The JPEG is cut short."


def test_descriptions_are_bounded() -> None:
    assert len(settlement_for(errors.InvalidMessage("x" * 10_000)).description) <= 1024


def test_a_message_is_kept_twice_as_long_before_each_return() -> None:
    delays = [delay_before_abandoning(count) for count in range(12)]
    assert all(later == min(MOST_DELAY, 2 * earlier) for earlier, later in pairwise(delays))
    assert delays[-1] == MOST_DELAY


@pytest.mark.parametrize("kind", [errors.Draining, errors.Loading, errors.Overloaded])
def test_what_nobody_has_tried_uses_up_no_delivery(kind: type[errors.RequestError]) -> None:
    assert settlement_for(kind("later")).verb is Verb.RELEASE
