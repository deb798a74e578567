"""What a chain's step found, and which of it the next one asks about."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.request import CropAnswer, Nested
from app.repository.pipeline import Step, Where
from app.vision import crops
from app.vision.classification import Classification
from app.vision.detection import Detections
from app.vision.header import Size
from app.vision.image import Picture
from app.vision.quads import Quads, quad_crop
from app.vision.region import Region, region_of
from app.vision.text_detection import TextDetection
from app.vision.turning import turned

FINDS = ("detection", "text_detection")
"""Tasks whose answers have boxes, of which crops can be made."""
HAS_PLACES = (*FINDS, "segmentation", "maps")
"""Tasks whose answers have places in the picture."""
NAMES = ("classification",)
"""Tasks that say of a crop what it is, by which a next step is chosen, or the crop turned."""

_LARGEST_QUAD = 4
"""How many times as many pixels as what it was found in a turned box may have, and may be as long as its two sides."""
_NEIGHBOURS = 2
"""Pixels around a turned box from which those at its edges are interpolated."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a picture that has been cut out: its place, and its pixels."""

    region: Region
    picture: Picture


@dataclass(frozen=True, slots=True)
class Finding:
    """What a step may ask about: its `box` in pixels of the whole picture, what it is and how surely, and the place
    `into` which answers about it go. It was found `within` this region; `picture` is that one's pixels, where they have
    been cut out. `quad` float32 [4, 2] are the corners of a turned box.
    """

    box: tuple[float, ...]
    label: str
    score: float
    into: dict[str, CropAnswer]
    within: Region
    picture: Picture | None = None
    quad: NDArray[np.float32] | None = None


def found_in(prediction: Any, nested: Nested, within: Region, picture: Picture | None = None) -> Iterator[Finding]:
    """What a detector found in a region, with a place of `nested` for answers to each."""
    labels: tuple[str, ...]
    quads: Quads | None
    if isinstance(prediction, TextDetection):
        labels, quads = ("",) * len(prediction.scores), prediction.quads
        boxes = np.concatenate([quads.min(axis=1), quads.max(axis=1)], axis=1)
    else:
        assert isinstance(prediction, Detections)
        labels, boxes = prediction.labels, prediction.boxes
        quads = None if prediction.oriented is None else prediction.oriented.polygons
    rows = zip(boxes.tolist(), labels, prediction.scores.tolist(), nested, strict=True)
    for index, (box, label, score, into) in enumerate(rows):
        quad = None if quads is None else quads[index]
        yield Finding(tuple(box), label, score, into, within, picture, quad)


def count(prediction: Any) -> int:
    """How many things a detector found."""
    return len(prediction.scores)


def named(finding: Finding, part: Part, prediction: Any) -> Finding:
    """The same part again, as what a classifier takes it for."""
    assert isinstance(prediction, Classification)
    best = zip(prediction.labels, prediction.scores.tolist(), strict=True)
    label, score = next(best, ("", 0.0))
    region = part.region
    return Finding(tuple(map(float, region)), label, score, finding.into, region, part.picture)


def fitting(step: Step, findings: Sequence[Finding]) -> list[tuple[Finding, Region]]:
    """Those that the step's conditions let through, best first, each with the region that it looks at: the box with the
    step's margin, cut off at the edges of what it was found in. What has no pixel there is left out, and of turned
    boxes what is much larger than that: straightened, they would take more memory than everything else.
    """
    pairs = [(finding, _region(step, finding)) for finding in findings if _fits(step.where, finding)]
    kept = [(finding, region) for finding, region in pairs if region is not None]
    return sorted(kept, key=lambda pair: -pair[0].score)


def straightened(finding: Finding, part: Part) -> Part:
    """Of a part around a turned box what lies within that, as PP-OCR does it: see `quads.quad_crop`."""
    assert finding.quad is not None
    corners = finding.quad - np.array(part.region[:2], np.float32)
    located = part.picture.located(corners.reshape(2, 4)).reshape(4, 2)
    pixels = quad_crop(part.picture.pixels, located)
    return Part(part.region, Picture(pixels, Size(pixels.shape[1], pixels.shape[0])))


def straightened_bytes(finding: Finding) -> int:
    """Most bytes that `straightened` makes."""
    width, height = _quad_sides(finding)
    return 4 * width * height


def cut_again(step: Step, finding: Finding, region: Region) -> Picture:
    """The pixels of a region of the crop that something was found in, turned as the step says for what it is."""
    assert finding.picture is not None
    picture, (left, top) = finding.picture, finding.within[:2]
    if region != finding.within:
        inner = Region(region.left - left, region.top - top, region.right - left, region.bottom - top)
        picture = crops.cut(picture, inner)
    turns = finding.score >= step.turn_min_score
    return turned(picture, step.turn.get(finding.label, 0) if turns else 0)


def _fits(where: Where, finding: Finding) -> bool:
    return (
        (where.classes is None or finding.label in where.classes)
        and finding.score >= where.min_score
        and _shorter_side(finding.box) >= where.min_size
    )


def _region(step: Step, finding: Finding) -> Region | None:
    left, top, right, bottom = finding.box
    across, down = (right - left) * step.margin, (bottom - top) * step.margin
    if step.crop == "quad":
        if not _straightens(finding):
            return None
        across, down = across + _NEIGHBOURS, down + _NEIGHBOURS
    edges, within = (left - across, top - down, right + across, bottom + down), finding.within
    region = region_of(edges, Size(within.right, within.bottom))
    if region is None:
        return None
    inside = region._replace(left=max(region.left, within.left), top=max(region.top, within.top))
    return inside if inside.left < inside.right and inside.top < inside.bottom else None


def _straightens(finding: Finding) -> bool:
    width, height = _quad_sides(finding)
    within = finding.within
    longest = _LARGEST_QUAD * sum(within.size)
    return max(width, height) <= longest and width * height <= _LARGEST_QUAD * within.pixels


def _quad_sides(finding: Finding) -> tuple[int, int]:
    """The longer of two opposite sides each, in whole pixels, at least one."""
    assert finding.quad is not None
    sides = np.linalg.norm(finding.quad - np.roll(finding.quad, -1, axis=0), axis=1)
    return int(max(1.0, sides[0], sides[2])), int(max(1.0, sides[1], sides[3]))


def _shorter_side(box: Sequence[float]) -> float:
    left, top, right, bottom = box
    return min(right - left, bottom - top)
