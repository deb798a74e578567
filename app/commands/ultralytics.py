"""What Ultralytics' exporter leaves in a graph's metadata (engine/exporter.py), as fields of a manifest."""

import ast
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from app.errors import InvalidManifest
from app.vision.image import Size
from app.vision.keypoint_sets import NAMES

Task = Literal["classification", "detection", "segmentation", "embedding", "maps"]

_TASKS: dict[str, Task] = {
    "detect": "detection",
    "segment": "detection",
    "pose": "detection",
    "obb": "detection",
    "classify": "classification",
}
_MASK_COEFFICIENTS = 32


@dataclass(frozen=True, slots=True)
class Told:
    """What the metadata says, None where it does not; `section` are fields of the task's section."""

    task: Task | None = None
    labels: tuple[str, ...] | None = None
    size: Size | None = None
    like: str | None = None
    section: Mapping[str, Any] = field(default_factory=dict)
    input: Mapping[str, Any] = field(default_factory=dict)
    reasons: tuple[str, ...] = ()


def read(metadata: Mapping[str, str], outputs: tuple[str, ...], named: bool = False) -> Told:
    """What can be understood of a graph's metadata, whose outputs have these names; where it is `named` already, its
    classes' names need not be right.

    Raises `InvalidManifest` where it tells of a model that cannot be served, or that numbers its classes with gaps.
    """
    labels = _names(metadata, named)
    kind = metadata.get("task", "")
    if labels is None:
        return Told()
    reasons: tuple[str, ...] = (f"the graph's metadata names {len(labels)} classes",)
    if kind not in _TASKS:
        if kind:
            raise InvalidManifest(f"the graph's metadata says that it does {kind}, which is not read.")
        return Told(labels=labels, size=_size(metadata), reasons=reasons)
    section, pixels = ({}, {}) if kind == "classify" else _detector(kind, metadata, outputs)
    told = ", ".join(f"{name}={_written(value)}" for name, value in section.items())
    reasons += (f"its metadata says: task {kind} by Ultralytics{', so ' + told if told else ''}",)
    if kind == "segment" and "masks" not in section:
        reasons += ("boxes alone are answered: an output with the prototypes of the masks is missing",)
    if kind == "pose":
        reasons += _of_keypoints(section.get("keypoints"))
    return Told(_TASKS[kind], labels, _size(metadata), "ultralytics", section, pixels, reasons)


def _detector(
    kind: str, metadata: Mapping[str, str], outputs: tuple[str, ...]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Fields of `detection:` and of `input:`."""
    suppressed = metadata.get("end2end") == "True" or "'nms': True" in metadata.get("args", "")
    if "rtdetr" in metadata.get("description", "").lower().replace("-", ""):
        queries = {"transposed": True, "coordinates": "normalized", "nms": False}
        return {"decoder": "yolo", **queries}, {"resize": "stretch"}
    points = _numbers(metadata, "kpt_shape")
    extras = {"segment": _MASK_COEFFICIENTS, "pose": math.prod(points), "obb": 1}.get(kind, 0)
    section: dict[str, Any] = {"decoder": "end_to_end" if suppressed else "yolo"}
    section |= {"extras": extras} if extras else {}
    section |= {"rotated": True} if kind == "obb" else {}
    section |= {"outputs": list(outputs[:1])} if len(outputs) > 1 else {}
    if kind == "segment" and len(outputs) == 2:
        section["masks"] = {"kind": "prototypes", "output": outputs[1]}
    if kind == "pose" and len(points) == 2 and points[1] in (2, 3):
        section["keypoints"] = _keypoints(metadata, points[0]) | ({"dimensions": 2} if points[1] == 2 else {})
    return section, {}


def _of_keypoints(section: Mapping[str, Any] | None) -> tuple[str, ...]:
    if section is None:
        return ("boxes alone are answered: how many keypoints there are is not said",)
    if section["names"] == "coco":
        return ("so many keypoints of a person are COCO's",)
    numbered = section["names"][0] == "0"
    return ("its keypoints have numbers for names: write others into model.yaml, and a skeleton",) if numbered else ()


def _keypoints(metadata: Mapping[str, str], count: int) -> dict[str, Any]:
    """Their names: as the metadata lists them for the first class, COCO's where a person has as many, or numbers."""
    coco = list(NAMES["coco"])
    listed = _literal(metadata, "kpt_names")
    names = next(iter(listed.values()), None) if isinstance(listed, dict) else None
    if isinstance(names, list) and len(set(map(str, names))) == count:
        names = [str(name) for name in names]
    else:
        persons = count == len(coco) and _literal(metadata, "names") in ({0: "person"}, ["person"])
        names = coco if persons else [str(number) for number in range(count)]
    return {"names": "coco" if names == coco else names}


def _names(metadata: Mapping[str, str], gaps: bool) -> tuple[str, ...] | None:
    """The classes' names in their order, from a dict of numbers or a list, in Python's notation."""
    found = _literal(metadata, "names")
    if isinstance(found, list):
        found = dict(enumerate(found))
    if not isinstance(found, dict) or not found or not all(isinstance(number, int) for number in found):
        return None
    missing = sorted(set(range(max(found))) - set(found))
    if missing and not gaps:
        raise InvalidManifest(
            f"the graph's metadata names no class {missing[0]}, but higher ones. Give all names with --labels."
        )
    return tuple(str(found[number]).strip() or str(number) for number in sorted(found))


def _size(metadata: Mapping[str, str]) -> Size | None:
    sides = _numbers(metadata, "imgsz")
    return Size(sides[1], sides[0]) if len(sides) == 2 else None


def _literal(metadata: Mapping[str, str], name: str) -> Any:
    """A value in Python's notation, None where it is none."""
    try:
        return ast.literal_eval(metadata.get(name, ""))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _numbers(metadata: Mapping[str, str], name: str) -> list[int]:
    found = _literal(metadata, name)
    return [number for number in found if isinstance(number, int)] if isinstance(found, list | tuple) else []


def _written(value: object) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_written(inner)}" for name, inner in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value).replace("'", "")
