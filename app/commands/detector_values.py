"""What boxes and scores of a random picture tell, and what they leave open; see `detector_graphs`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidManifest
from app.vision.image import Size

Array = NDArray[Any]

Found = tuple[dict[str, Any], str | None]
"""Fields of the section, and why they are so."""

_NEARLY_EVERYWHERE = 0.9


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a detector before its values are looked at: the input's size, the classes' names if they were
    given, the section's fields that are settled, and whether the decoder is among them because somebody `asked` for it.
    """

    size: Size
    names: tuple[str, ...] | None
    settled: Mapping[str, Any]
    asked: bool

    @property
    def labels(self) -> int | None:
        """How many names there are."""
        return None if self.names is None else len(self.names)


def together(said: str, *questions: Callable[[], Found]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What all questions found; raises `InvalidManifest` with all that is open, so that one answer suffices."""
    section: dict[str, Any] = {}
    reasons, refusals = [], []
    for question in questions:
        try:
            more, why = question()
        except InvalidManifest as error:
            refusals.append(str(error).rstrip("."))
        else:
            section |= more
            reasons += [why] if why else []
    if refusals:
        raise InvalidManifest(f"{said}: {'. And '.join(refusals)}.")
    return section, tuple(reasons)


def background(table: Array, settled: Mapping[str, Any]) -> Found:
    """One score more than labels: which one is of nothing, and whether they are probabilities; raises
    `InvalidManifest` where the values do not tell.
    """
    _refuse_tied(table)
    values = table.astype(np.float64)
    logits = bool((values < -1e-3).any() or (np.abs(values.sum(axis=1) - 1) > 1e-2).any())
    section: dict[str, Any] = {"apply_softmax": True} if logits and not settled.get("apply_sigmoid") else {}
    won = values.argmax(axis=1)
    first, last = (won == 0).mean(), (won == table.shape[1] - 1).mean()
    if "background" in settled:
        return section, "which score is the background's was said"
    if max(first, last) < 0.6:
        raise InvalidManifest(
            "one score more than labels, so one of them is of nothing: the first (SSD, UltraFace) or the last "
            "(DETR), and the values do not tell. Say which with --set detection.background=true or "
            "--set detection.background=last"
        )
    section |= {"background": True if first > last else "last"}
    which = "class 0" if first > last else "the last class"
    return section, f"one score more than labels: {which} is the background, as it wins nearly everywhere"


def coordinates(boxes: Array, known: Known) -> dict[str, Any]:
    """Whether boxes are shares of the input or pixels of it; raises `InvalidManifest` where they can be neither."""
    if not np.isfinite(boxes).all():
        raise InvalidManifest(
            "boxes of a random picture are not finite. Check the model's input: --scale, --mean, --std"
        )
    if "coordinates" in known.settled:
        return {}
    most = float(np.abs(boxes.astype(np.float64)).max(initial=0))
    if most <= 1.5 and min(known.size) > 2:
        return {"coordinates": "normalized"}
    if most < 0.05 * min(known.size):
        raise InvalidManifest(
            f"its boxes reach to {most:.3g} in an input of {known.size.width} x {known.size.height}, too far for "
            "shares of it and too little for pixels. Say which with --set detection.coordinates=normalized or =pixels; "
            "raw heads have decoders of their own (yolox, gfl)"
        )
    return {}


def sigmoid(scores: Array, settled: Mapping[str, Any]) -> Found:
    """Whether scores [M, C] are logits; raises `InvalidManifest` where they say nothing or are of several kinds."""
    _refuse_tied(scores)
    if "apply_sigmoid" in settled or settled.get("apply_softmax"):
        return {}, None
    refuse_mixed(scores)
    logits = scores.min(initial=0) < -1e-3 or scores.max(initial=0) > 1 + 1e-3
    return ({"apply_sigmoid": True}, "scores are not 0 to 1, so logits") if logits else ({}, None)


def sigmoid_or_nothing(scores: Array, settled: Mapping[str, Any]) -> Found:
    """`sigmoid` of scores [M, C] whose number of classes nobody told: raises `InvalidManifest` where one of them wins
    nearly everywhere, which may be that of nothing.
    """
    won = scores.argmax(axis=1)
    most = max((won == 0).mean(), (won == scores.shape[1] - 1).mean())
    if scores.shape[1] > 1 and "background" not in settled and most > _NEARLY_EVERYWHERE:
        raise InvalidManifest(
            "one score wins nearly everywhere, so it is that of nothing or of a class. Give the classes' "
            "names with --labels, whose number tells, or say it with --set detection.background=false, =true (the "
            "first) or =last"
        )
    return sigmoid(scores, settled)


def refuse_mixed(scores: Array) -> Found:
    """Nothing; or raise `InvalidManifest` where some columns of scores [M, C] are probabilities and others are not."""
    probable = int(((scores > -1e-3) & (scores < 1 + 1e-3)).all(axis=0).sum())
    if 0 < probable < scores.shape[1]:
        raise InvalidManifest(
            f"of the {scores.shape[1]} numbers that would be scores {probable} are 0 to 1 and the others are "
            "not, so some are something else (mask coefficients, keypoints, an angle). Give the classes' names with "
            "--labels, and say how many others there are with --set detection.extras=N"
        )
    return {}, None


def refuse_empty(table: Array) -> Found:
    """Nothing; or raise `InvalidManifest` where nothing came of any picture."""
    if not len(table):
        raise InvalidManifest(
            "nothing comes of a random picture or of the one that was tried, so its values cannot be looked at. Give "
            "one in which it finds something with --try PICTURE, or name the family with --like FAMILY"
        )
    return {}, None


def _refuse_tied(scores: Array) -> None:
    if not np.isfinite(scores).all():
        raise InvalidManifest(
            "scores of a random picture are not finite. Check the model's input: --scale, --mean, --std"
        )
    if scores.size > 1 and scores.min() == scores.max():
        raise InvalidManifest(
            f"all scores of a random picture are {float(scores.max()):g}, so they say nothing. Check the "
            "model's input (--scale, --mean, --std) and whether its weights are there"
        )
