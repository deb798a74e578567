"""Classes by their ids, as files name them."""

import re

from app.commands.output.base import AskedModel
from app.wire.prediction import Detection

_UNSAFE = re.compile(r"[^\w\- .()+&,]")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_LONGEST = 80


class Labels:
    """A model's labels, and those that its answers show beside them: a graph may number more classes than are named."""

    def __init__(self, model: AskedModel) -> None:
        self._names = dict(enumerate(model.labels))

    def see(self, detections: list[Detection]) -> None:
        """Learn of the classes of an answer."""
        for found in detections:
            self._names.setdefault(found.class_id, found.label)

    def all(self) -> list[str]:
        """The name of each class id from 0 to the highest."""
        return [self._names.get(number, f"class {number}") for number in range(max(self._names, default=-1) + 1)]


def folder_names(labels: tuple[str, ...]) -> dict[str, str]:
    """For each label a folder's name that every file system takes, and that no other label has."""
    found: dict[str, str] = {}
    taken: set[str] = set()
    for class_id, label in enumerate(labels):
        if label in found:
            continue
        name = folder_name(label)
        if name.casefold() in taken:
            name = f"{name}-{class_id}"
        taken.add(name.casefold())
        found[label] = name
    return found


def folder_name(label: str) -> str:
    """A label as a folder's name: no separators, no dots at its ends, nothing that is a device elsewhere."""
    name = _UNSAFE.sub("_", label)[:_LONGEST].strip(" .")
    return f"_{name}" if not name or _RESERVED.fullmatch(name) else name
