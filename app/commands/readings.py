"""What each family and each decoder would make of a graph on a picture."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from app.commands import doubts, probing, trial
from app.commands.trial import Sample
from app.commands.ultralytics import Told
from app.engines.base import Array, Engine
from app.engines.library_errors import first_line
from app.errors import InvalidManifest, RequestError, StartupError
from app.repository import presets
from app.repository.manifest import Manifest, describe
from app.vision.decoders.base import OutputDecoder
from app.vision.decoders.registry import decoder_for
from app.vision.detection_spec import ROLES
from app.vision.preprocessing import InputSpec, Placement
from app.wire.prediction import AnyPrediction

Sections = dict[str, Any]
Opening = Callable[[Mapping[str, Array]], Engine]
"""Opens the graph with values for its inputs beside the picture."""

_UNKNOWN_CLASSES = {"detection": 1000, "classification": 1000, "segmentation": 255, "embedding": 0, "maps": 1}
"""So many labels are made up where the outputs do not tell how many there are."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to read a graph: a task, the manifest's sections that differ from their defaults, and what asks for it."""

    task: str
    sections: Sections

    @property
    def name(self) -> str:
        """What it is called in few words."""
        words = [f"like {self.sections['like']}"] if "like" in self.sections else []
        for fields in self.sections.values():
            if isinstance(fields, dict):
                words += [
                    _written(value) if key == "decoder" else f"{key}={_written(value)}" for key, value in _flat(fields)
                ]
        return f"{self.task} {' '.join(words)}"

    @property
    def options(self) -> str:
        """The options of `models add` that choose it."""
        words = [f"--task {self.task}"]
        if like := self.sections.get("like"):
            words.append(f"--like {like}")
        for section, fields in self.sections.items():
            if isinstance(fields, dict):
                words += [f"--set {section}.{path}={_written(value)}" for path, value in _flat(fields)]
        return " ".join(words)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a candidate made of the picture: the answer, or why there is none (`problem`); `doubt` says what makes the
    answer unlikely to be meant.
    """

    candidate: Candidate
    answer: AnyPrediction | None = None
    problem: str | None = None
    doubt: str | None = None


def candidates(labels: int | None, told: Told) -> Iterator[Candidate]:
    """Every way that is tried, `labels` being how many names are known, `told` what the graph's metadata says."""
    if told.task is not None:
        sections = {told.task: told.section, "input": told.input}
        yield Candidate(told.task, {"like": told.like, **{name: fields for name, fields in sections.items() if fields}})
    for name in presets.NAMES:
        for task in presets.tasks(name):
            if name not in ("imagenet", "torchvision") or task == "classification":
                yield Candidate(task, {"like": name})
    for decoder in ROLES:
        yield Candidate("detection", {"detection": {"decoder": decoder}})
    yield Candidate("detection", {"detection": {"decoder": "yolo", "transposed": True}})
    yield Candidate("detection", {"detection": {"decoder": "end_to_end", "columns": ["class", "score", "box"]}})
    picodet = {"decoder": "gfl", "strides": [8, 16, 32, 64], "cell_offset": 0.5, "multi_label": True}
    yield Candidate("detection", {"detection": picodet})
    if labels is not None:
        for background in (True, "last"):
            yield Candidate("detection", {"detection": {"decoder": "boxes_scores", "background": background}})
        # The names tell that what is left over are no classes.
        points: Sections = {"extras": 51, "keypoints": {"names": "coco"}}
        for further in (points, {"decoder": "end_to_end", **points}, {"extras": 1, "rotated": True}):
            yield Candidate("detection", {"like": "ultralytics", "detection": further})
    for fields in ({"softmax": True}, {"softmax": False}, {"sigmoid": True}):
        yield Candidate("classification", {"classification": fields})
    for layout in ("logits", "class_map"):
        yield Candidate("segmentation", {"segmentation": {"layout": layout}})
    for pick in ("none", "cls", "mean"):
        yield Candidate("embedding", {"embedding": {"pick": pick}})
    yield Candidate("maps", {"maps": {"unit": "relative"}})
    yield Candidate("maps", {"maps": {"unit": "score", "apply_sigmoid": True}})


