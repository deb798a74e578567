"""The answer to a picture, the same whichever way it came in."""

from collections import Counter
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.core.request import InferenceResult, Timings
from app.vision.classification import Classification
from app.vision.detection import Detections

DETECTION_EXAMPLE: dict[str, Any] = {
    "model": "shelf",
    "version": "1",
    "request_id": "7c0e6b7e6f3c4a6f9a4a0c3c4c0d9f55",
    "image": {"width": 1280, "height": 720},
    "detections": [
        {
            "label": "carton",
            "class_id": 0,
            "score": 0.9312,
            "box": [412.3, 201.8, 598.1, 377.0],
            "text": None,
            "format": None,
        },
        {
            "label": "label",
            "class_id": 3,
            "score": 0.8821,
            "box": [470.2, 260.4, 530.9, 301.5],
            "text": "BX-104-7731",
            "format": "Code 128",
        },
    ],
    "classes": None,
    "inventory": {
        "counts": {"carton": 1, "tote": 0, "pallet": 0, "label": 1, "empty_location": 0},
        "texts": ["BX-104-7731"],
    },
    "batch_size": 2,
    "timings_ms": {"queue": 0.4, "prepare": 3.1, "compute": 19.8, "finish": 0.3, "total": 23.9},
}


class ImageSize(BaseModel):
    """Pixels of the picture as it is meant to be seen, after its EXIF orientation."""

    width: int
    height: int


class Detection(BaseModel):
    """One thing found."""

    label: str
    class_id: int
    score: float = Field(description="0 to 1.")
    box: tuple[float, float, float, float] = Field(description="x1, y1, x2, y2 in pixels of the upright picture.")
    text: str | None = Field(None, description="What the barcode on it says, where one could be read.")
    format: str | None = Field(None, description="The barcode's kind, for example `Code 128` or `QR Code`.")


class ClassScore(BaseModel):
    """One class of a classification."""

    label: str
    class_id: int
    score: float = Field(description="0 to 1.")


class Inventory(BaseModel):
    """What is on the picture, summed up."""

    counts: dict[str, int] = Field(description="Detections of each of the model's labels, those with none included.")
    texts: list[str] = Field(description="Every barcode that could be read, best detection first.")


class TimingsMs(BaseModel):
    """Where the time went, in milliseconds. `compute` is the batch's that the picture was in."""

    queue: float
    prepare: float
    compute: float
    finish: float
    total: float


class Prediction(BaseModel):
    """The answer to one picture. `detections` or `classes`, as the model's task is; the other is null."""

    model_config = ConfigDict(json_schema_extra={"examples": [DETECTION_EXAMPLE]})

    model: str
    version: str
    request_id: str
    image: ImageSize
    detections: list[Detection] | None = None
    classes: list[ClassScore] | None = None
    inventory: Inventory | None = Field(None, description="With `detections`: their summary.")
    batch_size: int = Field(description="How many pictures were computed together with this one, itself included.")
    timings_ms: TimingsMs


def to_wire(result: InferenceResult) -> dict[str, Any]:
    """The core's answer in the shape of `Prediction`; numbers are rounded to what they are worth.

    Plain dicts, because this runs on the event loop for every picture: objects for dozens of detections took a fifth of
    its time.
    """
    return {
        "model": result.model,
        "version": result.version,
        "request_id": result.request_id,
        "image": {"width": result.image_size.width, "height": result.image_size.height},
        **_to_task(result.prediction, result.labels),
        "batch_size": result.batch_size,
        "timings_ms": _to_timings(result.timings, result.total),
    }


def _to_task(prediction: Detections | Classification, labels: tuple[str, ...]) -> dict[str, Any]:
    class_ids, scores = prediction.class_ids.tolist(), prediction.scores.astype(float).round(4).tolist()
    if isinstance(prediction, Classification):
        rows = zip(prediction.labels, class_ids, scores, strict=True)
        classes = [{"label": label, "class_id": class_id, "score": score} for label, class_id, score in rows]
        return {"detections": None, "classes": classes, "inventory": None}
    boxes = prediction.boxes.astype(float).round(1).tolist()
    codes = prediction.barcodes or (None,) * len(boxes)
    detections = [
        {
            "label": label,
            "class_id": class_id,
            "score": score,
            "box": box,
            "text": code.text if code else None,
            "format": code.format if code else None,
        }
        for label, class_id, score, box, code in zip(prediction.labels, class_ids, scores, boxes, codes, strict=True)
    ]
    found = Counter(prediction.labels)
    inventory = {"counts": {label: found[label] for label in labels}, "texts": [code.text for code in codes if code]}
    return {"detections": detections, "classes": None, "inventory": inventory}


def _to_timings(timings: Timings, total: float) -> dict[str, float]:
    seconds = {
        "queue": timings.queue,
        "prepare": timings.prepare,
        "compute": timings.compute,
        "finish": timings.finish,
        "total": total,
    }
    return {stage: round(value * 1e3, 2) for stage, value in seconds.items()}
