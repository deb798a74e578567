"""The answer to a picture, the same whichever way it came in."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from app.vision.classification import Classification
from app.vision.detection import Detections
from app.vision.embedding import Embedding
from app.vision.maps import Maps
from app.vision.segmentation import UNKNOWN, Segmentation
from app.vision.tasks import Coordinates
from app.vision.text_detection import TextDetection
from app.vision.text_recognition import TextRecognition
from app.wire.examples import DETECTION_EXAMPLE, SEGMENTATION_EXAMPLE
from app.wire.masks import AnyMask
from app.wire.places import Keypoint
from app.wire.text import ReadText, TextLine
from app.wire.values import ValueMap, Vector

AnyPrediction = Detections | Classification | Segmentation | Embedding | Maps | TextDetection | TextRecognition
"""What the tasks answer."""

Box = tuple[float, float, float, float]
Boxes = NDArray[np.float32]
Polygon = Annotated[list[float], Field(min_length=8, max_length=8)]


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
