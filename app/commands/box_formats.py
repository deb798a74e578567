"""What the four numbers of a box are, as their values and what they follow tell; see `detector_values`.

Boxes that are read wrongly lie to one side of the picture, beyond it, or end before they start. Which axis comes first
shows by changing a part of the picture: the boxes that change with its right lie at the right.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from app.commands.detector_values import Found, Known, coordinates, refuse_empty
from app.commands.looks import Looks, Rows
from app.engines.base import Array
from app.errors import InvalidManifest
from app.vision.image import Size

Values = NDArray[np.float64]
Taken = Callable[[Rows], tuple[Array, Array]]
"""Boxes [M, 4] and scores [M] or [M, C] of a picture's outputs."""

_MARGIN = 0.1
"""So far, as a share of the input, boxes may lie beyond it."""
_MOST, _FEW_DISTINCT = 0.6, 8
_LIKELY, _UNLIKELY = 3.0, 5.0
"""How many standard errors the mean of all centres may be from the middle, and from where on it is too far."""
_LEAST_ERROR = 0.005
_PULLED = 0.7
_COMPARED = 1500
_NAMED = {
    "xyxy": "corners: x0, y0, x1, y1",
    "yxyx": "corners: y0, x0, y1, x1",
    "cxcywh": "centre and size",
    "xywh": "top left and size",
}


def places(boxes: Array, known: Known, default: str, axis: Callable[[], str | None]) -> Found:
    """Coordinates and format of boxes [M, 4], where `default` is the decoder's own format, and why; see `box_format`.

    Raises `InvalidManifest` where the values do not tell.
    """
    if known.asked and not len(boxes):
        return {}, None
    refuse_empty(boxes)
    section = coordinates(boxes, known)
    unit = section.get("coordinates", known.settled.get("coordinates", "pixels"))
    words = "as was said"
    if "box_format" not in known.settled:
        limit = Size(1, 1) if unit == "normalized" else known.size
        more, words = box_format(boxes, limit, default, known.asked, axis)
        section |= more
    return section, f"the boxes' values look like {unit}, {words}"


def box_format(
    boxes: Array, limit: Size, default: str, asked: bool, axis: Callable[[], str | None]
) -> tuple[dict[str, str], str]:
    """Which format boxes [M, 4] have that should lie within [0, limit], where `default` needs not be said.

    Where somebody `asked` for the decoder, its default is what the values do not speak against. `axis` tells whether x
    or y comes first in corners, or None. Raises `InvalidManifest` where the values do not tell.
    """
    values = boxes.astype(np.float64) / np.array([*limit, *limit])
    fitting = _fitting(values)
    if not fitting:
        raise InvalidManifest(
            "its boxes are neither corners nor a centre or a corner and a size within the input, so they are not read "
            "as they are. Raw heads have decoders of their own (--decoder yolox or gfl); or say what they are with "
            "--set detection.box_format=cxcywh"
        )
    if len(fitting) > 1 and asked and default in fitting:
        fitting = [default]
    if len(fitting) > 1:
        fitting += ["yxyx"] if "xyxy" in fitting else []
        options = " or ".join(f"--set detection.box_format={name} ({_NAMED[name]})" for name in fitting)
        raise InvalidManifest(
            f"its boxes have {len(fitting)} readings, and the values do not tell which: say {options}"
        )
    (found,) = fitting
    if found == "xyxy":
        first = _axis_by_limits(boxes, limit) or axis()
        if first is None and not asked:
            raise InvalidManifest(
                "its boxes are corners, and the values do not tell whether x or y comes first: say "
                "--set detection.box_format=xyxy (most families) or --set detection.box_format=yxyx (TensorFlow's)"
            )
        found = "yxyx" if first == "y" else found
    return ({} if found == default else {"box_format": found}), _NAMED[found]


