"""Ultralytics' classifier by its own `predict`; see `ultralytics_models` for the package's licence."""

from functools import partial
from pathlib import Path

import torch

from tests.parity import weights
from tests.parity.families.base import samples
from tests.parity.families.classifiers import Classifier
from tests.parity.families.ultralytics_models import YOLO, as_saved, export
from tests.parity.pictures import as_opencv

SIZE = 224


def classifiers() -> list[Classifier]:
    """One network."""
    torch.manual_seed(12)
    model = YOLO("yolov8n-cls.yaml")
    network = model.model.float().eval()
    pictures = samples((SIZE, SIZE), 8)
    forward = partial(network, pictures)
    weights.settle(network, forward)
    weights.spread([network.model[-1].linear], forward, 0.0, 2.0)
    as_saved(model)

    def reference(data: bytes) -> list[float]:
        (result,) = model.predict(as_opencv(data), imgsz=SIZE, verbose=False, save=False, device="cpu")
        return list(result.probs.data.tolist())

    def write(path: Path) -> None:
        export(lambda: model, path, SIZE)

    return [Classifier("ultralytics-classify", write, "--like ultralytics", reference, "ultralytics 8.4")]
