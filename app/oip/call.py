"""What a caller asks for, read from either notation, and what it is answered."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from app.core.request import Deadline, Priority
from app.engines.base import Array
from app.errors import InvalidRequest
from app.oip.datatypes import BYTES, from_base64
from app.wire.options import RequestOptions
from app.wire.stickiness import MOST_CHARACTERS
from app.wire.stickiness import PARAMETER as STICKY

Parameters = Mapping[str, Any]

LOWEST_INTERACTIVE = 1
"""Triton's priorities: 0 is the model's own, 1 the highest; what is lower than that is bulk here."""
LEAST_TIMEOUT = 1000
"""Microseconds. Nothing is answered in less, so that what is less is not meant: tritony sends its 30 seconds as 30.
Triton itself obeys no timeout, unless its model's configuration says so.
"""
_IGNORED = ("binary_data_output", "content_type", "headers", "triton_enable_empty_final_response")
"""Read elsewhere, or said by clients (MLServer's, Triton's) of what makes no difference here."""
_SEQUENCE = ("sequence_id", "sequence_start", "sequence_end")
_OURS = tuple(RequestOptions.model_fields)


@dataclass(frozen=True, slots=True)
class InputTensor:
    """A tensor as it was sent; of BYTES `content` is an array of `bytes` objects, else of numbers."""

    name: str
    datatype: str
    content: Array


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that is wanted; with `class_count`, so many of its best classes instead of its values."""

    name: str
    class_count: int = 0
    binary: bool | None = None


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a request's parameters say."""

    options: RequestOptions = field(default_factory=RequestOptions)
    priority: Priority = Priority.INTERACTIVE
    deadline: Deadline | None = None
    sticky: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One inference request. Without `outputs`, all are wanted; `binary` says that of those which do not say so
    themselves, the bytes are wanted and not JSON.
    """

    model: str
    version: str | None
    id: str
    wishes: Wishes
    inputs: Sequence[InputTensor]
    outputs: Sequence[RequestedOutput]
    binary: bool = False


@dataclass(frozen=True, slots=True)
class OutputTensor:
    """A tensor of an answer, as the rows that it is made of; of BYTES they hold `bytes` or `str`."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    rows: Sequence[Array]


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a `Call`."""

    model: str
    version: str
    id: str
    outputs: Sequence[OutputTensor]


def input_tensor(name: str, datatype: str, content: Array, content_type: object) -> InputTensor:
    """A tensor as the caller meant it: BYTES whose `content_type` is MLServer's word base64 are what that spells.

    Raises `InvalidRequest` where they are no base64.
    """
    if datatype == BYTES and content_type == "base64":
        content = from_base64(name, content)
    return InputTensor(name, datatype, content)


def read_wishes(parameters: Parameters, arrived: float) -> Wishes:
    """Options, priority and deadline; that counts from `arrived`, a moment of the monotonic clock.

    Raises `InvalidRequest` for what is not known, or not of its form.
    """
    ours = {name: value for name, value in parameters.items() if name in _OURS}
    for name, value in parameters.items():
        if name in _SEQUENCE:
            _refuse_sequence(name, value)
        elif name not in ours and name not in (*_IGNORED, "priority", "timeout", STICKY):
            known = ", ".join(("priority", "timeout", STICKY, *_OURS))
            raise InvalidRequest(f"There is no parameter {name[:50]!r}. There are {known}.")
    try:
        options = RequestOptions.model_validate(ours)
    except ValidationError as error:
        raise InvalidRequest(_words("parameters", error)) from None
    priority, deadline = _priority(parameters.get("priority", 0)), _deadline(parameters, options, arrived)
    return Wishes(options, priority, deadline, _sticky(parameters.get(STICKY)))


def unique(names: Iterable[str], what: str) -> None:
    """Raises `InvalidRequest` where a name comes twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidRequest(f"The {what} {name[:50]!r} is there twice.")
        seen.add(name)


def _words(place: str, error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{place}.{'.'.join(map(str, first['loc']))}: {first['msg']}."


def _refuse_sequence(name: str, value: object) -> None:
    if value not in (0, "", False, None):
        raise InvalidRequest(f"The parameter {name} asks for a sequence; models here keep no state between requests.")


def _priority(value: object) -> Priority:
    if isinstance(value, str) and value in tuple(Priority):
        return Priority(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Priority.INTERACTIVE if value <= LOWEST_INTERACTIVE else Priority.BULK
    raise InvalidRequest("The parameter priority is 0 or 1 (interactive), more (bulk), or one of these words.")


def _sticky(value: object) -> str | None:
    if value is None or (isinstance(value, str) and 0 < len(value) <= MOST_CHARACTERS):
        return value
    raise InvalidRequest(f"The parameter {STICKY} is a text of 1 to {MOST_CHARACTERS} characters, as a robot's name.")


def _deadline(parameters: Parameters, options: RequestOptions, arrived: float) -> Deadline | None:
    """`timeout` is Triton's, in microseconds; `deadline_ms` ours."""
    timeout = parameters.get("timeout") or 0
    if not isinstance(timeout, int) or isinstance(timeout, bool) or not 0 <= timeout <= 2**63:
        raise InvalidRequest("The parameter timeout is a whole number of microseconds.")
    if timeout and options.deadline_ms is not None:
        raise InvalidRequest("The parameters timeout and deadline_ms say the same; send one of them.")
    if timeout >= LEAST_TIMEOUT:
        return Deadline(arrived + timeout / 1e6)
    return None if options.deadline_ms is None else Deadline(arrived + options.deadline_ms / 1e3)
