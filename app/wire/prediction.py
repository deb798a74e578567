"""The answer to a picture, the same whichever way it came in."""

from base64 import b64encode
from collections import Counter
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from app.core.request import InferenceResult, Timings
from app.vision.barcodes import Barcode
from app.vision.classification import Classification
from app.vision.detection import Detections
from app.vision.segmentation import UNKNOWN, Segmentation
from app.wire.examples import DETECTION_EXAMPLE, SEGMENTATION_EXAMPLE

AnyPrediction = Detections | Classification | Segmentation
"""What the tasks answer."""

Box = tuple[float, float, float, float]


class ImageSize(BaseModel):
    """Pixels of the picture as it is meant to be seen, after its EXIF orientation."""

    width: int
    height: int


class Gs1Element(BaseModel):
    """A part of GS1 data."""

    ai: str = Field(description="Application identifier, for example `01`.")
    value: str


class Code(BaseModel):
    """A barcode that was read."""

    text: str = Field(description="Its data: as printed for one-dimensional codes; GS1 separators are 0x1D.")
    format: str = Field(description="Its kind, for example `Code 128` or `QR Code`.")
    symbology: str = Field("", description="Identifier of ISO/IEC 15424, for example `]C1`.")
    gs1: list[Gs1Element] | None = Field(
        None, description="Elements of GS1 data; empty where they cannot be told apart, null where it is not GS1."
    )
    bytes: str | None = Field(None, description="Its data in base64, where that is not `text` in UTF-8.")


class Detection(BaseModel):
    """One thing found."""

    label: str
    class_id: int
    score: float = Field(description="0 to 1.")
    box: Box = Field(description="x1, y1, x2, y2 in pixels of the upright picture.")
    text: str | None = Field(None, description="What the first barcode on it says, where one could be read.")
    format: str | None = Field(None, description="That barcode's kind, for example `Code 128` or `QR Code`.")
    codes: list[Code] = Field([], description="Every barcode on it, from top to bottom.")


class ClassScore(BaseModel):
    """One class of a classification."""

    label: str
    class_id: int
    score: float = Field(description="0 to 1.")


class Segment(BaseModel):
    """All places of one class, taken together."""

    label: str
    class_id: int = Field(ge=0, lt=UNKNOWN)
    share: float = Field(description="Of the whole picture, 0 to 1.")
    box: Box = Field(description="Around all of it: x1, y1, x2, y2 in pixels of the upright picture.")


class ClassMap(BaseModel):
    """Which class every place shows, in the resolution of the model's output."""

    png: str = Field(
        description="A grey PNG of 8 bits in base64; a pixel's value is its `class_id`, 255 where there is none."
    )
    width: int
    height: int
    box: Box = Field(
        description="Where the map lies: x1, y1, x2, y2 in pixels of the upright picture. Less than the whole picture "
        "where the model's input is cropped; what is outside of it is unknown."
    )


class Segmented(BaseModel):
    """A picture's parts by class."""

    segments: list[Segment] = Field(description="The classes that are there, largest first, without the background.")
    map: ClassMap


class Inventory(BaseModel):
    """What is on the picture, summed up."""

    counts: dict[str, int] = Field(description="Detections of each of the model's labels, those with none included.")
    texts: list[str] = Field(description="Every barcode that was read on a detection, best detection first.")


class TimingsMs(BaseModel):
    """Where the time went, in milliseconds. `compute` is the batch's that the picture was in."""

    queue: float
    decode: float
    prepare: float
    compute: float
    finish: float
    total: float


class Prediction(BaseModel):
    """The answer to one picture. `detections`, `classes` or `segmentation`, as the model's task is; others are null."""

    model_config = ConfigDict(json_schema_extra={"examples": [DETECTION_EXAMPLE, SEGMENTATION_EXAMPLE]})

    model: str
    version: str
    request_id: str
    image: ImageSize
    detections: list[Detection] | None = None
    classes: list[ClassScore] | None = None
    segmentation: Segmented | None = None
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


def _to_task(prediction: AnyPrediction, labels: tuple[str, ...]) -> dict[str, Any]:
    nothing = {"detections": None, "classes": None, "segmentation": None, "inventory": None}
    if isinstance(prediction, Classification):
        return nothing | {"classes": _to_classes(prediction)}
    if isinstance(prediction, Segmentation):
        return nothing | {"segmentation": _to_segmentation(prediction)}
    return nothing | _to_detections(prediction, labels)


def _to_classes(found: Classification) -> list[dict[str, Any]]:
    rows = zip(found.labels, found.class_ids.tolist(), found.scores.astype(float).round(4).tolist(), strict=True)
    return [{"label": label, "class_id": class_id, "score": score} for label, class_id, score in rows]


def _to_detections(found: Detections, labels: tuple[str, ...]) -> dict[str, Any]:
    class_ids, scores = found.class_ids.tolist(), found.scores.astype(float).round(4).tolist()
    boxes = found.boxes.astype(float).round(1).tolist()
    codes = found.barcodes or ((),) * len(boxes)
    detections = [
        {
            "label": label,
            "class_id": class_id,
            "score": score,
            "box": box,
            "text": read[0].text if read else None,
            "format": read[0].format if read else None,
            "codes": [_to_code(code) for code in read],
        }
        for label, class_id, score, box, read in zip(found.labels, class_ids, scores, boxes, codes, strict=True)
    ]
    count = Counter(found.labels)
    texts = [code.text for read in codes for code in read]
    inventory = {"counts": {label: count[label] for label in labels}, "texts": texts}
    return {"detections": detections, "inventory": inventory}


def _to_code(code: Barcode) -> dict[str, Any]:
    return {
        "text": code.text,
        "format": code.format,
        "symbology": code.symbology,
        "gs1": None if code.gs1 is None else [element._asdict() for element in code.gs1],
        "bytes": code.base64,
    }


def _to_segmentation(found: Segmentation) -> dict[str, Any]:
    class_ids, shares = found.class_ids.tolist(), found.shares.astype(float).round(4).tolist()
    rows = zip(found.labels, class_ids, shares, found.boxes.astype(float).round(1).tolist(), strict=True)
    height, width = found.class_map.shape
    return {
        "segments": [
            {"label": label, "class_id": class_id, "share": share, "box": box} for label, class_id, share, box in rows
        ],
        "map": {
            "png": b64encode(found.png).decode(),
            "width": width,
            "height": height,
            "box": [round(edge, 1) for edge in found.map_box],
        },
    }


def _to_timings(timings: Timings, total: float) -> dict[str, float]:
    seconds = {
        "queue": timings.queue,
        "decode": timings.decode,
        "prepare": timings.prepare,
        "compute": timings.compute,
        "finish": timings.finish,
        "total": total,
    }
    return {stage: round(value * 1e3, 2) for stage, value in seconds.items()}
