"""`model.yaml`: what a model takes, what its outputs mean, how it is served."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from app.errors import InvalidManifest
from app.repository import presets, yaml_text
from app.repository.labels import read_characters, read_names
from app.repository.route import Route
from app.vision.classification import ClassificationSpec, ClassificationTask
from app.vision.detection import DetectionSpec, DetectionTask
from app.vision.embedding import EmbeddingSpec, EmbeddingTask
from app.vision.maps import MapsSpec, MapsTask
from app.vision.preprocessing import InputSpec
from app.vision.raw_outputs import RawOutputs
from app.vision.segmentation import SegmentationSpec, SegmentationTask
from app.vision.tasks import AnyTask
from app.vision.text_detection import TextDetectionSpec, TextDetectionTask
from app.vision.text_recognition import TextRecognitionSpec, TextRecognitionTask

FILE_NAME = "model.yaml"

NO_LABELS = ("embedding", "maps", "text_detection", "tensors")
"""Tasks that may do without labels."""

Described = TypeVar("Described", bound=BaseModel)
Version = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]*$")]
Stage = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class Batching(BaseModel):
    """The `batching:` section: the most pictures that are computed together, and on a CPU where that is not measured.

    A GPU wants large batches; on a CPU a large input's activations fall out of the cache, and one by one can be faster.
    With `batch_dimension: false` the graph's outputs are those of a single picture, without a dimension for the batch
    (torchvision's detectors, graphs that end in a NonMaxSuppression), so that pictures are computed one by one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_size: int = Field(4, ge=1, le=256)
    max_size_cpu: int | None = Field(None, ge=1, le=256)
    batch_dimension: bool = True

    def limit(self, device_kind: str) -> int:
        """The most pictures in one batch on a device of this kind, `cpu` or `cuda`, where nothing is measured."""
        return self.max_size_cpu or self.max_size if device_kind == "cpu" else self.max_size


class Manifest(BaseModel):
    """A whole `model.yaml`; the section named like the task is the task's own."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    task: Literal[
        "detection",
        "classification",
        "segmentation",
        "embedding",
        "maps",
        "text_detection",
        "text_recognition",
        "tensors",
    ]
    like: str | None = Field(None, description="A family of models whose fields are the defaults of this manifest.")
    description: str = ""
    engine: Literal["auto", "onnx", "openvino", "torch", "tensorrt"] = "auto"
    precisions: list[Literal["fp32", "bf16", "fp16", "int8"]] = Field(
        ["fp32"],
        min_length=1,
        description="What the model may be computed in without losing quality; `int8` has a file of its own.",
    )
    labels: list[str] | str = Field(
        default_factory=list,
        description="Class names, or a dictionary's characters, in the model's order, or a text file with one a line.",
    )
    versions: Literal["latest"] | list[Version] = "latest"
    traffic: dict[Version, float] = Field(
        default_factory=dict, description="Version → percent of the requests that name none; together 100."
    )
    default_version: Version | None = Field(
        None, description="The version that answers who names none, where there are no shares; else the newest."
    )
    stages: dict[Stage, Version] = Field(
        default_factory=dict, description="Names that a request may use in a version's place, as `candidate`."
    )
    shadow: dict[Version, float] = Field(
        default_factory=dict, description="Version → percent of the requests that it computes as well, unsent."
    )
    pinned: bool = Field(False, description="Whether the model may not be unloaded while the service runs.")
    input: InputSpec | None = Field(None, description="How pictures become the graph's input; none with `tensors`.")
    detection: DetectionSpec | None = None
    classification: ClassificationSpec = ClassificationSpec()
    segmentation: SegmentationSpec = SegmentationSpec()
    embedding: EmbeddingSpec = EmbeddingSpec()
    maps: MapsSpec = MapsSpec()
    text_detection: TextDetectionSpec = TextDetectionSpec()
    text_recognition: TextRecognitionSpec = TextRecognitionSpec()
    batching: Batching = Batching()
    sha256: dict[Version, Sha256 | dict[str, Sha256]] = Field(
        default_factory=dict, description="Version → digest of its model file, or of each of its files by name."
    )

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, content: Any) -> Any:
        known = isinstance(content, dict) and content.get("like") is not None
        return presets.expanded(content) if known else content

    @model_validator(mode="after")
    def _has_its_section(self) -> "Manifest":
        if self.task == "detection" and self.detection is None:
            raise ValueError("task is detection, so a section `detection:` must name its `decoder`")
        if "int8" in self.precisions and self.engine in ("torch", "tensorrt"):
            raise ValueError(f"precisions lists int8, which the engine {self.engine} does not read; remove it")
        if self.task == "tensors":
            if self.input is not None:
                section = "`like`" if self.like else "the section `input:`"
                raise ValueError(f"task is tensors, for which no picture is prepared; remove {section}")
            return self
        if self.input is None:
            raise ValueError("input: is missing; add it")
        if self.task == "embedding" and self.labels:
            raise ValueError("task is embedding, which has no classes; remove labels")
        if self.task == "text_detection" and self.labels:
            raise ValueError("labels: lines of text have no classes; remove them")
        if not self.labels and self.task not in NO_LABELS:
            raise ValueError("labels must list at least one class")
        if self.task == "text_recognition":
            return self
        if isinstance(self.labels, list) and not all(map(str.strip, self.labels)):
            raise ValueError("labels must give every class a name; one is blank")
        return self

    @property
    def route(self) -> Route:
        """Which version answers, as far as this says it."""
        return Route(self.traffic, self.default_version, self.stages, self.shadow)

    def serving(self) -> dict[str, Any]:
        """All that bears on how a version is served whose files stay as they are."""
        routing = {"traffic", "default_version", "stages", "shadow"}
        return self.model_dump(exclude={"description", "versions", "sha256", "pinned", *routing})

    def build_task(self, labels: tuple[str, ...]) -> AnyTask:
        """The task that reads this model's outputs."""
        if self.task == "detection":
            assert self.detection is not None
            return DetectionTask(self.detection, labels)
        if self.task == "segmentation":
            return SegmentationTask(self.segmentation, labels)
        if self.task == "tensors":
            return RawOutputs(labels)
        if self.task == "embedding":
            return EmbeddingTask(self.embedding)
        if self.task == "maps":
            return MapsTask(self.maps, labels)
        if self.task == "text_detection":
            return TextDetectionTask(self.text_detection, labels)
        if self.task == "text_recognition":
            return TextRecognitionTask(self.text_recognition, labels)
        return ClassificationTask(self.classification, labels)


def read_manifest(path: Path) -> Manifest:
    """Read and check one manifest; raises as `read_as` does."""
    return read_as(path, Manifest)


def read_as(path: Path, kind: type[Described]) -> Described:
    """Read and check a file of a manifest's kind.

    Raises `InvalidManifest` naming the file, each wrong field and what it must be.
    """
    try:
        content: Any = yaml_text.load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidManifest(f"{path}: cannot be read: {error}.") from error
    except yaml.YAMLError as error:
        raise InvalidManifest(f"{path}: is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise InvalidManifest(f"{path}: must be a mapping of fields; docs/models.md has examples.")
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        problems = "\n".join(f"  {problem}" for problem in describe(error))
        raise InvalidManifest(f"{path}:\n{problems}\nThe fields are explained in docs/models.md.") from error


def describe(error: ValidationError) -> list[str]:
    """Each wrong field of a manifest and what it must be."""
    return [f"{_field(problem['loc'])}{_words(problem)}" for problem in error.errors()]


def read_labels(manifest: Manifest, folder: Path) -> tuple[str, ...]:
    """Class names in the model's order, from the manifest or from the text file it names inside `folder`.

    Raises `InvalidManifest` where the file is missing, empty or outside the model's folder, or a line of it is blank.
    """
    if isinstance(manifest.labels, list):
        return tuple(manifest.labels)
    path = (folder / manifest.labels).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InvalidManifest(f"{folder / FILE_NAME}: labels: {manifest.labels} lies outside the model's folder.")
    try:
        return read_characters(path) if manifest.task == "text_recognition" else read_names(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidManifest(f"{folder / FILE_NAME}: labels: {path} cannot be read: {error}.") from error
    except ValueError as error:
        raise InvalidManifest(f"{folder / FILE_NAME}: labels: {path}: {error}.") from None


def _field(location: tuple[int | str, ...]) -> str:
    # A union's branch is no part of the manifest: leave names such as `list[str]` out of the path.
    parts = [text for part in location if (text := str(part)).isidentifier() or text.isdecimal()]
    return ".".join(parts) + ": " if parts else ""


def _words(problem: Any) -> str:
    if problem["type"] == "missing":
        return "is missing; add it"
    if problem["type"] == "extra_forbidden":
        return "is not a field of this file; remove it or correct its spelling"
    if problem["type"] == "string_type" and isinstance(problem["input"], bool):
        return "yes, no, on, off, true and false are no texts in YAML; put quotes around it"
    message = str(problem["msg"]).removeprefix("Value error, ")
    return f"{message} (is {problem['input']!r:.80})" if problem["loc"] else message
