"""What a model is computed in, and why: what the manifest lists, the engine can, and this machine is good at.

Eight bits are a file of their own, and are chosen only after a trial: the processor must have the instructions, most
layers must really be computed in integers, and the answers to the pictures that ship with the model must be those of
fp32, in less time. What fails that is computed in the next best precision, and `/v1/models` says why.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from app.engines import catalog
from app.engines.base import EngineName, Precision
from app.engines.devices import Device
from app.errors import EngineUnavailable, RooError
from app.host import cpu
from app.loading.serving import PrecisionChoice
from app.loading.verdicts import Verdict
from app.repository.repository import ModelEntry, example_pictures

log = logging.getLogger(__name__)

PICTURES = 4
"""So many of the examples are tried, each in both precisions."""

Trial = Callable[[list[Path], str], Verdict]
"""Tries int8 on these pictures, with these instructions; raises `RooError` or `OSError` where that is impossible."""


def choose(
    entry: ModelEntry, path: Path, engine: EngineName, device: Device, asked: str, trial: Trial
) -> PrecisionChoice:
    """The precision that was `asked` for or, with `auto`, the fastest of what the manifest lists and the engine can.

    `path` is the version's model file, and `trial` is asked where int8 may be chosen. Raises `EngineUnavailable` where
    what was asked for is impossible.
    """
    able, listed = catalog.precisions(engine, device), entry.manifest.precisions
    if asked != "auto":
        return _asked_for(entry, engine, device, asked, able)
    others = [precision for precision in able if precision in listed and precision != "int8"]
    choice = PrecisionChoice(others[0] if others else "fp32", "the fastest that manifest, engine and device allow")
    if "int8" not in listed:
        return choice
    verdict = _on_int8(path, able, trial)
    if verdict.passed:
        return PrecisionChoice("int8", verdict.reason)
    log.info("%s is not computed in int8: %s", entry.name, verdict.reason)
    return PrecisionChoice(choice.precision, f"not int8: {verdict.reason}")


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


def _on_int8(path: Path, able: tuple[Precision, ...], trial: Trial) -> Verdict:
    if "int8" not in able:
        return Verdict(False, "the engine cannot compute in it on this device")
    instructions = cpu.integer_instructions()
    if instructions is None:
        return Verdict(
            False,
            "this processor has no instructions for it that are known (AVX512-VNNI, AVX-VNNI, AMX, ARMv8.2's)",
        )
    pictures = example_pictures(path)[:PICTURES]
    if not pictures:
        return Verdict(False, "there are no pictures in the model's folder `examples` to compare its answers on")
    try:
        return trial(pictures, instructions)
    except (RooError, OSError) as error:
        return Verdict(False, f"it could not be tried: {error}")
