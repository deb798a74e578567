"""What a version of a model answers to held-out pictures, by the service's own code from bytes to boxes and codes."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from app.core.model import Model
from app.core.request import AdmittedRequest, InferenceRequest
from app.engines import devices
from app.engines.base import Array, Precision
from app.loading import loader
from app.loading.serving import Serving
from app.repository.repository import ModelEntry
from app.vision import agreement, image
from app.vision.agreement import Agreement
from app.vision.preprocessing import Placement
from app.vision.tasks import Options
from models.shelf.training.detect import Detections
from models.shelf.training.metrics import Pictures

_EVERYTHING = Options(score_threshold=0.02)
"""As average precision wants it: the curve goes to the end."""


@dataclass(slots=True)
class Measured:
    """One version in one precision: by image id what was found at any score, and how many of the texts were read.

    `seconds` are those that the processor spent on the network, a picture: others may want it meanwhile.
    """

    found: dict[int, Detections] = field(default_factory=dict)
    read: dict[int, int] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    @property
    def milliseconds(self) -> float:
        """Median of the network's time for a picture."""
        return 1000 * float(np.median(self.seconds))


@dataclass(frozen=True, slots=True)
class Version:
    """A version on disk, and the precision to compute it in."""

    entry: ModelEntry
    number: str
    precision: Precision = "fp32"

    @contextmanager
    def opened(self) -> Iterator[Model]:
        """Loaded and warm, on one core of the CPU."""
        path = self.entry.versions[self.number]
        with ExitStack() as undo:
            serving = Serving(devices.choose("cpu", None), "onnx", precision=self.precision)
            model = loader.open_version(self.entry, self.number, path, serving)
            undo.callback(model.close)
            buffer = model.empty_batch()
            model.warm_up_batch(buffer[:1])
            model.give_back(buffer)
            yield model


def measure(versions: Sequence[Version], pictures: Pictures) -> list[Measured]:
    """All versions on all pictures, in turns, so that they meet the same machine."""
    notes, results = pictures.notes(), [Measured() for _ in versions]
    with ExitStack() as undo:
        models = [undo.enter_context(version.opened()) for version in versions]
        for entry, packed in track(pictures.packed(), "measuring", len(pictures)):
            texts = [note["text"] for note in notes[entry["id"]] if note.get("text") and not note["iscrowd"]]
            for model, measured in zip(models, results, strict=True):
                _answer(model, packed, entry["id"], texts, measured)
    return results


def agreeing(exact: Version, other: Version, files: Sequence[Path]) -> Agreement:
    """How far two versions' answers, at the threshold that is served, are the same."""
    total = Agreement()
    with exact.opened() as one, other.opened() as two:
        for file in files:
            packed = file.read_bytes()
            total += agreement.compare(*(_served(model, packed) for model in (one, two)))
    return total


def _answer(model: Model, packed: bytes, ident: int, texts: Sequence[str], measured: Measured) -> None:
    admitted, rows, placement, seconds = _computed(model, packed)
    everything = model.task.finish(rows, placement, _EVERYTHING)
    measured.found[ident] = Detections(everything.boxes, everything.scores, everything.class_ids)
    measured.seconds.append(seconds)
    if texts:
        codes = model.finish(rows, placement, admitted).barcodes or ()
        seen = {code.text for some in codes for code in some}
        measured.read[ident] = sum(text in seen for text in texts)


def _served(model: Model, packed: bytes) -> Any:
    _, rows, placement, _ = _computed(model, packed)
    return model.task.finish(rows, placement, Options())


def _computed(model: Model, packed: bytes) -> tuple[AdmittedRequest, dict[str, Array], Placement, float]:
    admitted = AdmittedRequest(InferenceRequest(packed, request_id="gate"), image.read_header(packed))
    buffer = model.empty_batch()
    try:
        placement = model.prepare_row(admitted, buffer[0])
        begun = time.thread_time()
        (rows,) = model.compute(buffer[:1])
        return admitted, rows, placement, time.thread_time() - begun
    finally:
        model.give_back(buffer)
