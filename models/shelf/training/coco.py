"""COCO data sets (https://cocodataset.org/#format-data), anybody's: all is checked before anything is trained on."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from json import JSONDecodeError
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from app.errors import RequestError
from app.vision.header import read_header
from models.shelf.training.arrays import CLASSES, F32

NAMES = ("annotations.json", "_annotations.coco.json", "coco.json", "result.json")
"""A folder's file of annotations: ours, Roboflow's, that of `predict --format coco`, Label Studio's."""
LEFT_OUT = "-"
"""Stands for the label of a category that is not to be learned."""
_SLACK = 1.5
"""Pixels that a box may reach over the edge: tools round."""
_SHOWN = 20
_ONE = {"images": "picture", "annotations": "annotation", "categories": "category"}


class DataRefused(ValueError):
    """Data that nothing should be learned from or measured on; the text says which, where and how to mend it."""


@dataclass(slots=True)
class CocoSet:
    """A checked data set, in the model's own terms.

    `images` and `notes` are COCO's entries with ids counted from 1, categories by the model's labels; `files` are where
    the pictures lie.
    """

    path: Path
    images: list[dict[str, Any]] = field(default_factory=list)
    notes: list[dict[str, Any]] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """One COCO document, as evaluation wants it."""
        categories = [{"id": number, "name": name} for number, name in enumerate(CLASSES, 1)]
        return {"images": self.images, "annotations": self.notes, "categories": categories}

    def objects(self) -> list[F32]:
        """By picture float32 [M, 6]: box (x1, y1, x2, y2 in pixels), class, and 1 where it is ignored in training.

        Ignored is what is marked `hidden` (by the generator) or else `iscrowd`.
        """
        rows: list[list[list[float]]] = [[] for _ in self.images]
        for note in self.notes:
            x, y, width, height = note["bbox"]
            ignored = note.get("hidden", note["iscrowd"])
            rows[note["image_id"] - 1].append([x, y, x + width, y + height, note["category_id"] - 1, ignored])
        return [np.array(row, np.float32).reshape(-1, 6) for row in rows]


def annotations_in(place: Path) -> Path:
    """The file of annotations that `place` is, or has in it under one of `NAMES`. Raises `DataRefused`."""
    if place.is_file():
        return place
    found = [place / name for name in NAMES if (place / name).is_file()]
    if len(found) != 1:
        there = f"{len(found)} of them are" if found else "none of them is"
        raise DataRefused(f"{place}: a COCO folder has one of {', '.join(NAMES)}, and {there} there. Name the file.")
    return found[0]


