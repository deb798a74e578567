"""Whether an exported program answers what torchvision's model answers."""

from dataclasses import dataclass

import cv2
import numpy as np

from app.commands.export_specs import ExportSpec
from app.commands.torch_extra import torch
from app.engines.base import Array, Engine
from app.errors import InvalidManifest

TOLERANCE = 1e-3
"""How far an exported model's outputs may be from torchvision's, as a share of the largest of them."""
ALIKE, PIXELS, SCORE, MASK, POINT = 0.9, 0.5, 0.01, 0.05, 1.0
"""The share of detections that must be the same, and how far edges, scores and, on an average, masks of the same may be
apart, and half of their keypoints.
"""
_PICTURES = 3
_THINGS = 12


@dataclass(frozen=True, slots=True)
class Reference:
    """What torchvision's model answers: `answers` are the outputs for each of `pictures`, float32 [n, 3, h, w]."""

    spec: ExportSpec
    pictures: Array
    answers: tuple[tuple[Array, ...], ...]

    @classmethod
    def of(cls, spec: ExportSpec) -> "Reference":
        """torchvision's answers to a few drawn pictures."""
        pictures = np.stack([_drawn(spec, seed) for seed in range(_PICTURES)])
        with torch.inference_mode():
            rows = [spec.module(torch.from_numpy(picture[None])) for picture in pictures]
        return cls(spec, pictures, tuple(tuple(output.numpy() for output in outputs) for outputs in rows))

    @property
    def detections(self) -> int:
        """Of a detector: how many there are to compare."""
        return sum(len(scores[0]) for _, scores, *_ in self.answers)


def compare(reference: Reference, engine: Engine) -> None:
    """Raises `InvalidManifest` where the engine's outputs, for a picture and for all at once, are not the model's."""
    spec, pictures = reference.spec, reference.pictures
    if spec.manifest["task"] == "detection":
        _compare_detections(reference, engine)
        return
    alone = [(picture[None], answer) for picture, answer in zip(pictures, reference.answers, strict=True)]
    together = (pictures, tuple(np.concatenate(rows) for rows in zip(*reference.answers, strict=True)))
    for batch, wanted in alone if engine.input.batch_size is not None else (alone[0], together):
        found = engine.run(batch).values()
        for name, ours, theirs in zip(spec.outputs, found, wanted, strict=True):
            difference = _difference(ours, theirs)
            if difference > TOLERANCE:
                raise InvalidManifest(
                    f"The exported model's {name} for {len(batch)} pictures differ from torchvision's by "
                    f"{difference:.2g} of the largest; {TOLERANCE} is allowed. Please report this model."
                )


def _compare_detections(reference: Reference, engine: Engine) -> None:
    """Nearly every detection must have its like: rounding may swap the order of two, or which of two is kept."""
    ours = [tuple(engine.run(picture[None]).values()) for picture in reference.pictures]
    names = reference.spec.outputs
    for one, some, other, others in (
        ("the exported model", ours, "torchvision", reference.answers),
        ("torchvision", reference.answers, "the exported model", ours),
    ):
        alike = np.concatenate([_with_a_like(names, *pair) for pair in zip(some, others, strict=True)])
        missing = len(alike) - np.count_nonzero(alike)
        if missing > max(1, (1 - ALIKE) * len(alike)):
            raise InvalidManifest(
                f"Of the {len(alike)} detections that are {one}'s, {missing} are not {other}'s; a tenth may be so. "
                "Please report this model."
            )


def _with_a_like(names: tuple[str, ...], some: tuple[Array, ...], others: tuple[Array, ...]) -> Array:
    """Which detections (boxes [1, M, 4], scores, labels [1, M], perhaps masks [1, M, h, w] or keypoints [1, M, K, 2])
    are among the others: bool [M].
    """
    boxes, scores, labels, *more = (rows[0].astype(np.float64) for rows in some)
    other_boxes, other_scores, other_labels, *other_more = (rows[0].astype(np.float64) for rows in others)
    like = np.abs(boxes[:, None] - other_boxes[None]).max(axis=2, initial=0) < PIXELS
    like &= np.abs(scores[:, None] - other_scores[None]) < SCORE
    like &= labels[:, None] == other_labels[None]
    for one, other in np.argwhere(like) if more else ():
        first, second = more[0][one], other_more[0][other]
        if names[3] == "masks":
            like[one, other] = np.abs(first - second).mean() < MASK
        else:
            like[one, other] = np.median(np.abs(first - second).max(axis=-1)) < POINT
    return np.asarray(like.any(axis=1))


def _drawn(spec: ExportSpec, seed: int) -> Array:
    """A picture float32 [3, height, width], normalised as the manifest says: soft colours, things with hard edges, a
    little noise. In mere noise a detector finds nothing.
    """
    section = spec.manifest["input"]
    width, height = section["size"]
    random = np.random.default_rng(seed)
    pixels = cv2.resize(random.random((5, 6, 3), np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    for number in range(_THINGS):
        centre = tuple(random.integers(0, (width, height)).tolist())
        half = tuple(random.integers(4, (width // 4 + 5, height // 4 + 5)).tolist())
        colour = tuple(random.random(3).tolist())
        if number % 2:
            cv2.ellipse(pixels, centre, half, float(random.integers(0, 180)), 0, 360, colour, -1)
        else:
            corner = (centre[0] + half[0], centre[1] + half[1])
            cv2.rectangle(pixels, (centre[0] - half[0], centre[1] - half[1]), corner, colour, -1)
    pixels = pixels + 0.03 * random.standard_normal(pixels.shape, np.float32)
    mean, std = (np.array(section.get(name, (value,) * 3), np.float32) for name, value in (("mean", 0), ("std", 1)))
    return np.ascontiguousarray(((np.clip(pixels, 0, 1) - mean) / std).transpose(2, 0, 1), np.float32)


def _difference(ours: Array, theirs: Array) -> float:
    if ours.shape != theirs.shape:
        return float("inf")
    largest = max(float(np.abs(theirs).max(initial=0)), 1e-6)
    difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max(initial=0)
    return float(difference / largest) if np.isfinite(difference) else float("inf")