def _fitting(values: Values) -> list[str]:
    """The formats that shares of the input may have."""
    first, second = values[:, :2], values[:, 2:]
    ends = {"xyxy": (first, second)} if (second >= first).all() else {}
    if (second >= 0).all():
        ends |= {"cxcywh": (first - second / 2, first + second / 2), "xywh": (first, first + second)}
    inside = {name: float(((start > -_MARGIN) & (end < 1 + _MARGIN)).mean()) for name, (start, end) in ends.items()}
    best = max(inside.values(), default=0.0)
    fitting = [name for name, share in inside.items() if name == "xyxy" or share > _MOST * best]
    if "xyxy" in fitting:
        fitting = [name for name in fitting if name == "xyxy" or inside[name] > 0.9]
    if len(fitting) < 2:
        return fitting
    off_centre = {name: _off_centre((start + end) / 2) for name, (start, end) in ends.items()}
    likely = [name for name in fitting if off_centre[name] < _LIKELY]
    unlikely = [name for name in fitting if off_centre[name] > _UNLIKELY]
    return likely if len(likely) == 1 and len(likely) + len(unlikely) == len(fitting) else fitting


def _off_centre(centres: Values) -> float:
    """How far the mean of boxes' centres [M, 2] is from the input's middle, in standard errors."""
    there = np.unique(centres, axis=0)
    if len(there) < _FEW_DISTINCT:
        return (_LIKELY + _UNLIKELY) / 2
    error = max(float(there.std()) / there.size**0.5, _LEAST_ERROR)
    return float(abs(float(there.mean()) - 0.5) / error)


def _axis_by_limits(boxes: Array, limit: Size) -> str | None:
    """Which axis comes first in corners, where only one way round lies within an input that is no square."""
    sides = np.array(limit, np.float64)
    within = {"x": sides, "y": sides[::-1]}
    corners = boxes.astype(np.float64).reshape(-1, 2)
    inside = {axis: float((corners <= to * (1 + _MARGIN)).mean()) for axis, to in within.items()}
    best, other = sorted(inside, key=inside.__getitem__, reverse=True)
    return best if inside[best] > 0.9 and inside[other] < 0.8 else None


def first_axis(looks: Looks, take: Taken) -> str | None:
    """Whether boxes begin with `x` or `y`: those that change with a part of the picture lie there. None where they do
    not show it, as in a network that sees the whole picture at once.
    """
    before = take(looks.noise)
    right, bottom = (_pull(before, take(looks.changed(part))) for part in ("right", "bottom"))
    towards_x = float(right[0] - right[1] + bottom[1] - bottom[0])
    return "x" if towards_x > _PULLED else "y" if towards_x < -_PULLED else None


def _pull(before: tuple[Array, Array], after: tuple[Array, Array]) -> Values:
    """How far the centres of what has changed are from all centres: [2], in standard deviations."""
    boxes, old = after[0].astype(np.float64), before[0].astype(np.float64)
    if not (len(boxes) and len(old)):
        return np.zeros(2)
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    weights = _changes(before, after)
    if not np.isfinite(weights).all() or weights.sum() <= 0:
        return np.zeros(2)
    moved = np.average(centres, axis=0, weights=weights) - centres.mean(axis=0)
    return np.asarray(moved / np.maximum(centres.std(axis=0), 1e-9))


def _changes(before: tuple[Array, Array], after: tuple[Array, Array]) -> Values:
    """How much each row of boxes and scores has changed: to the one of the same place or, of few rows that may have
    been sorted, to the nearest.
    """
    old, new = (_flat(*each) for each in (before, after))
    spread = np.maximum(new.std(axis=0), 1e-9)
    if len(new) > _COMPARED and len(new) == len(old):
        return np.asarray((np.abs(new - old) / spread).sum(axis=1))
    some = old[:_COMPARED] / spread
    return np.array([np.abs(some - row).sum(axis=1).min() for row in new / spread])


def _flat(boxes: Array, scores: Array) -> Values:
    best = scores if scores.ndim == 1 else scores.max(axis=1)
    return np.column_stack((boxes.astype(np.float64), best.astype(np.float64)))
