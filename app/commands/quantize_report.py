"""What a quantized model answers differently, as a table."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from app.loading.int8_trial import Compared
from app.loading.precision import PICTURES
from app.vision.agreement import Agreement

WORST = 3
_THINGS = {
    "detection": "detections that are the same (label, half overlap)",
    "classification": "best labels that are the same",
    "segmentation": "places of the maps that are the same",
    "embedding": "vectors that are the same (cosine of 0.99)",
    "maps": "places of the maps that are the same (5 % of the range)",
    "text_detection": "lines that are the same (half overlap)",
    "text_recognition": "texts that are the same",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """A picture's answers in both precisions."""

    path: Path
    found: Compared


@dataclass(frozen=True, slots=True)
class Report:
    """What was compared: `integer` of `layers` are computed in integers; `apart` says whether the pictures are others
    than those that ranges were taken from.
    """

    answers: tuple[Answer, ...]
    integer: int
    layers: int
    apart: bool

    @property
    def total(self) -> Agreement:
        """Over all pictures."""
        return sum((answer.found.agreement for answer in self.answers), Agreement())

    @property
    def part(self) -> float:
        """The part of fp32's time that a picture takes, the median."""
        return float(np.median([answer.found.other_seconds / answer.found.exact_seconds for answer in self.answers]))

    @property
    def clearest(self) -> list[Path]:
        """The pictures with the most to compare of those that are answered alike: what another machine is tried on."""
        alike = [answer for answer in self.answers if answer.found.agreement.share == 1]
        alike.sort(key=lambda answer: -answer.found.agreement.compared)
        return [answer.path for answer in alike[:PICTURES]]

    @property
    def worst(self) -> list[Answer]:
        """The pictures that are answered most differently, the worst first."""
        differing = [answer for answer in self.answers if answer.found.agreement.same < answer.found.agreement.compared]
        return sorted(differing, key=lambda answer: answer.found.agreement.share)[:WORST]


def show(report: Report, task: str, console: Console) -> None:
    """Print the report."""
    total, shifts = report.total, report.total.shifts
    table = Table("int8 beside fp32", "", show_edge=False)
    also = "" if report.apart else " (the same that the ranges are from: too few for others)"
    table.add_row("pictures compared", f"{len(report.answers)}{also}")
    table.add_row(_THINGS[task], f"{total.same} of {total.compared} ({100 * total.share:.1f} %)")
    if task == "detection":
        table.add_row("found by fp32 alone, by int8 alone", f"{total.lost}, {total.gained}")
    if shifts:
        middle, most, largest = np.median(shifts), np.quantile(shifts, 0.95), max(shifts)
        table.add_row("scores moved by", f"{middle:.3f} (median), {most:.3f} (19 in 20 less), {largest:.3f} (the most)")
    table.add_row("layers in integers", f"{report.integer} of {report.layers}")
    table.add_row("the network's time here", f"{report.part:.2f} of that in fp32")
    console.print(table)
    if not total.compared:
        console.print("Nothing was found in any picture, so nothing is shown: give pictures that show something.")
    for answer in report.worst:
        agreement = answer.found.agreement
        told = f"differs most: {answer.path} ({agreement.same} of {agreement.compared} the same)"
        console.print(told, markup=False, highlight=False, soft_wrap=True)
