"""What comes instead of an answer."""

from collections.abc import Sequence

import httpx

from app.wire.prediction import Prediction

RETRIED = frozenset({429, 503})
"""The caller's rate is used up; there is no room, or the service is loading or stopping."""


class ServiceError(Exception):
    """The service gave no answer that can be used.

    Where it ended `predict_many`, `answers` are those that had come, to the first of its pictures in their order, and
    `missing` the places of the pictures that have none.
    """

    answers: "Sequence[Prediction | Refused]" = ()
    missing: Sequence[int] = ()


class Unreachable(ServiceError):
    """Nothing could be asked, or nothing came back, until there was no time left to try again."""


class Refused(ServiceError):
    """The service said why there is no answer; its text is the service's own.

    `status` is HTTP's, or a picture's own among several; `code` is stable, and empty where something before the service
    answered; `retryable` says whether the same may succeed later; `request_id` finds the request in the service's log.
    """

    def __init__(
        self, detail: str, *, status: int, code: str = "", retryable: bool = False, request_id: str = ""
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.retryable = retryable
        self.request_id = request_id


def keep(error: ServiceError, answers: "Sequence[Prediction | Refused]", total: int) -> None:
    """Put the answers that had come to some of so many pictures into the error that ended the call, and say so."""
    error.answers, error.missing = answers, range(len(answers), total)
    if answers and error.missing:
        places = f"{len(answers)} to {total - 1}" if len(error.missing) > 1 else str(len(answers))
        error.args = (
            f"{error} {len(answers)} of {total} pictures are answered (`answers` of this error); counted from 0, "
            f"{places} {'are' if len(error.missing) > 1 else 'is'} missing.",
        )


def refusal(response: httpx.Response) -> Refused:
    """What a response that is no answer says; a proxy's page of HTML becomes its status."""
    try:
        told = response.json()
        return from_problem(told)
    except (ValueError, KeyError, TypeError):
        words = f"{response.url.host} answered {response.status_code} {response.reason_phrase}".rstrip()
        return Refused(words, status=response.status_code, retryable=response.status_code in RETRIED)


def from_problem(told: dict[str, object]) -> Refused:
    """A problem (RFC 9457) as an error; raises `KeyError`, `TypeError` or `ValueError` for what is none."""
    status = told["status"]
    if not isinstance(status, int):
        raise TypeError("a status is a number")
    return Refused(
        str(told["detail"]),
        status=status,
        code=str(told.get("code", "")),
        retryable=bool(told.get("retryable", False)),
        request_id=str(told.get("request_id", "")),
    )
