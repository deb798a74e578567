"""The bundled detector finds the same, whichever way its pictures were prepared."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from app.core.device_path import DevicePath
from app.core.model import Model
from app.core.request import AdmittedRequest, InferenceRequest
from app.loading import loader
from app.loading.serving import Serving
from app.repository.repository import read_entry
from app.vision.detection import Detections
from app.vision.image import read_header
from app.vision.tasks import Options
from tests.engines.conftest import CPU

if TYPE_CHECKING:
    import torch

pytestmark = pytest.mark.torch

SHELF = Path("models/shelf")
UNREAD = Options(read_barcodes=False)


@pytest.fixture(scope="module")
def shelf() -> Iterator[Model]:
    (model,) = loader.load(read_entry(SHELF), Serving(CPU, max_batch=4))
    yield model
    model.close()


def overlap(box: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Intersection over union of one box with each of several, as x0, y0, x1, y1."""
    inner = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    shared = np.prod(np.clip(inner, 0, None), axis=1)
    both = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], axis=1)
    return np.asarray(shared / (both - shared))


def unmatched(found: Detections, other: Detections, sure: float) -> list[str]:
    """What was found for certain on one side and has nothing like it on the other."""
    missing = []
    for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
        alike = (overlap(box, other.boxes) > 0.85) & (np.abs(other.scores - score) < 0.15)
        if score > sure and not any(alike & (np.array(other.labels) == label)):
            missing.append(f"{label} {score:.2f} {box.round()}")
    return missing


@pytest.mark.parametrize("path", sorted((SHELF / "examples").glob("*.jpg")), ids=lambda path: path.name)
def test_detections_agree(shelf: Model, place: "torch.device", path: Path) -> None:
    data = path.read_bytes()
    picture = AdmittedRequest(InferenceRequest(data, request_id="test", options=UNREAD), read_header(data))
    buffer = shelf.empty_batch()
    batch = DevicePath(shelf.input_spec, place).prepare([picture], buffer, shelf.prepare_row)
    ((_, placement),) = batch.placed
    compute = shelf.compute_on_device if place.type == "cpu" else lambda rows: shelf.compute(rows.cpu().numpy())
    there = shelf.finish(compute(batch.rows)[0], placement, picture)
    placement = shelf.prepare_row(picture, buffer[0])
    here = shelf.finish(shelf.compute(buffer[:1])[0], placement, picture)
    sure = shelf.task.spec.score_threshold + 0.2
    assert sum(here.scores > sure) > 3
    assert unmatched(here, there, sure) == unmatched(there, here, sure) == []
