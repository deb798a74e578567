"""The models that are served, as callers are told of them."""

from typing import Literal

from pydantic import BaseModel, Field

from app.core.model import Model
from app.repository.pipeline import ChainEntry
from app.repository.route import Route


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


class ChainStepInfo(BaseModel):
    """One step of a chain."""

    name: str
    model: str = Field(description="`NAME`, `NAME:VERSION` or `NAME:STAGE`.")
    on: str | None = Field(None, description="The step whose findings are cut out; none of the first.")
    classes: list[str] | None = Field(None, description="Only these classes of that step are.")
    min_score: float = 0.0
    min_size: int = 1
    max_crops: int | None = Field(None, description="Of a picture, at most; none of the first step.")


class ModelInfo(BaseModel):
    """A model that is served, or a chain of some: then `task` and `labels` are its first step's, and there are no
    `versions` of its own.
    """

    name: str
    task: str
    labels: list[str]
    default: bool = Field(description="Whether it answers /v1/predict.")
    versions: list[ModelVersion]
    traffic: dict[str, float] = Field(
        description="Percent of the requests that name no version, by version; empty where one version answers all."
    )
    default_version: str = Field(description="The version that answers where there are no shares.")
    stages: dict[str, str] = Field(description="Names that a request may use in a version's place.")
    shadow: dict[str, float] = Field(description="Percent of the requests that a version computes as well, unsent.")
    chain: list[ChainStepInfo] | None = Field(None, description="Of a chain: its steps.")


class FailedModel(BaseModel):
    """A model that is not served, or not as it is in the repository."""

    name: str
    reason: str
    serving: bool = Field(False, description="Whether it answers all the same, from an older state.")


class ModelChange(BaseModel):
    """What was done to a model at run time."""

    name: str
    outcome: Literal["loaded", "unchanged", "unloaded"] = Field(
        description="`unchanged` where it answered already as it is in the repository."
    )
    versions: list[str] = Field(description="Those that answer now.")
    seconds: float


class ModelList(BaseModel):
    """All models that are served, and those of the repository that could not be loaded."""

    models: list[ModelInfo]
    failed: list[FailedModel] = []
    not_loaded: list[str] = Field([], description="Those that are loaded when they are asked for.")


def to_model_info(versions: list[Model], route: Route, *, default: bool) -> ModelInfo:
    """Describe a model by its loaded versions, oldest first, and the way of its requests."""
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
                batch_reason=model.limit.reason,
                input_shape=list(model.row_shape),
                input_dtype=model.row_dtype.name,
            )
            for model in versions
        ],
        traffic=dict(route.shares),
        default_version=route.default_version or newest.version,
        stages=dict(route.stages),
        shadow=dict(route.shadow),
    )


def to_chain_info(chain: ChainEntry, first: Model | None, *, default: bool) -> ModelInfo:
    """Describe a chain; `first` is the model of its first step, where that is loaded now."""
    steps = chain.pipeline.steps
    return ModelInfo(
        name=chain.name,
        task="detection" if first is None else first.task.name,
        labels=[] if first is None else list(first.task.labels),
        default=default,
        versions=[],
        traffic={},
        default_version=chain.pipeline.version,
        stages={},
        shadow={},
        chain=[
            ChainStepInfo(
                name=name,
                model=step.model,
                on=step.on,
                classes=step.where.classes,
                min_score=step.where.min_score,
                min_size=step.where.min_size,
                max_crops=None if step.on is None else step.max_crops,
            )
            for name, step in steps.items()
        ],
    )
