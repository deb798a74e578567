"""The eight-bit variant of the exported model, its ranges taken from validation scenes."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from rich.progress import Progress

from app.commands import quantization
from models.shelf.training.detect import prepared
from models.shelf.training.metrics import Pictures

SCENES = 48
"""More widen the ranges by their outliers and gain nothing."""


def quantize(model: Path, validation: Path, labels: Mapping[str, str] | None = None) -> None:
    """Writes `model.int8.onnx` beside `model`, calibrated on the first of the pictures of a COCO data set."""
    with Progress() as progress:
        task = progress.add_task("calibrating", total=SCENES)
        rows = (prepared(packed) for _, packed in islice(Pictures(validation, labels=labels).packed(), SCENES))
        quantization.quantize(model, model.with_name("model.int8.onnx"), rows, lambda: progress.advance(task))
