"""The wire shapes: what is sent and what is answered, as OpenAPI documents them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.api.problems import Problem
from app.core.model import Model
from app.core.request import InferenceResult, Priority, Timings
from app.vision.classification import Classification
from app.vision.detection import Detections
from app.vision.tasks import Options

Share = Annotated[float, Field(ge=0, le=1)]

DETECTION_EXAMPLE: dict[str, Any] = {
    "model": "shelf",
    "version": "1",
    "request_id": "7c0e6b7e6f3c4a6f9a4a0c3c4c0d9f55",
    "image": {"width": 1280, "height": 720},
    "detections": [{"label": "carton", "class_id": 0, "score": 0.9312, "box": [412.3, 201.8, 598.1, 377.0]}],
    "classes": None,
    "batch_size": 2,
    "timings_ms": {"queue": 0.4, "prepare": 3.1, "compute": 19.8, "finish": 0.3, "total": 23.9},
}


class PredictOptions(BaseModel):
    """What a request may change; what is left out has the model's own value."""

    model_config = ConfigDict(extra="forbid")

    score_threshold: Share | None = Field(None, description="Detections below this score are left out.")
    iou_threshold: Share | None = Field(None, description="Boxes of one class that overlap more than this are merged.")
    max_detections: int | None = Field(None, ge=1, le=10_000, description="At most so many detections, best first.")
    top_k: int | None = Field(None, ge=1, le=10_000, description="So many classes, best first.")
    priority: Literal["interactive", "bulk"] = Field("interactive", description="Interactive work is computed first.")
    deadline_ms: int | None = Field(
        None, ge=1, le=3_600_000, description="An answer later than this is of no use; it is refused instead."
    )

    def vision_options(self) -> Options:
        """The part that the task reads."""
        return Options(self.score_threshold, self.iou_threshold, self.max_detections, self.top_k)

    def core_priority(self) -> Priority:
        """The priority in the core's words."""
        return Priority(self.priority)


class EncodedImage(BaseModel):
    """One picture in a JSON request."""

    model_config = ConfigDict(extra="forbid")

    image: str = Field(
        description="The encoded picture (JPEG, PNG or WebP) in base64.", examples=["/9j/4AAQSkZJRgABAQ..."]
    )
    id: str | None = Field(None, max_length=256, description="Comes back with this picture's answer.")


class JsonPredictRequest(PredictOptions):
    """A JSON request: pictures in base64, and options that win over those of the query."""

    images: list[EncodedImage] = Field(min_length=1)


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


class ClassScore(BaseModel):
    """One class of a classification."""

    label: str
    class_id: int
    score: float = Field(description="0 to 1.")


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
    batch_size: int = Field(description="How many pictures were computed together with this one, itself included.")
    timings_ms: TimingsMs


class ItemResult(BaseModel):
    """One picture's answer among several: a prediction or an error, never both."""

    id: str | None = Field(description="The picture's `id` (JSON) or file name (multipart).")
    prediction: Prediction | None = None
    error: Problem | None = None


class PredictionList(BaseModel):
    """The answers to several pictures, in the order in which they were sent."""

    results: list[ItemResult]


class ModelVersion(BaseModel):
    """One loaded version of a model."""

    version: str
    engine: str
    device: str
    max_batch_size: int
    input_shape: list[int] = Field(description="Without the batch dimension.")
    input_dtype: str


class ModelInfo(BaseModel):
    """A model that is served."""

    name: str
    task: str
    labels: list[str]
    default: bool = Field(description="Whether it answers /v1/predict.")
    versions: list[ModelVersion]


class ModelList(BaseModel):
    """All models that are served."""

    models: list[ModelInfo]


def to_prediction(result: InferenceResult) -> Prediction:
    """The core's answer as the wire shape; numbers are rounded to what they are worth."""
    return Prediction.model_construct(
        model=result.model,
        version=result.version,
        request_id=result.request_id,
        image=ImageSize.model_construct(width=result.image_size.width, height=result.image_size.height),
        batch_size=result.batch_size,
        timings_ms=_to_timings(result.timings, result.total),
        **_to_task(result.prediction),
    )


def to_model_info(versions: list[Model], *, default: bool) -> ModelInfo:
    """Describe a model by its loaded versions."""
    newest = versions[-1]
    return ModelInfo(
        name=newest.name,
        task=newest.task.name,
        labels=list(newest.task.labels),
        default=default,
        versions=[
            ModelVersion(
                version=model.version,
                engine=model.engine.name,
                device=model.engine.device,
                max_batch_size=model.max_batch_size,
                input_shape=list(model.input_spec.shape),
                input_dtype=model.input_spec.dtype,
            )
            for model in versions
        ],
    )


def _to_task(prediction: Detections | Classification) -> dict[str, Any]:
    scores = prediction.scores.astype(float).round(4).tolist()
    rows = zip(prediction.labels, prediction.class_ids.tolist(), scores, strict=True)
    if isinstance(prediction, Classification):
        classes = [
            ClassScore.model_construct(label=label, class_id=number, score=score) for label, number, score in rows
        ]
        return {"detections": None, "classes": classes}
    boxes = prediction.boxes.astype(float).round(1).tolist()
    detections = [
        Detection.model_construct(label=label, class_id=number, score=score, box=tuple(box))
        for (label, number, score), box in zip(rows, boxes, strict=True)
    ]
    return {"detections": detections, "classes": None}


def _to_timings(timings: Timings, total: float) -> TimingsMs:
    return TimingsMs.model_construct(
        queue=round(timings.queue * 1e3, 2),
        prepare=round(timings.prepare * 1e3, 2),
        compute=round(timings.compute * 1e3, 2),
        finish=round(timings.finish * 1e3, 2),
        total=round(total * 1e3, 2),
    )
