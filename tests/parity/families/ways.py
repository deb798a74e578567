"""How formats prepare pictures and read answers whose families' code is not installed here, because of its licence, age
or size: as their documentation and published code say, written anew with OpenCV and torchvision's suppression.
"""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from torchvision.ops import batched_nms, box_convert

from tests.parity.agreement import Found
from tests.parity.families.base import SLACK, found
from tests.parity.families.network import SIZE

Tensor = torch.Tensor
Prepared = tuple[Tensor, Callable[[Tensor], Tensor]]
"""A picture as the network takes it, and the way back for boxes [n, 4] as x0, y0, x1, y1."""

THRESHOLD = 0.35
SOURCE = "documented"
IMAGENET_LEVELS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def ultralytics_letterbox(image: np.ndarray) -> Prepared:
    """LetterBox(auto=False) and scale_boxes, with RGB of 0 to 1."""
    height, width = image.shape[:2]
    gain = min(SIZE / height, SIZE / width)
    new_width, new_height = max(round(width * gain), 1), max(round(height * gain), 1)
    across, down = (SIZE - new_width) / 2, (SIZE - new_height) / 2
    left, right, top, bottom = (round(side) for side in (across - 0.1, across + 0.1, down - 0.1, down + 0.1))
    if (width, height) != (new_width, new_height):
        image = cv2.resize(image, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    image = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114))
    factors = torch.tensor([width / new_width, height / new_height] * 2)
    return _tensor(image[..., ::-1] / 255), lambda boxes: (boxes - torch.tensor([left, top] * 2)) * factors


def yolov5_letterbox(image: np.ndarray) -> Prepared:
    """letterbox(auto=False) and scale_boxes, which takes one ratio for both sides and half of what is left for both
    margins, whole pixels or not.
    """
    prepared, _ = ultralytics_letterbox(image)
    height, width = image.shape[:2]
    gain = min(SIZE / height, SIZE / width)
    margins = torch.tensor([(SIZE - width * gain) / 2, (SIZE - height * gain) / 2] * 2)
    return prepared, lambda boxes: (boxes - margins) / gain


def stretched(mean: Any = 0, std: Any = 1, scale: float = 1 / 255, rgb: bool = True, cubic: bool = False) -> Any:
    """cv2.resize to the input, whatever the aspect."""

    def prepare(image: np.ndarray) -> Prepared:
        kind = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
        pixels = cv2.resize(image, (SIZE, SIZE), interpolation=kind)
        factors = torch.tensor([image.shape[1] / SIZE, image.shape[0] / SIZE] * 2)
        pixels = pixels[..., ::-1] if rgb else pixels
        return _tensor((pixels * scale - np.array(mean)) / np.array(std)), lambda boxes: boxes * factors

    return prepare


def _tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)[None], np.float32))


Candidates = tuple[Tensor, Tensor, Tensor]
"""Boxes [n, 4] as x0, y0, x1, y1 in pixels of the input, scores [n], classes [n]."""


def best_class(boxes: Tensor, scores: Tensor, threshold: float = THRESHOLD) -> Candidates:
    """Ultralytics' non_max_suppression before the suppression: of each candidate its best class."""
    values, classes = scores.max(1)
    kept = values >= threshold - SLACK
    return boxes[kept], values[kept], classes[kept]


def every_class(boxes: Tensor, scores: Tensor) -> Candidates:
    """multiclass_nms before the suppression: each class of a candidate that scores enough."""
    rows, classes = torch.where(scores >= THRESHOLD - SLACK)
    return boxes[rows], scores[rows, classes], classes


def suppressed(found_: Candidates, iou: float, most: int = 300) -> Candidates:
    """Suppression within each class; the best `most`."""
    boxes, scores, classes = found_
    kept = batched_nms(boxes, scores, classes, iou)[:most]
    return boxes[kept], scores[kept], classes[kept]


def corners(boxes: Tensor) -> Tensor:
    """From centres and sizes."""
    return box_convert(boxes, "cxcywh", "xyxy")


def placed(candidates: Candidates, back: Callable[[Tensor], Tensor], image: np.ndarray) -> list[Found]:
    """On the picture, as everywhere clipped to it."""
    boxes, scores, classes = candidates
    limits = torch.tensor([image.shape[1], image.shape[0]] * 2)
    return found(back(boxes).clamp(min=0).minimum(limits), scores, classes)
