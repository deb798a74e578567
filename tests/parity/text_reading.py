"""Text read twice from the same graphs: by rapidocr's own code, and by ours."""

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rapidocr import RapidOCR

from app.commands import add_ocr
from app.core.model import Model
from app.core.request import AdmittedCrop, InferenceRequest
from app.engines import devices
from app.loading import loader
from app.loading.serving import Serving
from app.repository import repository
from app.vision.image import Picture, Size
from app.vision.quads import quad_crop
from app.vision.tasks import Options
from tests.parity.text_pictures import Pixels

NAMES = ("text-detection", "text-orientation", "text-recognition")
LEAST_SCORE = 0.5
"""RapidOCR's `text_score`: what scores less is left out."""
TURNED_FROM = 0.9
"""Its `cls_thresh`."""


@dataclass(frozen=True)
class Line:
    """A line of text, its corners float32 [4, 2] in pixels, and its score."""

    text: str
    quad: NDArray[np.float32]
    score: float


def rapid() -> RapidOCR:
    """Its defaults, on two threads."""
    threads = {f"EngineConfig.onnxruntime.{which}_op_num_threads": 2 for which in ("intra", "inter")}
    return RapidOCR(params={**threads, "Global.log_level": "error"})


def theirs(engine: RapidOCR, picture: Pixels) -> list[Line]:
    """What RapidOCR reads in an RGB picture."""
    found = engine(np.ascontiguousarray(picture[..., ::-1]))
    if found.boxes is None:
        return []
    return [Line(*each) for each in zip(found.txts, found.boxes, found.scores, strict=True)]


def installed() -> bool:
    """Whether there is anything to compare with."""
    return importlib.util.find_spec("rapidocr") is not None


class Reader:
    """The three models that `models add-ocr` makes of the installed rapidocr, one after the other."""

    def __init__(self, folder: Path) -> None:
        add_ocr.run(None, folder, "text")
        serving = Serving(devices.choose("cpu", None), "onnx", precision="fp32", threads=2)
        self.models = [loader.load(repository.read_entry(folder / name), serving)[0] for name in NAMES]

    def read(self, picture: Pixels) -> list[Line]:
        """What is read in an RGB picture."""
        detector, orientation, recognizer = self.models
        lines = []
        for quad in ask(detector, picture).quads:
            crop = quad_crop(picture, quad)
            turned = ask(orientation, crop)
            if turned.labels[0] == "180" and turned.scores[0] > TURNED_FROM:
                crop = np.asarray(cv2.rotate(crop, cv2.ROTATE_180), np.uint8)
            found = ask(recognizer, crop)
            if found.text.strip() and found.score >= LEAST_SCORE:
                lines.append(Line(found.text, quad, found.score))
        return lines

    def close(self) -> None:
        """Free the models."""
        for model in self.models:
            model.close()


def ask(model: Model, pixels: Pixels) -> Any:
    """A model's prediction for RGB pixels, as the lanes make it."""
    picture = Picture(np.ascontiguousarray(pixels), Size(pixels.shape[1], pixels.shape[0]))
    crop = AdmittedCrop(InferenceRequest(b"", request_id="parity"), picture)
    row = model.rows_for(model.empty_batch()[:1], crop)
    placement = model.prepare_row(crop, row[0])
    (outputs,) = model.compute(row)
    return model.task.finish(outputs, placement, Options())


@dataclass
class Figures:
    """Over many pictures: lines of either side, those that both have, and how their texts and corners compare."""

    lines: int = 0
    same_texts: int = 0
    offsets: list[float] = field(default_factory=list)
    differences: list[tuple[str, str]] = field(default_factory=list)

    def add(self, ours: list[Line], others: list[Line]) -> None:
        """Compare one picture's. A line is the other side's with whose box its own overlaps most, by half at least."""
        left = list(others)
        for line in ours:
            overlaps = [_overlap(line.quad, other.quad) for other in left]
            if max(overlaps, default=0) < 0.5:
                self.differences.append((line.text, ""))
                continue
            other = left.pop(int(np.argmax(overlaps)))
            self.offsets.append(float(np.abs(line.quad - other.quad).max()))
            if line.text == other.text:
                self.same_texts += 1
            else:
                self.differences.append((line.text, other.text))
        self.differences += [("", other.text) for other in left]
        self.lines += len(ours) + len(left)

    @property
    def share(self) -> float:
        """Of lines with equal texts, among all that either side has."""
        return self.same_texts / self.lines if self.lines else 0.0

    def __str__(self) -> str:
        same = sum(offset == 0 for offset in self.offsets)
        return (
            f"texts of {self.same_texts} of {self.lines} lines are equal ({self.share:.1%}); corners of {same} of "
            f"{len(self.offsets)} are the same, the others {max(self.offsets, default=0):.0f} px apart at most"
        )


def _overlap(some: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Intersection over union of the upright boxes around two quads."""
    low, high = np.maximum(some.min(axis=0), other.min(axis=0)), np.minimum(some.max(axis=0), other.max(axis=0))
    shared = float(np.prod(np.maximum(high - low, 0)))
    areas = sum(float(np.prod(np.ptp(quad, axis=0))) for quad in (some, other))
    return shared / max(areas - shared, 1e-9)
