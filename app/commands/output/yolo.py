"""Text files as YOLO's tools read and write them (https://docs.ultralytics.com/datasets/detect/)."""

from collections.abc import Iterator

import yaml

from app.commands.output.base import Answered, Output, Wanted, new_file
from app.commands.output.labels import Labels
from app.commands.output.masks import outlines
from app.vision.image import Size
from app.wire.prediction import Detection


class Yolo(Output):
    """`labels/NAME.txt`, and the classes' names in `classes.txt` and `data.yaml`.

    A line a detection: class id, centre x, centre y, width, height, all but the first 0 to 1, and with `save_conf` the
    score. Of one with a mask: class id and the outline of its largest part, x1, y1, x2, y2, … of 0 to 1, where there is
    any (https://docs.ultralytics.com/datasets/segment/). Where nothing is found the file is empty, which says so to
    those who train with it.
    """

    def __init__(self, wanted: Wanted) -> None:
        self._out = wanted.out
        self._save_conf = wanted.save_conf
        self._labels = Labels(wanted.model)

    def save(self, answered: Answered, content: bytes) -> None:
        """Write its file."""
        size = Size(answered.prediction.image.width, answered.prediction.image.height)
        lines = [line for found in answered.prediction.detections or [] for line in self._lines(found, size)]
        new_file(self._out / "labels" / f"{answered.name}.txt").write_text("".join(lines), "utf-8")

    def append(self, answered: Answered) -> None:
        """Learn of its classes."""
        self._labels.see(answered.prediction.detections or [])

    def close(self) -> None:
        """Write the classes' names."""
        names = self._labels.all()
        (self._out / "classes.txt").write_text("".join(f"{name}\n" for name in names), "utf-8")
        data = {"train": "images", "val": "images", "nc": len(names), "names": dict(enumerate(names))}
        (self._out / "data.yaml").write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), "utf-8")

    def _lines(self, found: Detection, size: Size) -> Iterator[str]:
        if found.mask is None:
            x1, y1, x2, y2 = found.box
            centre = (x1 + x2) / 2 / size.width, (y1 + y2) / 2 / size.height
            yield self._line(found, [*centre, (x2 - x1) / size.width, (y2 - y1) / size.height])
            return
        for ring in outlines(found.mask, size)[:1]:
            yield self._line(found, [number / size[place % 2] for place, number in enumerate(ring)])

    def _line(self, found: Detection, numbers: list[float]) -> str:
        numbers = [*numbers, found.score] if self._save_conf else numbers
        return f"{found.class_id} {' '.join(f'{number:g}' for number in numbers)}\n"
