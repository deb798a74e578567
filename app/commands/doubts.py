"""What speaks against a reading of a graph that fits its shapes: its own numbers, and what comes of them."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from app.commands.graphs import PROBABLE
from app.commands.trial import Sample
from app.engines.base import Array
from app.repository.manifest import Manifest
from app.vision.classification import ClassificationSpec
from app.vision.decoders.registry import decoder_for
from app.vision.detection import Detections
from app.vision.preprocessing import Placement
from app.vision.tasks import chosen_output
from app.wire.prediction import AnyPrediction


def of_numbers(manifest: Manifest, outputs: Mapping[str, Array], placement: Placement) -> str | None:
    """What the outputs say against a reading that fits their shapes; scores are clipped before they are answered."""
    if manifest.task == "classification":
        return _of_row(manifest.classification, outputs)
    if manifest.task == "segmentation":
        numbers = chosen_output(outputs, manifest.segmentation.output)
        whole = manifest.segmentation.layout == "logits" or bool((numbers == np.rint(numbers)).all())
        return None if whole else "its values are not whole, so they are no numbers of classes"
    if manifest.task == "embedding":
        return _of_vector(chosen_output(outputs, manifest.embedding.output))
    if manifest.task == "maps":
        return None
    spec = manifest.detection
    assert spec is not None
    with np.errstate(over="ignore", invalid="ignore"):
        found = decoder_for(spec.decoder).decode(spec, outputs, placement.model_size, spec.score_threshold)
    if len(found.scores) and not found.scores.max() <= 1.001:
        return f"scores up to {found.scores.max():.3g} are no scores of 0 to 1"
    if len(found.scores) == spec.max_candidates:
        return f"{spec.max_candidates} candidates and more are over the threshold"
    return _of_boxes(found.boxes)


def _of_boxes(boxes: NDArray[np.float32]) -> str | None:
    """Of boxes that end before they start nothing is answered, so that the others look right."""
    ended = int(np.less(boxes[:, 2:], boxes[:, :2]).any(axis=1).sum())
    if 4 * ended <= len(boxes):
        return None
    return f"{ended} of {len(boxes)} boxes end before they start: another detection.box_format, or raw distances?"


def _of_row(spec: ClassificationSpec, outputs: Mapping[str, Array]) -> str | None:
    scores = chosen_output(outputs, spec.output)
    probable = bool((scores >= 0).all() and (scores <= 1).all())
    if (spec.softmax or spec.sigmoid) and probable and abs(float(scores.sum()) - 1) < PROBABLE:
        return "its outputs are probabilities already"
    if not (spec.softmax or spec.sigmoid or probable):
        return "its outputs are no probabilities"
    return None


def _of_vector(numbers: NDArray[np.generic]) -> str | None:
    exact = numbers.astype(np.float64)
    probable = exact.size and exact.min() >= 0 and abs(exact.sum() - 1) < PROBABLE
    return "its numbers are not negative and sum to 1, so they are probabilities of classes" if probable else None


def of_answer(prediction: AnyPrediction, sample: Sample) -> str | None:
    """What makes an answer unlikely to be meant, None where nothing does."""
    if not isinstance(prediction, Detections) or len(prediction.scores) == 0:
        return None
    width, height = sample.header.upright
    sides = prediction.boxes[:, 2:] - prediction.boxes[:, :2]
    if np.median(sides.min(axis=1)) < 2:
        return "boxes of less than two pixels: shares of the input read as pixels?"
    if len(prediction.scores) > 1 and np.ptp(prediction.scores) == 0:
        return "all scores are the same"
    if np.median(sides[:, 0] * sides[:, 1]) > 0.95 * width * height:
        return "boxes as large as the picture: pixels read as shares of the input?"
    return None
