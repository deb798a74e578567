"""COCO (https://cocodataset.org/#format-data): a dataset that labelling tools take, and a list of results to evaluate.

Both are written as the answers come: of a dataset's three lists, the annotations wait in a temporary file until the
pictures are all there.
"""

import json
import shutil
import tempfile
from contextlib import ExitStack
from itertools import chain
from typing import IO, Any

from app import __version__
from app.commands.output.base import Answered, Output, Wanted
from app.commands.output.labels import Labels
from app.commands.output.masks import outlines, run_lengths
from app.commands.output.places import area_of, is_seen
from app.vision.image import Size
from app.wire.masks import Polygons
from app.wire.prediction import Detection, Prediction

FIRST_ID = 1
"""Of pictures, annotations and categories, as in COCO itself: some tools take 0 for the background."""


class Coco(Output):
    """`coco.json` and `coco-results.json`. A picture's id is its place among all, a category's the class id, plus 1."""

    def __init__(self, wanted: Wanted) -> None:
        self._labels = Labels(wanted.model)
        self._annotation = FIRST_ID
        self._points: dict[str, Any] = {}
        with ExitStack() as files:
            self._dataset, self._results = (
                files.enter_context((wanted.out / name).open("w", encoding="utf-8", newline="\n"))
                for name in ("coco.json", "coco-results.json")
            )
            self._held = files.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8", dir=wanted.out))
            self._files = files.pop_all()
        info = {"description": f"Answers of {wanted.model.name}", "contributor": f"roo-vision {__version__}"}
        self._dataset.write(f'{{"info": {json.dumps(info)},\n"licenses": [],\n"images": [')
        self._results.write("[")
        self._images, self._rows, self._annotations = (
            _List(file) for file in (self._dataset, self._results, self._held)
        )

    def append(self, answered: Answered) -> None:
        """Write the picture and its detections into all lists."""
        image_id, size = answered.number + FIRST_ID, answered.prediction.image
        self._images.add({"id": image_id, "file_name": answered.file_name, "width": size.width, "height": size.height})
        detections = answered.prediction.detections or []
        self._labels.see(detections)
        self._points = self._points or _points(answered.prediction)
        for found in detections:
            row = _row(found, image_id)
            more = _more(found, row)
            if found.mask is not None:
                pixels = Size(size.width, size.height)
                lengths, more["area"] = run_lengths(found.mask, pixels)
                polygons = outlines(found.mask, pixels) if isinstance(found.mask, Polygons) else None
                self._rows.add({**row, "segmentation": lengths})
                more["segmentation"] = polygons or lengths
            else:
                self._rows.add({**row, **_scored_points(found)})
            self._annotations.add({"id": self._annotation, **row, **more})
            self._annotation += 1

    def close(self) -> None:
        """End both files."""
        names = enumerate(self._labels.all(), FIRST_ID)
        categories = [{"id": number, "name": name, **self._points} for number, name in names]
        with self._files:
            self._dataset.write('\n],\n"annotations": [')
            self._held.seek(0)
            shutil.copyfileobj(self._held, self._dataset)
            self._dataset.write(f'\n],\n"categories": {json.dumps(categories)}}}\n')
            self._results.write("\n]\n")


class _List:
    """A list in JSON, an element a line."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._separator = "\n"

    def add(self, element: dict[str, Any]) -> None:
        self._file.write(self._separator + json.dumps(element))
        self._separator = ",\n"


def _row(found: Detection, image_id: int) -> dict[str, Any]:
    """A detection as results have it; `bbox` is x, y, width, height in pixels."""
    x1, y1, x2, y2 = found.box
    bbox = [x1, y1, round(x2 - x1, 1), round(y2 - y1, 1)]
    return {"image_id": image_id, "category_id": found.class_id + FIRST_ID, "bbox": bbox, "score": found.score}


def _more(found: Detection, row: dict[str, Any]) -> dict[str, Any]:
    """What an annotation has beside that."""
    _, _, width, height = row["bbox"]
    more: dict[str, Any] = {"area": round(width * height, 2), "iscrowd": 0, "segmentation": []}
    if found.polygon is not None:
        more |= {"area": area_of(found.polygon), "segmentation": [found.polygon]}
    if found.keypoints is not None:
        seen = [(point.x, point.y, 2) if is_seen(point) else (0, 0, 0) for point in found.keypoints]
        more |= {"keypoints": list(chain(*seen)), "num_keypoints": sum(map(is_seen, found.keypoints))}
    read = {"attributes": {"text": found.text, "format": found.format}} if found.codes else {}
    return {**more, **read}


def _scored_points(found: Detection) -> dict[str, Any]:
    """Its keypoints as results have them: x, y and a score each."""
    if found.keypoints is None:
        return {}
    told = ((point.x, point.y, 1 if point.score is None else point.score) for point in found.keypoints)
    return {"keypoints": list(chain(*told))}


def _points(prediction: Prediction) -> dict[str, Any]:
    """What a category says of keypoints: their names, and its skeleton, which counts from 1."""
    told = next((found.keypoints for found in prediction.detections or [] if found.keypoints), None)
    if told is None:
        return {}
    skeleton = [[one + 1, other + 1] for one, other in prediction.skeleton or []]
    return {"keypoints": [point.name for point in told], "skeleton": skeleton}
