"""The answer to a picture, the same whichever way it came in."""

from base64 import b64encode
from collections import Counter
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from app.core.request import CropAnswer, InferenceResult, Nested, StepResult, Timings
from app.vision.barcodes import Barcode
from app.vision.classification import Classification
from app.vision.detection import Detections
from app.vision.embedding import Embedding
from app.vision.image import Size
from app.vision.maps import Maps
from app.vision.segmentation import UNKNOWN, Segmentation
from app.vision.tasks import Coordinates
from app.vision.text_detection import TextDetection
from app.vision.text_recognition import TextRecognition
from app.wire.examples import DETECTION_EXAMPLE, SEGMENTATION_EXAMPLE
from app.wire.masks import AnyMask, to_masks
from app.wire.places import Keypoint, to_keypoints, to_polygons
from app.wire.text import ReadText, TextLine, to_lines, to_text
from app.wire.values import ValueMap, Vector, to_maps, to_vector

AnyPrediction = Detections | Classification | Segmentation | Embedding | Maps | TextDetection | TextRecognition
"""What the tasks answer."""

Box = tuple[float, float, float, float]
Boxes = NDArray[np.float32]
Polygon = Annotated[list[float], Field(min_length=8, max_length=8)]

_PIXEL_DECIMALS, _SHARE_DECIMALS = 1, 6


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
    box: Box = Field(description="x1, y1, x2, y2 in `coordinates`.")
    text: str | None = Field(None, description="What the first barcode on it says, where one could be read.")
    format: str | None = Field(None, description="That barcode's kind, for example `Code 128` or `QR Code`.")
    codes: list[Code] = Field([], description="Every barcode on it, from top to bottom.")
    mask: AnyMask | None = Field(None, description="What of the picture belongs to it, where the model tells masks.")
    keypoints: list[Keypoint] | None = Field(
        None, description="Its points in the order of the model's names, where the model finds some."
    )
    polygon: Polygon | None = Field(
        None,
        description="Where the model finds turned boxes: its corners x1, y1, …, x4, y4 in `coordinates`, clockwise as "
        "one sees them, along the longer side first; `box` is the upright one around it, within the picture.",
    )
    angle: float | None = Field(
        None,
        description="With `polygon`: the direction from its first corner to the second, in degrees clockwise from the "
        "right, -90 to below 90.",
    )
    steps: "dict[str, CropPrediction] | None" = Field(
        None,
        description="Of a chain: what its other steps say of this one's crop, by their names; none where none asked.",
    )


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
    box: Box = Field(description="Around all of it: x1, y1, x2, y2 in `coordinates`.")


