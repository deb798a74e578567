"""What an ONNX graph seems to be, from its shapes and from what it answers to random pictures, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.engines.base import Array, TensorSpec
from app.errors import InvalidManifest
from app.vision.image import Size

PICTURE_DIMENSIONS = 4
PROBABLE = 1e-3
"""How far the sum of probabilities may be from 1."""
_DTYPES = ("float32", "float16", "uint8")


@dataclass(frozen=True, slots=True)
class Conclusion:
    """A section of the manifest, why it is so, and how many classes there are (None where the graph does not tell)."""

    section: dict[str, Any]
    reasons: tuple[str, ...]
    classes: int | None = None


def conclude_input(spec: TensorSpec, size: Size | None) -> Conclusion:
    """Size, layout and dtype of the graph's input; `size` is for graphs that take any.

    Raises `InvalidManifest` where it is no picture, or could be two things.
    """
    shape = [side or "any" for side in spec.shape]
    said = f"the input {spec.name} is {spec.dtype} {shape}"
    if len(shape) != PICTURE_DIMENSIONS or spec.dtype.name not in _DTYPES:
        raise InvalidManifest(f"{said}, but a picture's is {' or '.join(_DTYPES)} with 4 dimensions.")
    places = (("nchw", 1), ("nhwc", 3))
    layouts = [layout for layout, place in places if spec.shape[place] == 3]
    layouts = layouts or [layout for layout, place in places if spec.shape[place] in (1, 4)]
    if len(layouts) != 1:
        words = "both its second and last dimensions are" if layouts else "neither its second nor its last dimension is"
        raise InvalidManifest(f"{said}: {words} 3 (or 1 or 4), so it cannot be told where the channels are.")
    sides = spec.shape[2:] if layouts[0] == "nchw" else spec.shape[1:3]
    height, width = sides
    if size is not None and (width not in (None, size.width) or height not in (None, size.height)):
        raise InvalidManifest(f"{said}: --size {size.width},{size.height} does not fit it; leave it out.")
    if size is None and (width is None or height is None):
        raise InvalidManifest(f"{said}: it takes any size; say which is to be served with --size WIDTH,HEIGHT.")
    chosen = size or Size(width or 0, height or 0)
    section = {"size": list(chosen), "layout": layouts[0], "dtype": spec.dtype.name}
    channels = {1: "grey", 4: "rgba"}.get(spec.shape[1 if layouts[0] == "nchw" else 3] or 3)
    section |= {} if channels is None else {"channels": channels}
    return Conclusion(section, (f"{said}: {layouts[0]}, {chosen.width} x {chosen.height}",))


def conclude_classifier(rows: Mapping[str, Array], labels: int | None, settled: Mapping[str, Any]) -> Conclusion:
    """Which output has the scores, and what they are; `rows` are one picture's outputs, `labels` how many names were
    given, `settled` the fields of the section that are known.

    Raises `InvalidManifest` where not exactly one output is a row of scores, or what it holds can be two things.
    """
    several = bool(settled.get("multi_label"))
    by_itself = several or bool(settled.get("sigmoid")) or settled.get("softmax") is False
    fewest = 1 if by_itself and labels in (1, 2) else 2  # one number tells of both of two classes
    fitting = [name for name, row in rows.items() if row.size >= fewest and row.size == max(row.shape, default=1)]
    fitting = [settled["output"]] if settled.get("output") in rows else fitting
    if len(fitting) != 1:
        raise InvalidManifest(f"{shapes(rows)}: {_no_row(rows, fitting)}")
    name, scores = fitting[0], rows[fitting[0]].astype(np.float64).reshape(-1)
    said = f"the output {name} has {scores.size} score{'s' * (scores.size > 1)}"
    output = {"output": name} if len(rows) > 1 and "output" not in settled else {}
    if not np.isfinite(scores).all() or (scores.size > 1 and scores.min() == scores.max()):
        raise InvalidManifest(
            f"{said}: for a random picture they are {'all the same' if np.isfinite(scores).all() else 'not finite'}, "
            "so they say nothing. Check the model's input (--scale, --mean, --std) and whether its weights are there."
        )
    if "softmax" in settled or "sigmoid" in settled:
        return Conclusion(output, (f"{said}, read as was asked",), labels if scores.size == 1 else scores.size)
    if several:
        logits = bool((scores < 0).any() or (scores > 1).any())
        why = "not all of 0 to 1, so they are logits" if logits else "all of 0 to 1, so they are probabilities"
        return Conclusion({"sigmoid": logits} | output, (f"{said}: {why} of classes by themselves",), scores.size)
    probable = bool((scores >= 0).all() and abs(scores.sum() - 1) < PROBABLE)
    if not probable:
        _refuse_other_numbers(said, scores, labels)
    why = "not negative and sum to 1, so they are probabilities" if probable else "no probabilities, so softmax follows"
    return Conclusion({"softmax": not probable} | output, (f"{said}: {why}",), scores.size)


def _no_row(rows: Mapping[str, Array], fitting: list[str]) -> str:
    """Why none of the outputs, or not only one of them, is a row of scores, and what to say."""
    if fitting:
        choices = " or ".join(f"--set classification.output={name}" for name in fitting)
        return f"more than one of them may be the row of scores. Say which: {choices}."
    if any(row.size == 1 and row.dtype.kind == "f" for row in rows.values()):
        return (
            "a single number is no row of scores, so this is no classifier, unless it tells of two classes: where it "
            "is a logit of the second, --labels no,yes --set classification.sigmoid=true; where it is its probability, "
            "--labels no,yes --set classification.softmax=false."
        )
    return "none of them is a row of scores, so this is no classifier."


def _refuse_other_numbers(said: str, scores: NDArray[np.float64], labels: int | None) -> None:
    """What is no probability may be no logit of one class among others either."""
    if scores.min() < 0 and abs(float(np.square(scores).sum()) - 1) < 1e-3:
        raise InvalidManifest(
            f"{said}, whose squares sum to 1: that is an embedding, a direction and no classes. Add it with "
            "--task embedding."
        )
    if (scores >= 0).all() and (scores <= 1).all():
        raise InvalidManifest(
            f"{said} of 0 to 1 that do not sum to 1: probabilities of classes that may each be there by themselves, or "
            "something else than classes. Where they are probabilities: --set classification.multi_label=true."
        )
    if labels is None:
        raise InvalidManifest(
            f"{said}, and no names were given: they may be logits of {scores.size} classes, of which one is meant or "
            "each by itself (--set classification.multi_label=true), or an embedding (--task embedding) or measures. "
            "Give the classes' names with --labels."
        )


def conclude_segmenter(rows: Mapping[str, Array], size: Size, settled: Mapping[str, Any]) -> Conclusion:
    """Which output has the scores or the classes of each place; `rows` are one picture's outputs, `settled` the fields
    of the section that are known.

    Raises `InvalidManifest` where not exactly one output can be such a map, or what it holds can be two things.
    """
    named: str = settled.get("output") or ""
    asked = {named: rows[named]} if named in rows else rows
    logits = [name for name, row in asked.items() if row.ndim == 3 and len(row) > 1]
    maps = [name for name, row in asked.items() if row.ndim in (2, 3) and row.size == row.shape[-1] * row.shape[-2] > 0]
    fitting = logits + maps
    if len(fitting) != 1:
        choices = " or ".join(f"--set segmentation.output={name}" for name in fitting)
        raise InvalidManifest(
            f"{shapes(rows)}: not exactly one of them is scores [classes, h, w] or class numbers [h, w], so it cannot "
            f"be told which is the map{f'; say {choices}' if choices else ''}."
        )
    name = fitting[0]
    output = {"output": name} if len(rows) > 1 and not named else {}
    if maps:
        if (rows[name] != np.rint(rows[name])).any():
            raise InvalidManifest(
                f"{shapes(rows)}: {name} is no class numbers but one number for each place: a depth or a heat "
                "map, which --task maps reads, or a binary mask, of which the graph is to compare it with its "
                "threshold."
            )
        return Conclusion({"layout": "class_map"} | output, (f"{shapes(rows)}: {name} is class numbers",))
    first, second, third = rows[name].shape
    aspect = size.height / size.width
    if abs(second / third - aspect) > abs(first / second - aspect):
        raise InvalidManifest(
            f"{shapes(rows)}: {name} seems to have the classes last; let the graph transpose it to [classes, h, w]."
        )
    if "layout" not in settled:
        _refuse_masks(f"{shapes(rows)}: {name}", rows[name])
    why = f"{shapes(rows)}: {name} is the scores of {first} classes for {third} x {second} places"
    return Conclusion({"layout": "logits"} | output, (why,), first)


def _refuse_masks(said: str, scores: Array) -> None:
    """Where classes exclude each other the largest score wins; keypoints and masks by themselves have no winner."""
    exact = scores.astype(np.float64)
    if exact.min() >= 0 and exact.max() <= 1 and (np.abs(exact.sum(axis=0) - 1) > 10 * PROBABLE).any():
        raise InvalidManifest(
            f"{said} has scores of 0 to 1 that do not sum to 1: masks that may overlap, or heat maps "
            "(--task maps --set maps.unit=score), or classes of which one is meant. Where the largest is meant: "
            "--set segmentation.layout=logits."
        )


def shapes(rows: Mapping[str, Array]) -> str:
    """The outputs' names and shapes, as the beginning of a sentence."""
    return "the outputs are " + ", ".join(f"{name} {list(row.shape)}" for name, row in rows.items()) + " a picture"
