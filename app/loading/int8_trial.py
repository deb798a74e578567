"""A model's answers in two precisions, compared on pictures: how alike they are, and how long each takes.

Where others are served meanwhile, memory is dear: the two are opened one after the other, each is closed before the
next, and what the C library keeps of it is given back.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, NamedTuple

from app.core.model import Model
from app.core.request import AdmittedRequest, InferenceRequest
from app.engines.base import IntegerEngine, Precision
from app.host import allocator
from app.loading.verdicts import Verdict
from app.vision import agreement, image
from app.vision.agreement import Agreement
from app.vision.tasks import Options

ALIKE = 0.95
"""The part of what is found that must be the same: scores near a threshold fall on either side of it. Of the bundled
model's examples 0.975 are with VNNI, and 0.925 where it is masked and sums saturate (OpenVINO, ONEDNN_MAX_CPU_ISA).
"""
INTEGER_LAYERS = 0.5
"""The part of convolutions and matrix products that must be computed in integers."""

Opener = Callable[[Precision], Model]
"""Opens a model in a precision; whoever calls it closes the model."""
Clock = Callable[[], float]
"""Seconds since whenever; only differences count."""


class Answer(NamedTuple):
    """What a model found in a picture, and the seconds that the network took."""

    prediction: Any
    seconds: float


class Compared(NamedTuple):
    """One picture's answers in two precisions: how alike, and the seconds that the network took in each."""

    agreement: Agreement
    exact_seconds: float
    other_seconds: float


def compare(exact: Model, other: Model, pictures: Sequence[bytes]) -> Iterator[Compared]:
    """The answers of two models of one manifest to the same pictures, in turns, so that both meet the same machine."""
    for picture in pictures:
        yield _compared(answer(exact, picture), answer(other, picture))


def answer(model: Model, picture: bytes, clock: Clock = time.perf_counter) -> Answer:
    """A model's answer to one picture, timed by `clock`; raises `InvalidImage` where it is none."""
    admitted = AdmittedRequest(InferenceRequest(picture, request_id="comparison"), image.read_header(picture))
    buffer = model.empty_batch()
    try:
        row = model.rows_for(buffer[:1], admitted)
        placement = model.prepare_row(admitted, row[0])
        started = clock()
        (rows,) = model.compute(row)
        seconds = clock() - started
    finally:
        model.give_back(buffer)
    return Answer(model.task.finish(rows, placement, Options()), seconds)


def try_int8(open_in: Opener, pictures: Sequence[bytes], instructions: str, clock: Clock) -> Verdict:
    """Whether int8 answers these pictures as fp32 does, and faster by `clock`.

    Raises what `open_in` raises, `InvalidImage` where a picture is none, and `EngineFailure`.
    """
    integer, layers, others = _quantized(open_in, pictures, clock)
    allocator.give_back()
    if integer < INTEGER_LAYERS * layers:
        return Verdict(False, f"only {integer} of {layers} layers would be computed in integers")
    found = list(map(_compared, _exact(open_in, pictures, clock), others))
    allocator.give_back()
    total = sum((each.agreement for each in found), Agreement())
    part = min(each.other_seconds for each in found) / min(each.exact_seconds for each in found)
    told = f"{total.same} of {total.compared} answers to {len(pictures)} example pictures are those of fp32"
    if total.share < ALIKE:
        return Verdict(False, f"only {told}")
    if part >= 1:
        return Verdict(False, f"it takes {part:.2f} of the time of fp32 here")
    return Verdict(
        True, f"{told}, in {part:.2f} of its time; {integer} of {layers} layers in integers, by {instructions}"
    )


def _quantized(open_in: Opener, pictures: Sequence[bytes], clock: Clock) -> tuple[int, int, list[Answer]]:
    """How many of how many layers are integers', and the answers where those are enough."""
    with closing(open_in("int8")) as model:
        assert isinstance(model.engine, IntegerEngine)
        integer, layers = model.engine.integer_layers()
        enough = integer >= INTEGER_LAYERS * layers
        return integer, layers, _answers(model, pictures, clock) if enough else []


def _exact(open_in: Opener, pictures: Sequence[bytes], clock: Clock) -> list[Answer]:
    with closing(open_in("fp32")) as model:
        return _answers(model, pictures, clock)


def _answers(model: Model, pictures: Sequence[bytes], clock: Clock) -> list[Answer]:
    buffer = model.empty_batch()
    model.warm_up_batch(buffer[:1])
    model.give_back(buffer)
    return [answer(model, picture, clock) for picture in pictures]


def _compared(exact: Answer, other: Answer) -> Compared:
    return Compared(agreement.compare(exact.prediction, other.prediction), exact.seconds, other.seconds)
