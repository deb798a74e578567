"""What a model is computed in, and why: what the manifest lists, the engine can, and this machine is good at.

Eight bits are a file of their own, and are chosen only after a trial: the processor must have the instructions, most
layers must really be computed in integers, and the answers to the pictures that ship with the model must be those of
fp32, in less time. What fails that is computed in the next best precision, and `/v1/models` says why.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from app.core.model import Model
from app.core.request import AdmittedRequest, InferenceRequest
from app.engines import catalog
from app.engines.base import EngineName, IntegerEngine, Precision
from app.engines.devices import Device
from app.errors import EngineUnavailable, RooError
from app.host import cpu
from app.loading.serving import PrecisionChoice
from app.repository.repository import ModelEntry, example_pictures
from app.vision import agreement, image
from app.vision.agreement import Agreement
from app.vision.tasks import Options

log = logging.getLogger(__name__)

PICTURES = 4
"""So many of the examples are tried, each in both precisions."""
ALIKE = 0.95
"""The part of what is found that must be the same: scores near a threshold fall on either side of it. Of the bundled
model's examples 0.975 are with VNNI, and 0.925 where it is masked and sums saturate (OpenVINO, ONEDNN_MAX_CPU_ISA).
"""
INTEGER_LAYERS = 0.5
"""The part of convolutions and matrix products that must be computed in integers."""

Opener = Callable[[Precision], Model]
"""Opens a model in a precision; whoever calls it closes the model."""


class Compared(NamedTuple):
    """One picture's answers in two precisions: how alike, and the seconds that the network took in each."""

    agreement: Agreement
    exact_seconds: float
    other_seconds: float


def choose(
    entry: ModelEntry, path: Path, engine: EngineName, device: Device, asked: str, open_in: Opener
) -> PrecisionChoice:
    """The precision that was `asked` for or, with `auto`, the fastest of what the manifest lists and the engine can.

    `path` is the version's model file. Raises `EngineUnavailable` where what was asked for is impossible.
    """
    able, listed = catalog.precisions(engine, device), entry.manifest.precisions
    if asked != "auto":
        return _asked_for(entry, engine, device, asked, able)
    others = [precision for precision in able if precision in listed and precision != "int8"]
    choice = PrecisionChoice(others[0] if others else "fp32", "the fastest that manifest, engine and device allow")
    if "int8" not in listed:
        return choice
    problem, praise = _try_int8(entry, path, able, open_in)
    if problem is None:
        return PrecisionChoice("int8", praise)
    log.info("%s is not computed in int8: %s", entry.name, problem)
    return PrecisionChoice(choice.precision, f"not int8: {problem}")


def compare(exact: Model, other: Model, pictures: list[bytes]) -> Iterator[Compared]:
    """The answers of two models of one manifest to the same pictures, in turns, so that both meet the same machine."""
    row = exact.empty_batch()[:1]
    for picture in pictures:
        admitted = AdmittedRequest(InferenceRequest(picture, request_id="comparison"), image.read_header(picture))
        placement = exact.prepare_row(admitted, row[0])
        found, seconds = [], []
        for model in (exact, other):
            started = time.perf_counter()
            (rows,) = model.compute(row)
            seconds.append(time.perf_counter() - started)
            found.append(model.task.finish(rows, placement, Options()))
        yield Compared(agreement.compare(*found), *seconds)


def _asked_for(
    entry: ModelEntry, engine: EngineName, device: Device, asked: str, able: tuple[Precision, ...]
) -> PrecisionChoice:
    precision = next((precision for precision in able if precision == asked), None)
    if precision is None:
        raise EngineUnavailable(
            f"ROO_PRECISION={asked}: the engine {engine} cannot compute in it on {device.name}; it can in "
            f"{', '.join(able)}."
        )
    if precision not in entry.manifest.precisions:
        log.warning("%s computes in %s, which its manifest does not list", entry.name, precision)
    if precision == "int8" and cpu.integer_instructions() is None:
        log.warning(
            "%s computes in int8, for which this processor has no instructions: its sums may be wrong", entry.name
        )
    return PrecisionChoice(precision, f"ROO_PRECISION={asked}")


def _try_int8(entry: ModelEntry, path: Path, able: tuple[Precision, ...], open_in: Opener) -> tuple[str | None, str]:
    """What speaks against it, or None, and what speaks for it."""
    if "int8" not in able:
        return "the engine cannot compute in it on this device", ""
    instructions = cpu.integer_instructions()
    if instructions is None:
        return "this processor has no instructions for it that are known (AVX512-VNNI, AVX-VNNI, AMX, ARMv8.2's)", ""
    pictures = example_pictures(path)[:PICTURES]
    if not pictures:
        return "there are no pictures in the model's folder `examples` to compare its answers on", ""
    try:
        with closing(open_in("fp32")) as exact, closing(open_in("int8")) as quantized:
            return _verdict(exact, quantized, [picture.read_bytes() for picture in pictures], instructions)
    except (RooError, OSError) as error:
        return f"it could not be tried: {error}", ""


def _verdict(exact: Model, quantized: Model, pictures: list[bytes], instructions: str) -> tuple[str | None, str]:
    assert isinstance(quantized.engine, IntegerEngine)
    integer, layers = quantized.engine.integer_layers()
    if integer < INTEGER_LAYERS * layers:
        return f"only {integer} of {layers} layers would be computed in integers", ""
    for model in (exact, quantized):
        model.warm_up_batch(exact.empty_batch()[:1])
    found = list(compare(exact, quantized, pictures))
    total = sum((each.agreement for each in found), Agreement())
    part = min(each.other_seconds for each in found) / min(each.exact_seconds for each in found)
    told = f"{total.same} of {total.compared} answers to {len(pictures)} example pictures are those of fp32"
    if total.share < ALIKE:
        return f"only {told}", ""
    if part >= 1:
        return f"it takes {part:.2f} of the time of fp32 here", ""
    return None, f"{told}, in {part:.2f} of its time; {integer} of {layers} layers in integers, by {instructions}"
