"""Every error that a caller can meet has a status."""

import grpc
import pytest

from app import errors
from app.rpc.statuses import MOST_DETAILS, STATUS, details, trailing


def kinds(base: type[errors.RequestError]) -> set[type[errors.RequestError]]:
    return {base}.union(*(kinds(each) for each in base.__subclasses__()))


def test_every_error_has_a_status() -> None:
    abstract = {errors.RequestError, errors.CallerError}
    assert STATUS.keys() == kinds(errors.RequestError) - kinds(errors.MessageError) - abstract


@pytest.mark.parametrize("kind", STATUS)
def test_what_can_be_tried_again_is_not_said_to_be_the_callers_fault(kind: type[errors.RequestError]) -> None:
    if kind.retryable:
        assert STATUS[kind] is not grpc.StatusCode.INVALID_ARGUMENT


def test_a_status_tells_when_to_try_again_and_stays_short() -> None:
    error = errors.Overloaded("x" * 10_000, retry_after=1.2)
    assert len(details(error)) == MOST_DETAILS
    assert dict(trailing(error, "id")) == {
        "code": "overloaded",
        "retryable": "true",
        "retry-after": "2",
        "x-request-id": "id",
    }
