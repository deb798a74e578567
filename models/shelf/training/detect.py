"""From a picture to detections, as the service does it: letterbox, network, threshold, class-wise suppression."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import zxingcpp

from models.shelf.training.arrays import F32, LABEL, U8
from models.shelf.training.letterbox import letterbox

SIDE = 416
IOU = 0.6
MOST = 200

Network = Callable[[F32], tuple[F32, F32]]
"""Images float32 [B, 3, 416, 416], 0 to 1, to boxes [B, N, 4] in input pixels and scores [B, N, C], 0 to 1."""


@dataclass(frozen=True, slots=True)
class Detections:
    """Boxes float32 [K, 4] (x1, y1, x2, y2 in pixels of the picture), scores float32 [K], classes int64 [K]."""

    boxes: F32
    scores: F32
    kinds: np.ndarray

    def above(self, threshold: float) -> "Detections":
        """Those that score at least `threshold`."""
        kept = self.scores >= threshold
        return Detections(self.boxes[kept], self.scores[kept], self.kinds[kept])


def onnx_network(path: Path, threads: int = 1) -> Network:
    """The exported model on ONNX Runtime's CPU provider."""
    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(images: F32) -> tuple[F32, F32]:
        boxes, scores = session.run(["boxes", "scores"], {"images": images})
        return np.asarray(boxes), np.asarray(scores)

    return run


def prepare(image: U8) -> tuple[F32, float, tuple[int, int]]:
    """A picture uint8 [H, W, 3] as float32 [3, 416, 416], with the letterbox's scale and corner."""
    boxed, scale, corner = letterbox(image, (SIDE, SIDE))
    return np.ascontiguousarray(boxed.transpose(2, 0, 1), np.float32) * np.float32(1 / 255), scale, corner


def suppress(boxes: F32, scores: F32, threshold: float) -> Detections:
    """Class-wise non-maximum suppression of one picture's boxes [N, 4] and scores [N, C]."""
    cell, kind = np.nonzero(scores >= threshold)
    score = scores[cell, kind]
    order = np.argsort(-score, kind="stable")[:1000]
    box, score, kind = boxes[cell[order]], score[order], kind[order]
    apart = box + (kind * 10_000.0)[:, None]
    area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    alive = np.ones(len(box), bool)
    kept: list[int] = []
    for index in range(len(box)):
        if not alive[index]:
            continue
        kept.append(index)
        low = np.maximum(apart[index, :2], apart[index + 1 :, :2])
        high = np.minimum(apart[index, 2:], apart[index + 1 :, 2:])
        shared = np.clip(high - low, 0, None).prod(1)
        alive[index + 1 :] &= shared <= IOU * (area[index] + area[index + 1 :] - shared)
    chosen = np.array(kept[:MOST], int)
    return Detections(box[chosen], score[chosen], kind[chosen])


def detect(network: Network, images: list[U8], threshold: float) -> list[Detections]:
    """Detections of a batch of pictures of any sizes."""
    prepared = [prepare(image) for image in images]
    boxes, scores = network(np.stack([item[0] for item in prepared]))
    results = []
    for image, (_, scale, corner), box, score in zip(images, prepared, boxes, scores, strict=True):
        found = suppress(box, score, threshold)
        height, width = image.shape[:2]
        placed = (found.boxes - np.tile(np.array(corner, np.float32), 2)) / np.float32(scale)
        limit = np.array([width, height, width, height], np.float32)
        results.append(Detections(np.clip(placed, 0, limit), found.scores, found.kinds))
    return results


def read_label(image: U8, box: F32, margin: float = 0.12) -> list[tuple[str, str]]:
    """Texts and formats that zxing-cpp reads in a box of a full-resolution RGB picture, widened by `margin`.

    A small crop is read again at twice its size, which helps narrow bars.
    """
    x1, y1, x2, y2 = (float(value) for value in box)
    grow = margin * max(x2 - x1, y2 - y1) + 2
    left, top = max(0, int(x1 - grow)), max(0, int(y1 - grow))
    crop = image[top : int(y2 + grow) + 1, left : int(x2 + grow) + 1]
    if min(crop.shape[:2]) < 8:
        return []
    grey = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY)
    for scale in (1, 2):
        large = grey if scale == 1 else cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        found = zxingcpp.read_barcodes(np.ascontiguousarray(large))
        if found:
            return [(code.text, str(code.format)) for code in found]
    return []


def read_labels(image: U8, found: Detections) -> list[str]:
    """Every text read from the detected labels of a picture."""
    boxes = found.boxes[found.kinds == LABEL]
    return [text for box in boxes for text, _ in read_label(image, box)]
