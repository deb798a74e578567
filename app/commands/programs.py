"""A torchvision model as a program: what is exported, how it is to be served, and whether it still answers the same."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from app.commands import entries
from app.commands.zoo import ZooModel
from app.engines import catalog, devices
from app.engines.base import Array, Engine, EngineName, EngineOptions
from app.engines.unusable import first_line
from app.errors import InvalidManifest, StartupError
from app.settings import usable_cores

OPSET = 17
TOLERANCE = 1e-3
"""How far an exported model's outputs may be from torchvision's, as a share of the largest of them."""
ALIKE, PIXELS = 0.95, 0.5
"""The share of detections that must be the same, and how far the edges of the same may be apart."""
LARGEST_BATCH = 256
ENGINES: Mapping[Literal["onnx", "pt2"], EngineName] = {"onnx": "onnx", "pt2": "torch"}

_MORE_THAN_BOXES = ("maskrcnn", "keypointrcnn")
_STRIDE = 32
_INTERPOLATIONS = {"bilinear": "linear", "bicubic": "cubic"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is exported: `module` takes float32 [batch, 3, height, width] and gives `outputs`; it is served as
    `manifest` (without labels and digests) says. Without `batched` it takes one picture at a time.
    """

    module: Any
    outputs: tuple[str, ...]
    manifest: dict[str, Any]
    labels: tuple[str, ...]
    batched: bool = True
    formats: tuple[str, ...] = ("onnx", "pt2")
    input_name: str = "image"


class Named(torch.nn.Module):  # type: ignore[misc]  # torch is not checked
    """A model whose outputs have names in a `.pt2` file too."""

    def __init__(self, model: torch.nn.Module, *outputs: str) -> None:
        super().__init__()
        self.model = model
        self.outputs = outputs

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The model's only output, as a tuple."""
        return (self.model(image),)


class Detecting(torch.nn.Module):  # type: ignore[misc]  # torch is not checked
    """A detector for one picture at a time: [1, 3, height, width] to boxes [1, M, 4], scores and labels [1, M]."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What torchvision's list of dictionaries says of the only picture."""
        (found,) = self.model([image[0]])
        return found["boxes"][None], found["scores"][None], found["labels"][None]


def plan(model: ZooModel, labels: tuple[str, ...] | None) -> Plan:
    """How `model` is exported and served; `labels` in place of its own. Raises `StartupError`."""
    if model.kind == "classification":
        return _plan_classifier(model, labels)
    if model.kind == "detection" and not model.name.startswith(_MORE_THAN_BOXES):
        return _plan_detector(model, labels)
    what = model.kind if model.kind == "segmentation" else "mask or keypoint"
    raise StartupError(
        f"torchvision:{model.name} is a {what} model, which is not exported yet; classifiers and detectors are."
    )


def write(plan: Plan, path: Path) -> bool:
    """Export to `path`, `.onnx` or `.pt2`; True where it takes any batch, False where one picture at a time.

    Whether a model exports with a dynamic batch shows only when the result is run, so it is run. Raises `StartupError`
    where it cannot be exported at all.
    """
    for dynamic in (True, False) if plan.batched else (False,):
        try:
            _export(plan, path, dynamic=dynamic)
            with _opened(path) as engine:
                compare(plan, engine)
        except Exception as error:  # the exporters raise many unrelated types, all meaning: not in this way
            path.unlink(missing_ok=True)
            problem = error
        else:
            return dynamic
    raise StartupError(f"The model cannot be exported as {path.name}: {first_line(problem).rstrip('.')}.") from problem


def compare(plan: Plan, engine: Engine) -> None:
    """Raises `InvalidManifest` where the engine's outputs, for one picture and for three, are not the module's own."""
    pictures = _noise(plan, 3)
    alone = [picture[None] for picture in pictures]
    for batch in alone if engine.input.batch_size is not None else (alone[0], pictures):
        with torch.inference_mode():
            wanted = [rows.numpy() for rows in plan.module(torch.from_numpy(batch))]
        found = list(engine.run(batch).values())
        if plan.manifest["task"] == "detection":
            _compare_detections(found, wanted)
            continue
        for name, ours, theirs in zip(plan.outputs, found, wanted, strict=True):
            difference = _difference(ours, theirs)
            if difference > TOLERANCE:
                raise InvalidManifest(
                    f"The exported model's {name} for {len(batch)} pictures differ from torchvision's by "
                    f"{difference:.2g} of the largest; {TOLERANCE} is allowed. Please report this model."
                )


def _compare_detections(ours: list[Array], theirs: list[Array]) -> None:
    """Nearly every detection must have its like: rounding may swap the order of two, or which of two is kept."""
    likes = _share_with_a_like(ours, theirs), _share_with_a_like(theirs, ours)
    if min(likes) < ALIKE:
        raise InvalidManifest(
            f"Of the exported model's detections {likes[0]:.0%} are torchvision's, and of those {likes[1]:.0%} are the "
            f"model's; {ALIKE:.0%} are asked for. Please report this model."
        )


