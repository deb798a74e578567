"""Whether a candidate may come into service: measured against the champion on held-out pictures, figure by figure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from pycocotools.cocoeval import COCOeval
from rich.console import Console
from rich.table import Table

from models.shelf.training.bootstrap import Difference, compare, of_counts
from models.shelf.training.coco import DataRefused
from models.shelf.training.measuring import Measured, Version, agreeing, measure
from models.shelf.training.metrics import Pictures, average_precision

SLOWER = 1.10
"""How much longer than the champion's the network may take."""
LOST = 0.03
"""How far a figure may fall though these pictures are too few to be sure of it."""
INT8_LOST, INT8_ALIKE = 0.01, 0.85
"""Of the candidate's mAP50 in int8; and the share of detections that are the same in both precisions."""
LEADING = "mAP50-95"
"""What has to be better."""
_AGREEING = 200

Verdict = Literal["better", "same", "worse"]


class CandidateRefused(DataRefused):
    """The candidate is not better, or worse in something that is guarded."""


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of both, the interval of their difference where there is one, and what follows from it."""

    champion: float
    candidate: float
    verdict: Verdict
    why: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(slots=True)
class Judged:
    """All figures by name, and the candidate's evaluation, for its curves."""

    champion: str
    candidate: str
    pictures: int
    curves: COCOeval
    rows: dict[str, Row] = field(default_factory=dict)

    @property
    def worse(self) -> list[str]:
        """In what the candidate is worse."""
        return [name for name, row in self.rows.items() if row.verdict == "worse"]

    @property
    def passed(self) -> bool:
        """Whether it is better in what leads, and worse in nothing."""
        return not self.worse and self.rows[LEADING].verdict == "better"

    def refuse_unless_passed(self) -> None:
        """Raises `CandidateRefused`."""
        if self.worse:
            raise CandidateRefused(f"Refused: {self.candidate} is worse in {', '.join(self.worse)}.")
        if not self.passed:
            row = self.rows[LEADING]
            raise CandidateRefused(
                f"Refused: {self.candidate} is not surely better than {self.champion}: its {LEADING} differs by "
                f"{row.low:+.4f} to {row.high:+.4f} (95 %), of {self.pictures} pictures. More pictures tell finer "
                "differences apart."
            )

    def as_json(self) -> dict[str, Any]:
        """For a file."""
        rows = {name: asdict(row) for name, row in self.rows.items()}
        said = {"champion": self.champion, "candidate": self.candidate, "pictures": self.pictures}
        return {**said, "passed": self.passed, "figures": rows}

    def print(self) -> None:
        """A table for who decides."""
        table = Table(title=f"{self.candidate} against {self.champion}, {self.pictures} pictures")
        for heading in ("", "champion", "candidate", "difference, 95 %", ""):
            table.add_column(heading, justify="left" if not heading else "right")
        for name, row in self.rows.items():
            between = "" if row.low is None else f"{row.low:+.4f} to {row.high:+.4f}"
            said = f"{row.verdict}{f': {row.why}' if row.why else ''}"
            table.add_row(name, f"{row.champion:.4f}", f"{row.candidate:.4f}", between, said)
        Console(width=120).print(table)


def judge(champion: Version, candidate: Version, pictures: Pictures, seed: int = 0) -> Judged:
    """Measures both through the service's code and compares them, and the candidate's int8 file with itself."""
    small = Version(candidate.entry, candidate.number, "int8")
    old, new, quantized = measure([champion, candidate, small], pictures)
    evaluated = [average_precision(pictures, each.found) for each in (old, new, quantized)]
    names = (f"version {champion.number}", f"version {candidate.number}")
    judged = Judged(*names, len(pictures), evaluated[1][1])
    for name, difference in compare(evaluated[0][1], evaluated[1][1], seed).items():
        judged.rows[name] = _row(difference)
    judged.rows["barcodes read"] = _row(_reading(pictures, old, new, seed))
    judged.rows["milliseconds"] = _limit(old.milliseconds, new.milliseconds, SLOWER * old.milliseconds)
    exact, less = (evaluated[place][0]["mAP50"] for place in (1, 2))
    fell = less < exact - INT8_LOST
    judged.rows["mAP50 in int8"] = Row(exact, less, "worse" if fell else "same", "than in fp32" if fell else "")
    alike = agreeing(candidate, small, pictures.files[:_AGREEING])
    if alike.compared:
        apart = alike.share < INT8_ALIKE
        judged.rows["alike in int8"] = Row(1, alike.share, "worse" if apart else "same", f"{INT8_ALIKE:g} is needed")
    return judged


def _row(difference: Difference) -> Row:
    fell = difference.candidate - difference.champion
    verdict: Verdict = "worse" if difference.high < 0 or fell < -LOST else "better" if difference.low > 0 else "same"
    why = f"by more than {LOST:g}" if verdict == "worse" and difference.high >= 0 else ""
    return Row(difference.champion, difference.candidate, verdict, why, difference.low, difference.high)


def _limit(champion: float, candidate: float, most: float) -> Row:
    return Row(champion, candidate, "worse" if candidate > most else "same", f"at most {most:.2f}")


def _reading(pictures: Pictures, old: Measured, new: Measured, seed: int) -> Difference:
    notes = pictures.notes()
    idents = [image["id"] for image in pictures.images]
    wanted = [sum(bool(note.get("text")) and not note["iscrowd"] for note in notes[ident]) for ident in idents]

    def read(counts: Mapping[int, int]) -> np.ndarray:
        return np.array([counts.get(ident, 0) for ident in idents], np.float64)

    return of_counts(read(old.read), read(new.read), np.array(wanted, np.float64), seed)
