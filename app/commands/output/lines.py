"""JSON: an object a picture, in one file with a line for each (`jsonl`) or in a file of its own (`json`)."""

import json
from typing import Any

import numpy as np

from app.commands.output.base import Answered, Output, Wanted, new_file
from app.commands.output.places import places_in_shares
from app.vision.image import Size
from app.wire.masks import AnyMask, MaskPng, Polygons
from app.wire.prediction import Box, Detection, Line, Prediction, TaskAnswer
from app.wire.telling import relative
from app.wire.text import TextLine

_DECIMALS = 6


class JsonLines(Output):
    """`predictions.jsonl`."""

    def __init__(self, wanted: Wanted) -> None:
        self._normalized = wanted.normalized
        self._file = (wanted.out / "predictions.jsonl").open("w", encoding="utf-8", newline="\n")

    def append(self, answered: Answered) -> None:
        """Write its line."""
        self._file.write(json.dumps(to_object(answered, normalized=self._normalized)) + "\n")

    def close(self) -> None:
        """End the file."""
        self._file.close()


class JsonFiles(Output):
    """`json/NAME.json`."""

    def __init__(self, wanted: Wanted) -> None:
        self._normalized = wanted.normalized
        self._folder = wanted.out / "json"

    def save(self, answered: Answered, content: bytes) -> None:
        """Write its file."""
        text = json.dumps(to_object(answered, normalized=self._normalized), indent=2)
        new_file(self._folder / f"{answered.name}.json").write_text(text + "\n", "utf-8")


def to_object(answered: Answered, *, normalized: bool) -> dict[str, Any]:
    """What JSON says of a picture: the prediction as HTTP answers it, and the picture's path."""
    prediction = in_shares(answered.prediction) if normalized else answered.prediction
    return {"file": str(answered.path), "prediction": prediction.model_dump()}


def in_shares(prediction: Prediction) -> Prediction:
    """A prediction in pixels with its boxes as shares of the picture instead."""
    size = Size(prediction.image.width, prediction.image.height)
    changed = {"coordinates": "normalized", **_answer_in_shares(prediction, size)}
    if prediction.region is not None:
        changed["region"] = share_of(prediction.region, size)
    return prediction.model_copy(update=changed)


def _answer_in_shares(answer: TaskAnswer, size: Size) -> dict[str, Any]:
    """What changes of an answer about a picture of that size, or about a crop of it."""
    changed: dict[str, Any] = {}
    if answer.detections is not None:
        changed["detections"] = [_detection_in_shares(found, size) for found in answer.detections]
    if (parts := answer.segmentation) is not None:
        segments = [part.model_copy(update={"box": share_of(part.box, size)}) for part in parts.segments]
        whole = parts.map.model_copy(update={"box": share_of(parts.map.box, size)})
        changed["segmentation"] = parts.model_copy(update={"segments": segments, "map": whole})
    if answer.maps is not None:
        changed["maps"] = [chart.model_copy(update={"box": share_of(chart.box, size)}) for chart in answer.maps]
    if answer.lines is not None:
        changed["lines"] = [
            line.model_copy(update={"polygon": _quad_share(line, size), **_steps_in_shares(line, size)})
            for line in answer.lines
        ]
    return changed


def _detection_in_shares(found: Detection, size: Size) -> Detection:
    return found.model_copy(
        update={
            "box": share_of(found.box, size),
            "mask": _mask_in_shares(found.mask, size),
            **places_in_shares(found, size),
            **_steps_in_shares(found, size),
        }
    )


def _steps_in_shares(found: Detection | Line, size: Size) -> dict[str, Any]:
    """What changes of what a chain's steps say of one crop."""
    if found.steps is None:
        return {}
    said = found.steps.items()
    return {
        "steps": {
            name: crop.model_copy(update={"crop": share_of(crop.crop, size), **_answer_in_shares(crop, size)})
            for name, crop in said
        }
    }


def _mask_in_shares(mask: AnyMask | None, size: Size) -> AnyMask | None:
    if isinstance(mask, Polygons):
        unit = np.array(size, np.float64)
        rings = [(np.array(ring).reshape(-1, 2) / unit).round(_DECIMALS).reshape(-1) for ring in mask.polygons]
        return Polygons(polygons=[ring.tolist() for ring in rings])
    return mask.model_copy(update={"box": share_of(mask.box, size)}) if isinstance(mask, MaskPng) else mask


def _quad_share(line: TextLine, size: Size) -> list[float]:
    shares: list[float] = (np.array(line.polygon) / np.array(size * 4, np.float64)).round(_DECIMALS).tolist()
    return shares


def share_of(box: Box, size: Size) -> Box:
    """x1, y1, x2, y2 of 0 to 1."""
    x1, y1, x2, y2 = relative(np.array([box], np.float32), size)[0].round(_DECIMALS).tolist()
    return x1, y1, x2, y2
