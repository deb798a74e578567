"""What families of models do, by name: `like: ultralytics` in a manifest stands for the fields in `families`."""

from collections.abc import Mapping
from typing import Any

from app.repository.families import COVER, FAMILIES

NAMES = tuple(FAMILIES)
"""What `like` may name."""


def tasks(name: str) -> tuple[str, ...]:
    """The tasks of which a preset says something."""
    return tuple(FAMILIES[name])


_OF_ANY_DECODER = ("score_threshold", "iou_threshold", "max_detections", "max_candidates", "class_agnostic")


def expanded(content: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest's content with the fields that its `like` stands for, each of which the content may override.

    With another decoder than the preset's, only its thresholds and counts are taken over. Raises `ValueError` where
    the preset is unknown or has nothing for the task.
    """
    name, task = content.get("like"), content.get("task")
    if name not in FAMILIES:
        raise ValueError(f"like: is one of {', '.join(NAMES)}, not {name!r}")
    if task not in FAMILIES[name]:
        raise ValueError(f"like: {name} says nothing of task {task}, only of {', '.join(tasks(name))}")
    merged = dict(content)
    for section, fields in FAMILIES[name][task].items():
        given = content.get(section) or {}
        if isinstance(given, dict):
            merged[section] = {**_fitting(fields, given), **given}
    return merged


def _fitting(fields: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The preset's fields that still mean something beside those that are given."""
    found = dict(fields)
    if given.get("decoder", found.get("decoder")) != found.get("decoder"):
        found = {key: value for key, value in found.items() if key in _OF_ANY_DECODER}
    if given.get("resize", found.get("resize")) != found.get("resize"):
        found.pop("resize_to", None)
        found.pop("crop_rounding", None)
    if given.get("antialias") is False:
        found.pop("first_pass", None)
    if given.get("reduce", "none") != "none":
        found.pop("round_pixels", None)
    if found.get("resize_to") == COVER:
        found.pop("resize_to")
        size = given.get("size")
        if isinstance(size, list | tuple) and size and all(isinstance(side, int) for side in size):
            found["resize_to"] = max(size) * 256 // 224
    return found
