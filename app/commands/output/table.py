"""CSV (RFC 4180): `predictions.csv`, a row for everything that is found."""

import csv
from collections.abc import Iterator

from app.commands.output.base import Answered, Output, Wanted
from app.commands.output.lines import in_shares
from app.commands.output.values import numbers_of
from app.commands.summary import text_of
from app.wire.prediction import Prediction

_BOX = ("x1", "y1", "x2", "y2")
_CORNERS = ("x1", "y1", "x2", "y2", "x3", "y3", "x4", "y4")
COLUMNS = {
    "detection": ("label", "class_id", "score", *_BOX, "text", "format", "other_texts"),
    "classification": ("label", "class_id", "score"),
    "segmentation": ("label", "class_id", "share", *_BOX),
    "embedding": ("dimensions", "normalized", "values"),
    "maps": ("label", "class_id", "unit", "minimum", "maximum", *_BOX),
    "text_detection": ("score", *_CORNERS),
    "text_recognition": ("text", "score"),
}
"""By task, behind the picture's `file`, `width` and `height`."""
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 - what they are about
"""What a cell begins with that a spreadsheet computes (https://owasp.org/www-community/attacks/CSV_Injection)."""

Cell = str | int | float | None


class Table(Output):
    """`predictions.csv`. Where a text would be a formula to a spreadsheet, an apostrophe stands before it."""

    def __init__(self, wanted: Wanted) -> None:
        self._normalized = wanted.normalized
        self._file = (wanted.out / "predictions.csv").open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file, lineterminator="\n")
        self._rows.writerow(("file", "width", "height", *COLUMNS[wanted.model.task]))

    def append(self, answered: Answered) -> None:
        """Write its rows."""
        prediction = in_shares(answered.prediction) if self._normalized else answered.prediction
        size = prediction.image
        for row in _rows(prediction):
            cells: tuple[Cell, ...] = (text_of(str(answered.path)), size.width, size.height, *row)
            self._rows.writerow([guarded(cell) if isinstance(cell, str) else cell for cell in cells])

    def close(self) -> None:
        """End the file."""
        self._file.close()


def guarded(text: str) -> str:
    """The text as a cell that no spreadsheet computes."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _rows(prediction: Prediction) -> Iterator[tuple[Cell, ...]]:
    for found in prediction.detections or []:
        others = "\n".join(code.text for code in found.codes[1:])
        yield found.label, found.class_id, found.score, *found.box, found.text, found.format, others
    for chosen in prediction.classes or []:
        yield chosen.label, chosen.class_id, chosen.score
    for part in prediction.segmentation.segments if prediction.segmentation else []:
        yield part.label, part.class_id, part.share, *part.box
    if (vector := prediction.embedding) is not None:
        yield vector.dimensions, int(vector.normalized), " ".join(f"{number:.7g}" for number in numbers_of(vector))
    for chart in prediction.maps or []:
        yield chart.label, chart.class_id, chart.unit, chart.minimum, chart.maximum, *chart.box
    for line in prediction.lines or []:
        yield line.score, *line.polygon
    if prediction.text is not None:
        yield prediction.text.text, prediction.text.score
