"""What is sent and answered over HTTP alone, as OpenAPI documents it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, FailFast, Field

from app.api.problems import Problem
from app.wire.predict_options import PredictOptions
from app.wire.prediction import Prediction


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
