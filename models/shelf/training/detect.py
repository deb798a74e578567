"""From a picture's bytes to detections and texts, by the service's own code around any network."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from app.engines import catalog, devices
from app.engines.base import EngineName, EngineOptions, Precision
from app.vision import image, preprocessing
from app.vision.barcodes import read_barcodes
from app.vision.detection import DetectionSpec, DetectionTask
from app.vision.tasks import Options
from models.shelf.training.arrays import CLASSES, F32, LABEL, U8
from models.shelf.training.manifest import DETECTION, INPUT

Network = Callable[[F32], tuple[F32, F32]]
"""Images float32 [B, 3, 320, 512], 0 to 1, to boxes [B, N, 4] in input pixels and scores [B, N, C], 0 to 1."""

_SPEC = preprocessing.InputSpec(**INPUT)
_TASK = DetectionTask(DetectionSpec(**DETECTION), CLASSES)


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found, best first.

    Boxes float32 [K, 4] (x1, y1, x2, y2 in the picture's pixels), scores float32 [K], classes int64 [K].
    """

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


def engine_network(path: Path, engine: EngineName, precision: Precision) -> Network:
    """The exported model on one of the service's engines, on the CPU."""
    opened = catalog.open_engine(engine, path, EngineOptions(devices.choose("cpu", None), precision))

    def run(images: F32) -> tuple[F32, F32]:
        outputs = opened.run(images)
        return np.asarray(outputs["boxes"], np.float32), np.asarray(outputs["scores"], np.float32)

    return run


def detect(network: Network, packed: list[bytes], threshold: float, whole: bool = False) -> list[Detections]:
    """Detections of a batch of encoded pictures of any sizes.

    As in the service, a large JPEG is decoded at a half, a quarter or an eighth where that is enough; not with `whole`.
    """
    rows = np.empty((len(packed), *_SPEC.shape), np.float32)
    placements = [_prepare(content, row, whole) for content, row in zip(packed, rows, strict=True)]
    options = Options(score_threshold=threshold)
    found = []
    for boxes, scores, placement in zip(*network(rows), placements, strict=True):
        result = _TASK.finish({"boxes": boxes, "scores": scores}, placement, options)
        found.append(Detections(result.boxes, result.scores, result.class_ids))
    return found


def prepared(packed: bytes) -> F32:
    """What the network is given for one picture: float32 [1, 3, 320, 512]."""
    rows = np.empty((1, *_SPEC.shape), np.float32)
    _prepare(packed, rows[0])
    return rows


def _prepare(packed: bytes, row: F32, whole: bool = False) -> preprocessing.Placement:
    header = image.read_header(packed)
    target = None if whole else preprocessing.target_size(header.upright, _SPEC)
    return preprocessing.prepare(image.decode(packed, header, target), _SPEC, row)


def read_labels(picture: U8, found: Detections) -> list[str]:
    """Every text that the service reads from the detected labels of a picture."""
    read = read_barcodes(_grey(picture), found.boxes[found.kinds == LABEL])
    return [code.text for codes in read for code in codes]


def _grey(picture: U8) -> image.Picture:
    grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
    return image.Picture(grey, image.Size(grey.shape[1], grey.shape[0]))
