"""COCO average precision (pycocotools) and the share of labels read."""

import contextlib
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.progress import track

from models.shelf.training.arrays import CLASSES, LABEL
from models.shelf.training.coco import read_coco
from models.shelf.training.detect import Detections, Network, detect, read_labels
from models.shelf.training.jpeg import decode
from models.shelf.training.legible import read_box
from models.shelf.training.matching import Note, corners


@dataclass
class Pictures:
    """A COCO data set for evaluation; pictures are read from disk as they are needed.

    `labels` says which label a category is; see `read_coco`, which says what is refused, too.
    """

    annotations: Path
    limit: int | None = None
    labels: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        checked = read_coco(self.annotations, self.labels)
        self.files = checked.files[: self.limit]
        self.document: dict[str, Any] = checked.document()
        self.images: list[dict[str, Any]] = self.document["images"][: self.limit]

    def __len__(self) -> int:
        return len(self.images)

    def packed(self) -> Iterator[tuple[dict[str, Any], bytes]]:
        """Image entry and JPEG bytes of every picture."""
        for image, file in zip(self.images, self.files, strict=True):
            yield image, file.read_bytes()

    def notes(self) -> dict[int, list[Note]]:
        """Annotations by image id."""
        notes: dict[int, list[Note]] = {image["id"]: [] for image in self.images}
        for note in self.document["annotations"]:
            if note["image_id"] in notes:
                notes[note["image_id"]].append(note)
        return notes


def predict(
    network: Network, pictures: Pictures, batch: int = 1, threshold: float = 0.02, whole: bool = False
) -> dict[int, Detections]:
    """Detections by image id, in pixels of the picture; `whole` turns scaled decoding off."""
    found: dict[int, Detections] = {}
    waiting: list[tuple[int, bytes]] = []
    for image, packed in track(pictures.packed(), "detecting", len(pictures)):
        waiting.append((image["id"], packed))
        if len(waiting) < batch and len(found) + len(waiting) < len(pictures):
            continue
        results = detect(network, [content for _, content in waiting], threshold, whole)
        found.update(zip((ident for ident, _ in waiting), results, strict=True))
        waiting = []
    return found


def average_precision(pictures: Pictures, found: dict[int, Detections]) -> tuple[dict[str, Any], COCOeval]:
    """mAP50, mAP50-95, the same per class, and the evaluation they came from (for curves)."""
    rows = [
        {
            "image_id": ident,
            "category_id": int(kind) + 1,
            "bbox": [float(b[0]), float(b[1]), float(b[2] - b[0]), float(b[3] - b[1])],
            "score": float(score),
        }
        for ident, result in found.items()
        for b, score, kind in zip(result.boxes, result.scores, result.kinds, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {**pictures.document, "info": {}}
        truth.createIndex()
        nothing = {"image_id": pictures.images[0]["id"], "category_id": 1, "bbox": [0.0, 0.0, 0.0, 0.0], "score": 0.0}
        run = COCOeval(truth, truth.loadRes(rows or [nothing]), "bbox")
        run.params.imgIds = [image["id"] for image in pictures.images]
        run.evaluate()
        run.accumulate()
    precision = run.eval["precision"][:, :, :, 0, -1]
    per_class = {
        name: {"mAP50": _mean(precision[0, :, k]), "mAP50-95": _mean(precision[:, :, k])}
        for k, name in enumerate(CLASSES)
    }
    return {"mAP50": _mean(precision[0]), "mAP50-95": _mean(precision), "classes": per_class}, run


def _mean(precision: np.ndarray) -> float:
    known = precision[precision > -1]
    return round(float(known.mean()), 4) if known.size else float("nan")


@dataclass(frozen=True)
class Legible:
    """The labels with a text, and by image id the texts of those that can be read from the true box."""

    labels: int
    texts: dict[int, list[str]]


def legible(pictures: Pictures) -> Legible:
    """What can be read at all, at any price."""
    notes, labels, texts = pictures.notes(), 0, {}
    for image, packed in track(pictures.packed(), "reading true boxes", len(pictures)):
        truths = [n for n in notes[image["id"]] if n["category_id"] == LABEL + 1 and not n["iscrowd"] and n.get("text")]
        pixels, labels = decode(packed), labels + len(truths)
        texts[image["id"]] = [n["text"] for n in truths if read_box(pixels, np.array(corners(n))) == n["text"]]
    return Legible(labels, texts)


def reading(pictures: Pictures, known: Legible, found: dict[int, Detections], threshold: float) -> dict[str, Any]:
    """How many barcodes that can be read from the true box are read from the detected ones, at full resolution."""
    readable, read = 0, 0
    for image, packed in track(pictures.packed(), "reading", len(pictures)):
        wanted = known.texts[image["id"]]
        texts = read_labels(decode(packed), found[image["id"]].above(threshold)) if wanted else []
        readable, read = readable + len(wanted), read + sum(text in texts for text in wanted)
    return {"labels": known.labels, "readable": readable, "read": read, "rate": round(read / max(1, readable), 4)}
