"""`pipeline.yaml`: a chain, in which a detector's boxes become crops that other models are asked about."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.repository.manifest import Version, read_as
from app.vision.tasks import Options

FILE_NAME = "pipeline.yaml"

MOST_CROPS = 256
"""That one step may ask about, for one picture."""
MOST_CROPS_IN_ALL = 512
"""That all steps of a chain may ask about, for one picture: what one request can cost."""
MOST_STEPS = 16

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Share = Annotated[float, Field(ge=0, le=1)]
Degrees = Literal[90, 180, 270]

_MODEL = re.compile(r"(?P<name>[^:/\s]+)(:(?P<version>[1-9][0-9]*|[a-z][a-z0-9_-]{0,31}))?")


class AskedModel(NamedTuple):
    """A model by its name and, where it is one alone, its version or stage."""

    name: str
    version: str | None

    def __str__(self) -> str:
        return self.name if self.version is None else f"{self.name}:{self.version}"


class Where(BaseModel):
    """Which of the things that were found are cut out: all conditions together."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    classes: Annotated[list[str], Field(min_length=1, max_length=1000)] | None = Field(
        None, description="Only these classes of the step's model that it is `on`, by name."
    )
    min_score: Share = 0.0
    min_size: int = Field(1, ge=1, le=65_535, description="Pixels of the picture that a box's shorter side must have.")


class StepOptions(BaseModel):
    """What the step's model is told, as a request could; what is left out has the model's own value."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    score_threshold: Share | None = None
    iou_threshold: Share | None = None
    max_detections: int | None = Field(None, ge=1, le=10_000)
    top_k: int | None = Field(None, ge=1, le=10_000)
    read_barcodes: bool | None = None
    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=1000)] | None = None
    class_agnostic: bool | None = None

    def as_options(self) -> Options:
        """The same, as the task reads them."""
        return Options(**self.model_dump())


class Step(BaseModel):
    """One model of a chain, and what it is asked about."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    model: str = Field(description="`NAME`, `NAME:VERSION` or `NAME:STAGE`.")
    on: Name | None = Field(None, description="The step whose findings are cut out; the first has none.")
    where: Where = Where()
    max_crops: int = Field(32, ge=1, le=MOST_CROPS, description="At most so many of a picture, best first.")
    margin: float = Field(0.0, ge=0, le=1, description="So much of its sides is added around a box, at each side.")
    crop: Literal["box", "quad"] = Field(
        "box", description="What is cut out: the upright box, or what lies within a turned one, straightened."
    )
    turn: dict[str, Degrees] = Field(
        default_factory=dict,
        description="Class of the step that it is `on` → degrees that the crop is turned clockwise.",
    )
    turn_min_score: Share = Field(0.0, description="With `turn`: only where that class scores at least this.")
    options: StepOptions = StepOptions()

    @model_validator(mode="after")
    def _names_a_model(self) -> "Step":
        if _MODEL.fullmatch(self.model) is None:
            raise ValueError(f"model is {self.model!r}; it must be NAME, NAME:VERSION or NAME:STAGE")
        return self

    @property
    def asked(self) -> AskedModel:
        """The model, taken apart."""
        found = _MODEL.fullmatch(self.model)
        assert found is not None
        return AskedModel(found["name"], found["version"])


class Pipeline(BaseModel):
    """A whole `pipeline.yaml`. The first step is asked about the whole picture, each other about crops of what the step
    found that it is `on`, or again about the crops of which that said something.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    description: str = ""
    version: Version = Field("1", description="What answers call this state of the file.")
    steps: Annotated[dict[Name, Step], Field(min_length=1, max_length=MOST_STEPS)]

    @model_validator(mode="after")
    def _hangs_together(self) -> "Pipeline":
        above: list[str] = []
        for name, step in self.steps.items():
            _check_place(name, step, above, self.steps)
            above.append(name)
        if (total := sum(step.max_crops for step in list(self.steps.values())[1:])) > MOST_CROPS_IN_ALL:
            raise ValueError(
                f"steps: together they may ask about {total} crops of one picture (max_crops); at most "
                f"{MOST_CROPS_IN_ALL} are allowed. Lower max_crops"
            )
        return self

    @property
    def first(self) -> str:
        """The step that is asked about the whole picture."""
        return next(iter(self.steps))

    def after(self, name: str) -> list[str]:
        """The steps that are `on` one."""
        return [other for other, step in self.steps.items() if step.on == name]

    def models(self) -> Iterator[AskedModel]:
        """The models of all steps, in their order."""
        return (step.asked for step in self.steps.values())


@dataclass(frozen=True, slots=True)
class ChainEntry:
    """One chain on disk, and what the key is called whose signature was checked."""

    name: str
    folder: Path
    pipeline: Pipeline
    signed_by: str | None = None

    @property
    def place(self) -> Path:
        """Its file."""
        return self.folder / FILE_NAME


def read_pipeline(path: Path) -> Pipeline:
    """Read and check one file; raises `InvalidManifest` as `read_as` does."""
    return read_as(path, Pipeline)


def _check_place(name: str, step: Step, above: list[str], steps: dict[str, Step]) -> None:
    """A step comes after the one that it is on, so that none can wait for itself."""
    said = f"steps.{name}"
    if not above:
        if step.on is not None:
            raise ValueError(f"{said}: the first step is asked about the whole picture; remove `on`")
        for field in ("where", "max_crops", "margin", "crop", "turn", "turn_min_score"):
            if field in step.model_fields_set:
                raise ValueError(f"{said}: the first step is asked about the whole picture; remove `{field}`")
        return
    if step.on is None:
        raise ValueError(f"{said}: needs `on`, the step whose findings are cut out; above it: {', '.join(above)}")
    if step.on == name:
        raise ValueError(f"{said}: is on itself; name a step above it: {', '.join(above)}")
    if step.on not in above:
        fault = "stands below it, and would wait for it" if step.on in steps else "is not there"
        raise ValueError(f"{said}: is on {step.on}, which {fault}; above it: {', '.join(above)}")