@dataclass
class Attempts:
    """Reads one graph in many ways; what several have in common is computed once.

    `shape` are the fields of `input:` that the graph tells, `labels` the classes' names, where they are known.
    """

    opening: Opening
    shape: Mapping[str, Any]
    sample: Sample
    labels: tuple[str, ...] | None = None
    _computed: dict[str, "tuple[dict[str, Array], Placement] | str"] = field(default_factory=dict)
    _engines: dict[str, Engine] = field(default_factory=dict)

    def close(self) -> None:
        """Free the graph."""
        for engine in self._engines.values():
            engine.close()

    def read(self, candidate: Candidate) -> Reading:
        """Try one way; errors of the graph and of the reading are its `problem`."""
        try:
            return self._read(candidate)
        except ValidationError as error:
            return Reading(candidate, problem=describe(error)[0])
        except (StartupError, RequestError) as error:
            return Reading(candidate, problem=str(error).strip())

    def _read(self, candidate: Candidate) -> Reading:
        manifest = self._manifest(candidate, self.labels or ("0",))
        assert manifest.input is not None
        outputs, placement = self._outputs(manifest.input)
        made_up = range(_classes(manifest, outputs) or _UNKNOWN_CLASSES[manifest.task])
        task = manifest.build_task(self.labels or tuple(map(str, made_up)))
        task.check(outputs)
        answer: AnyPrediction = task.finish(outputs, placement, trial.OF_THE_MANIFEST)
        doubt = doubts.of_numbers(manifest, outputs, placement) or doubts.of_answer(answer, self.sample)
        return Reading(candidate, answer, doubt=doubt)

    def _manifest(self, candidate: Candidate, names: tuple[str, ...]) -> Manifest:
        sections = {**candidate.sections, "input": {**self.shape, **candidate.sections.get("input", {})}}
        labels = [] if candidate.task == "embedding" else list(names)
        return Manifest.model_validate({"task": candidate.task, "labels": labels, **sections})

    def _outputs(self, spec: InputSpec) -> tuple[dict[str, Array], Placement]:
        key = spec.model_dump_json()
        if key not in self._computed:
            try:
                self._computed[key] = self._compute(spec)
            except StartupError as error:
                self._computed[key] = str(error)
        found = self._computed[key]
        if isinstance(found, str):
            raise InvalidManifest(found)
        return found

    def _compute(self, spec: InputSpec) -> tuple[dict[str, Array], Placement]:
        engine = self._engine({name: spec.constant(name) for name in spec.constants})
        try:
            size = engine.input.batch_size or 1
            batch, placement = probing.prepared(self.sample, spec, size)
            return _first_rows(engine.run(batch), size), placement
        except Exception as error:  # the runtime raises many unrelated types, all meaning: not this picture
            raise InvalidManifest(f"the graph fails on it: {first_line(error)}") from error

    def _engine(self, constants: Mapping[str, Array]) -> Engine:
        key = repr(sorted((name, values.tolist()) for name, values in constants.items()))
        if key not in self._engines:
            self._engines[key] = self.opening(constants)
        return self._engines[key]


def _first_rows(outputs: Mapping[str, Array], size: int) -> dict[str, Array]:
    """The first picture's; outputs without a batch dimension are its own."""
    batched = all(array.ndim > 1 and len(array) == size for array in outputs.values())
    return {name: array[0] if batched else array for name, array in outputs.items()}


def _classes(manifest: Manifest, outputs: Mapping[str, Array]) -> int | None:
    """How many labels the outputs need, None where they do not tell."""
    if manifest.task == "detection":
        assert manifest.detection is not None
        decoder = decoder_for(manifest.detection.decoder)
        found = decoder.class_count(manifest.detection, outputs) if isinstance(decoder, OutputDecoder) else None
        return found or None
    if len(outputs) != 1:
        return None
    (only,) = outputs.values()
    if manifest.task == "classification":
        return only.size
    if manifest.task == "maps":
        return len(only) if only.ndim == 3 else 1
    return len(only) if only.ndim == 3 and manifest.segmentation.layout == "logits" else None


def _flat(fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The fields by their paths, with dots between."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", deeper) for inner, deeper in _flat(value))
        else:
            yield name, value


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)