class ClassMap(BaseModel):
    """Which class every place shows, in the resolution of the model's output."""

    png: str = Field(
        description="A grey PNG of 8 bits in base64; a pixel's value is its `class_id`, 255 where there is none."
    )
    width: int
    height: int
    box: Box = Field(
        description="Where the map lies: x1, y1, x2, y2 in `coordinates`. Less than the whole picture "
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


class Line(TextLine):
    """A line of text that was found."""

    steps: "dict[str, CropPrediction] | None" = Field(
        None, description="Of a chain: what its other steps say of this line's crop, as of a detection's."
    )


class TaskAnswer(BaseModel):
    """What a model says of a picture or a crop: of these the one that its task is about, the others are null."""

    detections: list[Detection] | None = None
    skeleton: list[tuple[int, int]] | None = Field(
        None, description="With `keypoints`: which of a detection's points lines are drawn between, counted from 0."
    )
    classes: list[ClassScore] | None = None
    segmentation: Segmented | None = None
    embedding: Vector | None = None
    maps: list[ValueMap] | None = Field(None, description="One for each of the model's channels.")
    lines: list[Line] | None = Field(None, description="Lines of text in the order they are read.")
    text: ReadText | None = Field(None, description="What the picture, one line of text, says.")


class StepError(BaseModel):
    """Why there is no answer about a crop, in the words of a problem."""

    code: str
    detail: str


class CropPrediction(TaskAnswer):
    """What one step of a chain says of one crop: an answer or an error, never both."""

    crop: Box = Field(description="What was looked at: x1, y1, x2, y2 in `coordinates` of the whole picture.")
    error: StepError | None = None


class Crops(BaseModel):
    """How many crops a step of a chain asked about."""

    found: int = Field(description="Things that fitted the step's conditions.")
    asked: int = Field(description="Those of them, the best, that were asked about.")
    failed: int = Field(description="Those of them that have an error in place of an answer.")
    limit: int = Field(description="The step's `max_crops`.")


class ChainStep(BaseModel):
    """What one step of a chain did for this picture."""

    name: str
    model: str
    version: str
    crops: Crops | None = Field(None, description="None of the first step, which is asked about the whole picture.")
    timings_ms: TimingsMs = Field(
        description="A crop's, on average; `total` is from the first question to the last answer."
    )


class Prediction(TaskAnswer):
    """The answer to one picture. `detections`, `classes`, `segmentation`, `embedding`, `maps`, `lines` or `text`, as
    the model's task is; others are null.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [DETECTION_EXAMPLE, SEGMENTATION_EXAMPLE]})

    model: str
    version: str
    request_id: str
    image: ImageSize
    coordinates: Coordinates = Field(
        "pixels", description="Of all boxes here: pixels of the upright picture, or 0 to 1 of its width and height."
    )
    region: Box | None = Field(
        None,
        description="The part of the picture that was asked about, if any: x1, y1, x2, y2 in `coordinates`.",
    )
    tiles: int | None = Field(
        None, description="Into how many tiles the picture was divided, if it was; the whole is not among them."
    )
    inventory: Inventory | None = Field(None, description="With `detections`: their summary.")
    batch_size: int = Field(
        description="How many pictures were computed together with this one, itself included; of a chain, by its first "
        "step."
    )
    timings_ms: TimingsMs = Field(description="Of a chain those of its first step, and the `total` of all.")
    chain: list[ChainStep] | None = Field(None, description="Of a chain: its steps.")


Detection.model_rebuild()
Line.model_rebuild()


def to_wire(result: InferenceResult) -> dict[str, Any]:
    """The core's answer in the shape of `Prediction`; numbers are rounded to what they are worth.

    Plain dicts, because this runs on the event loop for every picture: objects for dozens of detections took a fifth of
    its time.
    """
    size = result.image_size if result.options.coordinates == "normalized" else None
    nested = None if result.chain is None else result.chain.nested
    told = {
        "model": result.model,
        "version": result.version,
        "request_id": result.request_id,
        "image": {"width": result.image_size.width, "height": result.image_size.height},
        "coordinates": "pixels" if size is None else "normalized",
        "region": None if result.region is None else _to_boxes(np.array([result.region], np.float32), size)[0],
        "tiles": result.tiles,
        **_to_task(result.prediction, result.labels, size, nested),
        "batch_size": result.batch_size,
        "timings_ms": _to_timings(result.timings, result.total),
    }
    if result.chain is not None:
        told["chain"] = [_to_step(step, whole=not index) for index, step in enumerate(result.chain.steps)]
    return told


def relative(boxes: Boxes, size: Size) -> NDArray[np.float64]:
    """Boxes [n, 4] in pixels of a picture of that upright size as shares of it, 0 to 1."""
    return boxes.astype(np.float64) / np.array(size * 2, np.float64)


def _to_boxes(boxes: Boxes, size: Size | None) -> list[list[float]]:
    """In pixels or, where the picture's size is given, as shares of it."""
    if size is None:
        told, decimals = boxes.astype(np.float64), _PIXEL_DECIMALS
    else:
        told, decimals = relative(boxes, size), _SHARE_DECIMALS
    found: list[list[float]] = told.round(decimals).tolist()
    return found


def _to_step(step: StepResult, *, whole: bool) -> dict[str, Any]:
    crops = {"found": step.found, "asked": step.asked, "failed": step.failed, "limit": step.limit}
    return {
        "name": step.name,
        "model": step.model,
        "version": step.version,
        "crops": None if whole else crops,
        "timings_ms": _to_timings(step.timings, step.total),
    }


def to_crop(answer: CropAnswer, size: Size | None) -> dict[str, Any]:
    """What a step says of one crop, in the shape of `CropPrediction`; boxes are shares of the whole picture where its
    size is given.
    """
    said: dict[str, Any] = {"crop": _to_boxes(np.array([answer.region], np.float32), size)[0]}
    if answer.error is not None:
        return said | {"error": {"code": answer.error.code, "detail": str(answer.error)}}
    told = _to_task(answer.prediction, answer.labels, size, answer.nested)
    return said | {name: part for name, part in told.items() if part is not None and name != "inventory"}


def _to_task(
    prediction: AnyPrediction, labels: tuple[str, ...], size: Size | None, nested: Nested | None = None
) -> dict[str, Any]:
    tasks = ("detections", "classes", "segmentation", "embedding", "maps", "lines", "text", "inventory")
    nothing: dict[str, Any] = dict.fromkeys(tasks)
    if isinstance(prediction, Classification):
        return nothing | {"classes": _to_classes(prediction)}
    if isinstance(prediction, Segmentation):
        return nothing | {"segmentation": _to_segmentation(prediction, size)}
    if isinstance(prediction, Embedding):
        return nothing | {"embedding": to_vector(prediction)}
    if isinstance(prediction, Maps):
        return nothing | {"maps": to_maps(prediction, _to_boxes(np.array([prediction.map_box], np.float32), size)[0])}
    if isinstance(prediction, TextRecognition):
        return nothing | {"text": to_text(prediction)}
    if isinstance(prediction, TextDetection):
        return nothing | {"lines": _with_steps(to_lines(prediction, size), nested, size)}
    told = _to_detections(prediction, labels, size)
    _with_steps(told["detections"], nested, size)
    return nothing | told


def _with_steps(found: list[dict[str, Any]], nested: Nested | None, size: Size | None) -> list[dict[str, Any]]:
    """The same things found, each with what a chain's steps say of it."""
    for thing, steps in zip(found, nested or (), strict=bool(nested)):
        thing["steps"] = {name: to_crop(answer, size) for name, answer in steps.items()}
    return found


def _to_classes(found: Classification) -> list[dict[str, Any]]:
    rows = zip(found.labels, found.class_ids.tolist(), found.scores.astype(float).round(4).tolist(), strict=True)
    return [{"label": label, "class_id": class_id, "score": score} for label, class_id, score in rows]


def _to_detections(found: Detections, labels: tuple[str, ...], size: Size | None) -> dict[str, Any]:
    class_ids, scores = found.class_ids.tolist(), found.scores.astype(float).round(4).tolist()
    boxes = _to_boxes(found.boxes, size)
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
    if found.masks is not None:
        for detection, mask in zip(detections, to_masks(found.masks, size), strict=True):
            detection["mask"] = mask
    if found.keypoints is not None:
        for detection, points in zip(detections, to_keypoints(found.keypoints, size), strict=True):
            detection["keypoints"] = points
    if found.oriented is not None:
        for detection, turned in zip(detections, to_polygons(found.oriented, size), strict=True):
            detection |= turned
    count = Counter(found.labels)
    texts = [code.text for read in codes for code in read]
    inventory = {"counts": {label: count[label] for label in labels}, "texts": texts}
    skeleton = {} if found.keypoints is None else {"skeleton": found.keypoints.links}
    return {"detections": detections, **skeleton, "inventory": inventory}


def _to_code(code: Barcode) -> dict[str, Any]:
    return {
        "text": code.text,
        "format": code.format,
        "symbology": code.symbology,
        "gs1": None if code.gs1 is None else [element._asdict() for element in code.gs1],
        "bytes": code.base64,
    }


def _to_segmentation(found: Segmentation, size: Size | None) -> dict[str, Any]:
    class_ids, shares = found.class_ids.tolist(), found.shares.astype(float).round(4).tolist()
    rows = zip(found.labels, class_ids, shares, _to_boxes(found.boxes, size), strict=True)
    height, width = found.class_map.shape
    return {
        "segments": [
            {"label": label, "class_id": class_id, "share": share, "box": box} for label, class_id, share, box in rows
        ],
        "map": {
            "png": b64encode(found.png).decode(),
            "width": width,
            "height": height,
            "box": _to_boxes(np.array([found.map_box], np.float32), size)[0],
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
