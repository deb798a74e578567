"""What is sent and answered over HTTP alone, as OpenAPI documents it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field

from app.api.problems import Problem
from app.core.model import Model
from app.core.request import Priority
from app.wire.options import RequestOptions
from app.wire.prediction import Prediction


class PredictOptions(RequestOptions):
    """What an HTTP request may change."""

    priority: Literal["interactive", "bulk"] = Field("interactive", description="Interactive work is computed first.")

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

    # The first wrong one is enough: a body may hold very many.
    images: Annotated[list[EncodedImage], FailFast()] = Field(min_length=1)


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
    precision: str = Field(description="What the engine computes in: `fp32`, `bf16`, `fp16` or `int8`.")
    precision_reason: str = Field(description="Why it computes in that.")
    device: str
    device_asked: str = Field(description="What `ROO_DEVICE` says.")
    device_reason: str = Field(description="Why it is this device.")
    decode_device: str = Field(description="Where pictures are decoded: `cpu`, or the GPU.")
    decode_reason: str = Field(description="Why there.")
    max_batch_size: int
    batch_reason: str = Field(description="Where the largest batch's size is from: the manifest, or what was measured.")
    input_shape: list[int] = Field(description="Without the batch dimension.")
    input_dtype: str


class ModelInfo(BaseModel):
    """A model that is served."""

    name: str
    task: str
    labels: list[str]
    default: bool = Field(description="Whether it answers /v1/predict.")
    versions: list[ModelVersion]


class FailedModel(BaseModel):
    """A model of the repository that is not served."""

    name: str
    reason: str


class ModelList(BaseModel):
    """All models that are served, and those of the repository that could not be loaded."""

    models: list[ModelInfo]
    failed: list[FailedModel] = []


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
                precision=model.engine.precision,
                precision_reason=model.precision_reason,
                device=model.device.name,
                device_asked=model.device.asked,
                device_reason=model.device.reason,
                decode_device=model.decoding.device,
                decode_reason=model.decoding.reason,
                max_batch_size=model.max_batch_size,
                batch_reason=model.batch_reason,
                input_shape=list(model.row_shape),
                input_dtype=model.row_dtype.name,
            )
            for model in versions
        ],
    )
