"""Text files as YOLO's tools read and write them (https://docs.ultralytics.com/datasets/detect/)."""

from collections.abc import Iterator

import yaml

from app.commands.output.base import Answered, Output, Wanted, new_file
from app.commands.output.labels import Labels
from app.commands.output.masks import outlines
from app.commands.output.places import is_seen, shares
from app.vision.image import Size
from app.wire.prediction import Detection


class Yolo(Output):
    """`labels/NAME.txt`, and the classes' names in `classes.txt` and `data.yaml`.

    A line a detection: class id, centre x, centre y, width, height, all but the first 0 to 1, and with `save_conf` the
    score. Of one with a mask: class id and the outline of its largest part, x1, y1, x2, y2, … of 0 to 1, where there is
    any (https://docs.ultralytics.com/datasets/segment/). Of a turned box: class id and its corners, x1, y1, …, x4, y4
    (https://docs.ultralytics.com/datasets/obb/). Keypoints follow the box, x, y and 2 each where they are seen, else
    three zeros (https://docs.ultralytics.com/datasets/pose/). Where nothing is found the file is empty, which says so
    to those who train with it.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._out = wanted.out
        self._save_conf = wanted.save_conf
        self._labels = Labels(wanted.model)
        self._points = 0

    def save(self, answered: Answered, content: bytes) -> None:
        """Write its file."""
        size = Size(answered.prediction.image.width, answered.prediction.image.height)
        lines = [line for found in answered.prediction.detections or [] for line in self._lines(found, size)]
        new_file(self._out / "labels" / f"{answered.name}.txt").write_text("".join(lines), "utf-8")

    def append(self, answered: Answered) -> None:
        """Learn of its classes."""
        detections = answered.prediction.detections or []
        self._labels.see(detections)
        self._points = max(self._points, *(len(found.keypoints or ()) for found in detections), 0)

    def close(self) -> None:
        """Write the classes' names."""
        names = self._labels.all()
        (self._out / "classes.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
        data = {"train": "images", "val": "images", "nc": len(names), "names": dict(enumerate(names))}
        if self._points:
            data["kpt_shape"] = [self._points, 3]
        (self._out / "data.yaml").write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), "utf-8")

    def _lines(self, found: Detection, size: Size) -> Iterator[str]:
        if found.mask is None and found.polygon is not None:
            yield self._line(found, shares(found.polygon, size))
            return
        if found.mask is None:
            x1, y1, x2, y2 = found.box
            centre = (x1 + x2) / 2 / size.width, (y1 + y2) / 2 / size.height
            box = [*centre, (x2 - x1) / size.width, (y2 - y1) / size.height]
            yield self._line(found, [*box, *_points(found, size)])
            return
        for ring in outlines(found.mask, size)[:1]:
            yield self._line(found, [number / size[place % 2] for place, number in enumerate(ring)])

    def _line(self, found: Detection, numbers: list[float]) -> str:
        numbers = [*numbers, found.score] if self._save_conf else numbers
        return f"{found.class_id} {' '.join(f'{number:g}' for number in numbers)}\n"


def _points(found: Detection, size: Size) -> Iterator[float]:
    """x, y, and how well it is seen, of each keypoint."""
    for point in found.keypoints or ():
        yield from (*shares([point.x, point.y], size), 2) if is_seen(point) else (0, 0, 0)