def read_coco(place: Path, labels: Mapping[str, str] | None = None) -> CocoSet:
    """Reads and checks the data set at `place`, a file or a folder.

    `labels` says which label of the model a category is (`LEFT_OUT`: none); others have to bear a label's name. Raises
    `DataRefused` with all that is wrong, by file and line.
    """
    path = annotations_in(place)
    text = path.read_text("utf-8")
    try:
        document = json.loads(text)
    except JSONDecodeError as error:
        raise DataRefused(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
    reader = _Reader(path, text)
    result = reader.read(document, {} if labels is None else labels)
    if reader.wrong:
        more = len(reader.wrong) - _SHOWN
        lines = reader.wrong[:_SHOWN] + ([f"… and {more} more"] if more > 0 else [])
        raise DataRefused("\n".join(lines))
    if not result.notes:
        raise DataRefused(f"{path}: not one annotation of a label: there is nothing to learn or to measure.")
    return result


class _Reader:
    """Gathers all that is wrong with one file, so that it is mended at once."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.wrong: list[str] = []
        self._text = text
        self._lines: dict[str, list[int]] = {}

    def read(self, document: Any, labels: Mapping[str, str]) -> CocoSet:
        result = CocoSet(self.path)
        lists = ("images", "annotations", "categories")
        if not isinstance(document, dict) or any(not isinstance(document.get(name), list) for name in lists):
            self.wrong.append(f"{self.path}: not COCO: it has to be an object with the lists {', '.join(lists)}")
            return result
        if not document["images"]:
            self.wrong.append(f"{self.path}: no pictures (`images` is empty)")
        kinds = self._kinds(document["categories"], labels)
        images = self._images(document["images"], result)
        for number, note in enumerate(document["annotations"]):
            self._annotation(number, note, kinds, images, result)
        return result

    def _say(self, kind: str, number: int, entry: Any, what: str) -> None:
        ident = f" {entry['id']}" if isinstance(entry, dict) and "id" in entry else ""
        lines = self._lines.setdefault(kind, list(_lines(self._text, kind)))
        place = f"{self.path}:{lines[number]}" if number < len(lines) else str(self.path)
        self.wrong.append(f"{place}: {_ONE[kind]}{ident}: {what}")

    def _kinds(self, categories: list[Any], labels: Mapping[str, str]) -> dict[Any, int | None]:
        """By a category's id the class that it is, None where it is left out."""
        kinds: dict[Any, int | None] = {}
        for number, category in enumerate(categories):
            if not isinstance(category, dict) or not {"id", "name"} <= category.keys():
                self._say("categories", number, category, "it needs `id` and `name`")
                continue
            label = labels.get(category["name"], category["name"])
            if label != LEFT_OUT and label not in CLASSES:
                self._say(
                    "categories",
                    number,
                    category,
                    f"{category['name']!r} is none of {', '.join(CLASSES)}: say which by --label "
                    f"'{category['name']}=LABEL', or leave it out by --label '{category['name']}={LEFT_OUT}'",
                )
            kinds[category["id"]] = CLASSES.index(label) if label in CLASSES else None
        return kinds

    def _images(self, images: list[Any], result: CocoSet) -> dict[Any, dict[str, Any]]:
        """The pictures' new entries by their old ids; all of them are added to the result."""
        entries: dict[Any, dict[str, Any]] = {}
        for number, image in enumerate(images):
            if not isinstance(image, dict) or not {"id", "file_name", "width", "height"} <= image.keys():
                self._say("images", number, image, "it needs `id`, `file_name`, `width` and `height`")
                continue
            if image["id"] in entries:
                self._say("images", number, image, "another picture has this id")
                continue
            file, wrong = self._picture(image)
            if wrong:
                self._say("images", number, image, wrong)
            entries[image["id"]] = {**image, "id": len(result.images) + 1}
            result.images.append(entries[image["id"]])
            result.files.append(file)
        repeated = [name for name, count in Counter(result.files).items() if count > 1]
        self.wrong += [f"{self.path}: {name} is there twice" for name in repeated]
        return entries

    def _picture(self, image: dict[str, Any]) -> tuple[Path, str]:
        """The picture's file, and what is wrong with it, or an empty text."""
        name = PurePosixPath(str(image["file_name"]))
        folder = self.path.parent
        if name.is_absolute() or ".." in name.parts:
            return folder, f"{name} leads out of the data set's folder"
        file = next((at / name for at in (folder, folder / "images") if (at / name).is_file()), None)
        if file is None:
            return folder / name, f"{name} is neither in {folder} nor in its folder `images`"
        try:
            size = read_header(file.read_bytes()).upright
        except (OSError, RequestError) as error:
            return file, f"{file} cannot be read: {error}"
        if (size.width, size.height) != (image["width"], image["height"]):
            said = f"{image['width']} x {image['height']}"
            return file, f"{file} is {size.width} x {size.height} pixels, upright, and not {said}"
        return file, ""

    def _annotation(
        self, number: int, note: Any, kinds: Mapping[Any, int | None], images: Mapping[Any, Any], result: CocoSet
    ) -> None:
        if not isinstance(note, dict) or not {"image_id", "category_id", "bbox"} <= note.keys():
            self._say("annotations", number, note, "it needs `image_id`, `category_id` and `bbox`")
        elif note["image_id"] not in images:
            self._say("annotations", number, note, f"there is no picture {note['image_id']}")
        elif note["category_id"] not in kinds:
            self._say("annotations", number, note, f"there is no category {note['category_id']}")
        elif (wrong := _box_fault(note["bbox"], images[note["image_id"]])) is not None:
            self._say("annotations", number, note, wrong)
        elif (kind := kinds[note["category_id"]]) is not None:
            area = note["bbox"][2] * note["bbox"][3]
            own = {"id": len(result.notes) + 1, "image_id": images[note["image_id"]]["id"], "category_id": kind + 1}
            result.notes.append({"iscrowd": 0, "area": area, **note, **own})


def _box_fault(box: Any, image: Mapping[str, Any]) -> str | None:
    try:
        x, y, width, height = (float(number) for number in box)
    except (TypeError, ValueError):
        return f"`bbox` has to be four numbers (x, y, width, height), not {str(box)[:60]}"
    if not all(map(math.isfinite, (x, y, width, height))) or width <= 0 or height <= 0:
        return f"the box {box} has no area"
    right, bottom = image["width"], image["height"]
    if x < -_SLACK or y < -_SLACK or x + width > right + _SLACK or y + height > bottom + _SLACK:
        return f"the box {box} (x, y, width, height) reaches out of its picture of {right} x {bottom} pixels"
    return None


def _lines(text: str, key: str) -> Iterator[int]:
    """In which line of the document each element of the list `key` begins, counted from 1."""
    decoder = json.JSONDecoder()
    found = re.search(rf'"{key}"\s*:\s*\[', text)
    place = found.end() if found else len(text)
    line, counted = 1, 0
    while (element := re.compile(r"[\s,]*").match(text, place)) and text[element.end() : element.end() + 1] not in "]":
        start = element.end()
        line, counted = line + text.count("\n", counted, start), start
        yield line
        place = decoder.raw_decode(text, start)[1]