def _share_with_a_like(some: list[Array], others: list[Array]) -> float:
    """The share of detections (boxes [1, M, 4], scores and labels [1, M]) that are found among the others."""
    boxes, scores, labels = (rows[0].astype(np.float64) for rows in some)
    if not len(boxes):
        return 1.0
    other_boxes, other_scores, other_labels = (rows[0].astype(np.float64) for rows in others)
    like = np.abs(boxes[:, None] - other_boxes[None]).max(axis=2, initial=0) < PIXELS
    like &= np.abs(scores[:, None] - other_scores[None]) < TOLERANCE
    like &= labels[:, None] == other_labels[None]
    return float(like.any(axis=1).mean())


def _plan_classifier(model: ZooModel, labels: tuple[str, ...] | None) -> Plan:
    preset = model.transforms
    (crop,), (shorter,) = preset.crop_size, preset.resize_size
    manifest = {
        "task": "classification",
        "description": model.origin,
        "input": {
            "size": [crop, crop],
            "resize": "center_crop",
            "resize_to": shorter,
            "mean": list(preset.mean),
            "std": list(preset.std),
            "interpolation": _INTERPOLATIONS[preset.interpolation.value],
        },
        "classification": {"softmax": True},
    }
    names = entries.fit_labels(labels or model.categories, model.classes)
    return Plan(Named(model.module, "scores").eval(), ("scores",), manifest, names)


def _plan_detector(model: ZooModel, labels: tuple[str, ...] | None) -> Plan:
    """torchvision's detectors normalise, decode and suppress in the model itself, with a variable count of boxes."""
    transform = model.module.transform
    if transform.fixed_size is not None:
        (width, height), resize = transform.fixed_size, "stretch"
    else:
        # torchvision gives the shorter side a length; a square that holds a 4:3 picture of that size comes close.
        width = height = round(transform.min_size[-1] * 4 / 3 / _STRIDE) * _STRIDE
        resize = "letterbox"
        transform.min_size, transform.max_size = (height,), width
    manifest = {
        "task": "detection",
        "description": model.origin,
        "input": {"size": [width, height], "resize": resize},
        "detection": {"decoder": "boxes_scores_labels", "nms": False, "label_offset": 1},
        "batching": {"max_size": 1},
    }
    known = model.categories[1:] if model.categories else None
    names = entries.fit_labels(labels or known, model.classes - 1)
    outputs = ("boxes", "scores", "labels")
    return Plan(Detecting(model.module).eval(), outputs, manifest, names, batched=False, formats=("onnx",))


def _export(plan: Plan, path: Path, *, dynamic: bool) -> None:
    images = torch.from_numpy(_noise(plan, 2 if dynamic else 1))
    with _quiet(), torch.no_grad():
        if path.suffix == ".pt2":
            batch = torch.export.Dim("batch", min=1, max=LARGEST_BATCH)
            shapes = ({0: batch},) if dynamic else None
            torch.export.save(torch.export.export(plan.module, (images,), dynamic_shapes=shapes), path)
            return
        names = (plan.input_name, *plan.outputs)
        axes = {name: {0: "batch"} for name in names} if dynamic else None
        if plan.manifest["task"] == "detection":
            axes = {name: {1: "count"} for name in plan.outputs}
        # The exporter by tracing: the newer one needs two more packages.
        torch.onnx.export(
            plan.module,
            (images,),
            str(path),
            input_names=[plan.input_name],
            output_names=list(plan.outputs),
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )


@contextmanager
def _opened(path: Path) -> Iterator[Engine]:
    name = ENGINES["onnx" if path.suffix == ".onnx" else "pt2"]
    options = EngineOptions(devices.choose("cpu", None), threads=usable_cores())
    engine = catalog.open_engine(name, path, options)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' remarks to their own developers, and without attention fused into one operator, which
    ONNX does not have.
    """
    before, fused = logging.root.manager.disable, torch.backends.mha.get_fastpath_enabled()
    logging.disable(logging.WARNING)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        logging.disable(before)


def _noise(plan: Plan, count: int) -> Array:
    """Pictures of random pixels, normalised as the manifest says; each is another."""
    section = plan.manifest["input"]
    width, height = section["size"]
    mean = np.array(section.get("mean", (0, 0, 0)), np.float32)[:, None, None]
    std = np.array(section.get("std", (1, 1, 1)), np.float32)[:, None, None]
    pixels = np.random.default_rng(0).random((count, 3, height, width), np.float32)
    return np.asarray((pixels - mean) / std, np.float32)


def _difference(ours: Array, theirs: Array) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    largest = max(float(np.abs(theirs).max(initial=0)), 1e-6)
    difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max(initial=0)
    return float(difference / largest) if np.isfinite(difference) else float("inf")
