"""What boxes and scores of a random picture tell, and what they leave open; see `detector_graphs`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import InvalidManifest
from app.vision.image import Size

Array = NDArray[Any]

_NEARLY_EVERYWHERE = 0.9


def refuse_background(said: str, table: Array, settled: Mapping[str, Any]) -> None:
    """Raise `InvalidManifest` where one of the scores [M, C] wins nearly everywhere: it may be that of nothing, and
    only the number of labels tells.
    """
    won = table.argmax(axis=1)
    if "background" not in settled and max((won == 0).mean(), (won == table.shape[1] - 1).mean()) > _NEARLY_EVERYWHERE:
        raise InvalidManifest(
            f"{said}: one score wins nearly everywhere, so it is that of nothing or of a class. Give the classes' "
            "names with --labels, whose number tells, or say it with --set detection.background=false, =true (the "
            "first) or =last."
        )


def background(said: str, table: Array, settled: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """One score more than labels: which one is of nothing, whether they are probabilities, and why; raises
    `InvalidManifest` where the values do not tell.
    """
    _refuse_tied(said, table)
    values = table.astype(np.float64)
    logits = bool((values < -1e-3).any() or (np.abs(values.sum(axis=1) - 1) > 1e-2).any())
    section: dict[str, Any] = {"apply_softmax": True} if logits and not settled.get("apply_sigmoid") else {}
    won = values.argmax(axis=1)
    first, last = (won == 0).mean(), (won == table.shape[1] - 1).mean()
    if "background" in settled:
        return section, "which score is the background's was said"
    if max(first, last) < 0.6:
        raise InvalidManifest(
            f"{said}: one score more than labels, so one of them is of nothing: the first (SSD, UltraFace) or the last "
            "(DETR), and the values do not tell. Say which with --set detection.background=true or "
            "--set detection.background=last."
        )
    section |= {"background": True if first > last else "last"}
    which = "class 0" if first > last else "the last class"
    return section, f"one score more than labels: {which} is the background, as it wins nearly everywhere"


def places(said: str, boxes: Array, size: Size, settled: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Coordinates and format of boxes [M, 4], and why; corners in pixels are the manifest's default. Raises
    `InvalidManifest` where the values do not tell.
    """
    section = coordinates(said, boxes, size, settled)
    unit = section.get("coordinates", settled.get("coordinates", "pixels"))
    if "box_format" in settled:
        return section, f"the boxes' values look like {unit}"
    values = boxes.astype(np.float64)
    if (values[:, 2:] >= values[:, :2]).all():
        return section, f"the boxes' values look like {unit}, corners: x0, y0, x1, y1 (or y first: box_format yxyx)"
    limit = np.array([1, 1] if unit == "normalized" else size) * 1.1
    inside = {
        "cxcywh": ((values[:, :2] - values[:, 2:] / 2 > -0.1 * limit) & (values[:, :2] + values[:, 2:] / 2 < limit)),
        "xywh": values[:, :2] + values[:, 2:] < limit,
    }
    fitting = [name for name, fits in inside.items() if fits.mean() > 0.9 and (values[:, 2:] >= 0).all()]
    if fitting != ["cxcywh"]:
        raise InvalidManifest(
            f"{said}: of some boxes the ends lie before the starts, so they are no corners but a corner or a centre "
            "and a size, and the values do not tell which. Say it with --set detection.box_format=cxcywh or "
            "--set detection.box_format=xywh."
        )
    return {**section, "box_format": "cxcywh"}, f"the boxes' values look like {unit}, centre and size"


def coordinates(said: str, boxes: Array, size: Size, settled: Mapping[str, Any]) -> dict[str, Any]:
    """Whether boxes are shares of the input or pixels of it; raises `InvalidManifest` where they can be neither."""
    if not np.isfinite(boxes).all():
        raise InvalidManifest(
            f"{said}: boxes of a random picture are not finite. Check the model's input: --scale, --mean, --std."
        )
    if "coordinates" in settled:
        return {}
    most = float(np.abs(boxes.astype(np.float64)).max(initial=0))
    if most <= 1.5 and min(size) > 2:
        return {"coordinates": "normalized"}
    if most < 0.05 * min(size):
        raise InvalidManifest(
            f"{said}: its boxes reach to {most:.3g} in an input of {size.width} x {size.height}, too far for shares of "
            "it and too little for pixels. Say which with --set detection.coordinates=normalized or =pixels; raw heads "
            "have decoders of their own (yolox, gfl)."
        )
    return {}


def sigmoid(said: str, scores: Array, settled: Mapping[str, Any]) -> dict[str, Any]:
    """Whether scores [M, C] are logits; raises `InvalidManifest` where they say nothing or are of several kinds."""
    _refuse_tied(said, scores)
    if "apply_sigmoid" in settled:
        return {}
    refuse_mixed(said, scores)
    return {"apply_sigmoid": True} if scores.min() < -1e-3 or scores.max() > 1 + 1e-3 else {}


def refuse_mixed(said: str, scores: Array) -> None:
    """Raise `InvalidManifest` where some columns of scores [M, C] are probabilities and others are not."""
    probable = int(((scores > -1e-3) & (scores < 1 + 1e-3)).all(axis=0).sum())
    if 0 < probable < scores.shape[1]:
        raise InvalidManifest(
            f"{said}: of the {scores.shape[1]} numbers that would be scores {probable} are 0 to 1 and the others are "
            "not, so some are something else (mask coefficients, keypoints, an angle). Give the classes' names with "
            "--labels, and say how many others there are with --set detection.extras=N."
        )


def refuse_empty(said: str, table: Array) -> None:
    """Raise `InvalidManifest` where nothing came of the random picture."""
    if not len(table):
        raise InvalidManifest(
            f"{said}: nothing comes of a random picture, so its values cannot be looked at. Say how it is to be read, "
            "as in --set detection.decoder=boxes_scores_labels --set detection.coordinates=pixels, or --like FAMILY."
        )


def _refuse_tied(said: str, scores: Array) -> None:
    if not np.isfinite(scores).all():
        raise InvalidManifest(
            f"{said}: scores of a random picture are not finite. Check the model's input: --scale, --mean, --std."
        )
    if scores.size > 1 and scores.min() == scores.max():
        raise InvalidManifest(
            f"{said}: all scores of a random picture are {float(scores.max()):g}, so they say nothing. Check the "
            "model's input (--scale, --mean, --std) and whether its weights are there."
        )
