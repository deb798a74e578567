"""Predictions as tensors: one row a picture, as many places in each as the picture with the most needs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from app.core.request import InferenceResult
from app.engines.base import Array
from app.oip import text_tensors
from app.oip.call import OutputTensor
from app.oip.datatypes import name_of, objects
from app.vision.classification import Classification
from app.vision.detection import Detections
from app.vision.embedding import Embedding
from app.vision.maps import Maps
from app.vision.segmentation import UNKNOWN, Segmentation
from app.wire.telling import relative

INPUT = "image"
"""The input of encoded pictures, of BYTES; a graph's own input of that name has another datatype."""


class Described(NamedTuple):
    """An output as metadata tells it; a side that depends on the pictures is -1."""

    name: str
    datatype: str
    shape: tuple[int, ...]


_K = (-1, -1)
"""A row for each picture, a place for each thing found."""
DETECTION = (
    Described("boxes", "FP32", (*_K, 4)),
    Described("scores", "FP32", _K),
    Described("labels", "BYTES", _K),
    Described("class_ids", "INT64", _K),
    Described("texts", "BYTES", _K),
    Described("count", "INT64", (-1,)),
)
SEGMENTATION = (
    Described("class_map", "UINT8", (-1, -1, -1)),
    Described("map_size", "INT64", (-1, 2)),
    Described("map_box", "FP32", (-1, 4)),
    Described("shares", "FP32", _K),
    Described("boxes", "FP32", (*_K, 4)),
    Described("labels", "BYTES", _K),
    Described("class_ids", "INT64", _K),
    Described("count", "INT64", (-1,)),
)

EMBEDDING = (Described("embedding", "FP32", (-1, -1)),)
MAPS = (
    Described("maps", "FP32", (-1, -1, -1, -1)),
    Described("map_size", "INT64", (-1, 2)),
    Described("map_box", "FP32", (-1, 4)),
)
TEXT_DETECTION = (
    Described("quads", "FP32", (*_K, 4, 2)),
    Described("scores", "FP32", _K),
    Described("count", "INT64", (-1,)),
)
TEXT_RECOGNITION = (Described("texts", "BYTES", (-1,)), Described("scores", "FP32", (-1,)))
_OF_TASKS = {
    "detection": DETECTION,
    "segmentation": SEGMENTATION,
    "embedding": EMBEDDING,
    "maps": MAPS,
    "text_detection": TEXT_DETECTION,
    "text_recognition": TEXT_RECOGNITION,
}


def described(task: str, classes: int) -> tuple[Described, ...]:
    """The outputs that a task gives for pictures."""
    classification = (Described("probabilities", "FP32", (-1, classes)),)
    return _OF_TASKS.get(task, classification)


def to_tensors(task: str, labels: tuple[str, ...], results: Sequence[InferenceResult]) -> list[OutputTensor]:
    """The answers to several pictures, in their order. What a picture has less of than others is filled up: numbers
    with 0, texts with "", class maps with 255; `count` and `map_size` say how much is the picture's own.
    """
    if task == "text_detection":
        sizes = [each.image_size if each.options.coordinates == "normalized" else None for each in results]
        return [_tensor(*rows) for rows in text_tensors.detected([each.prediction for each in results], sizes)]
    if task == "text_recognition":
        return [_tensor(*rows) for rows in text_tensors.recognized([each.prediction for each in results])]
    found = [_in_coordinates(result) for result in results]
    if task == "detection":
        return _detections(found)
    if task == "segmentation":
        return _segmentations(found)
    if task == "embedding":
        vectors: list[Embedding] = found
        dimensions = len(vectors[0].vector) if vectors else 0
        return [_tensor("embedding", [each.vector for each in vectors], (dimensions,), np.float32)]
    if task == "maps":
        return _maps(found)
    return [_tensor("probabilities", [_probabilities(each, len(labels)) for each in found], (len(labels),), np.float32)]


def _in_coordinates(result: InferenceResult) -> Any:
    """The prediction with its boxes in what the request asks for."""
    found, size = result.prediction, result.image_size
    if result.options.coordinates != "normalized" or isinstance(found, Classification | Embedding):
        return found
    if isinstance(found, Maps):
        return replace(found, map_box=relative(np.array([found.map_box], np.float32), size)[0])
    found = replace(found, boxes=relative(found.boxes, size))
    if isinstance(found, Segmentation):
        return replace(found, map_box=relative(np.array([found.map_box], np.float32), size)[0])
    return found


def _detections(found: list[Detections]) -> list[OutputTensor]:
    most = max((len(each.labels) for each in found), default=0)

    def rows(of: Callable[[Detections], Any], *inner: int, dtype: type = np.float32) -> list[Array]:
        return [_filled(of(each), (most, *inner), dtype) for each in found]

    return [
        _tensor("boxes", rows(lambda each: each.boxes, 4), (most, 4), np.float32),
        _tensor("scores", rows(lambda each: each.scores), (most,), np.float32),
        _tensor("labels", rows(lambda each: objects(each.labels, [-1]), dtype=object), (most,), object),
        _tensor("class_ids", rows(lambda each: each.class_ids, dtype=np.int64), (most,), np.int64),
        _tensor("texts", rows(_texts, dtype=object), (most,), object),
        _tensor("count", [np.asarray(len(each.labels)) for each in found], (), np.int64),
    ]


def _segmentations(found: list[Segmentation]) -> list[OutputTensor]:
    most = max((len(each.labels) for each in found), default=0)
    height = max((each.class_map.shape[0] for each in found), default=0)
    width = max((each.class_map.shape[1] for each in found), default=0)

    def rows(of: Callable[[Segmentation], Any], *inner: int, dtype: type = np.float32) -> list[Array]:
        return [_filled(of(each), (most, *inner), dtype) for each in found]

    maps = [_filled(each.class_map, (height, width), np.uint8, UNKNOWN) for each in found]
    return [
        _tensor("class_map", maps, (height, width), np.uint8),
        _tensor("map_size", [np.asarray(each.class_map.shape) for each in found], (2,), np.int64),
        _tensor("map_box", [np.asarray(each.map_box) for each in found], (4,), np.float32),
        _tensor("shares", rows(lambda each: each.shares), (most,), np.float32),
        _tensor("boxes", rows(lambda each: each.boxes, 4), (most, 4), np.float32),
        _tensor("labels", rows(lambda each: objects(each.labels, [-1]), dtype=object), (most,), object),
        _tensor("class_ids", rows(lambda each: each.class_ids, dtype=np.int64), (most,), np.int64),
        _tensor("count", [np.asarray(len(each.labels)) for each in found], (), np.int64),
    ]


def _maps(found: list[Maps]) -> list[OutputTensor]:
    height, width = (max((each.planes.shape[side] for each in found), default=0) for side in (1, 2))
    channels = max((len(each.planes) for each in found), default=0)
    planes = [_filled(each.planes, (channels, height, width), np.float32) for each in found]
    return [
        _tensor("maps", planes, (channels, height, width), np.float32),
        _tensor("map_size", [np.asarray(each.planes.shape[1:]) for each in found], (2,), np.int64),
        _tensor("map_box", [np.asarray(each.map_box) for each in found], (4,), np.float32),
    ]


def _texts(found: Detections) -> Array:
    """What the first barcode on each says; "" where none was read."""
    codes = found.barcodes or ((),) * len(found.labels)
    return objects([read[0].text if read else "" for read in codes], [-1])


def _probabilities(found: Classification, classes: int) -> Array:
    row = np.zeros(classes, np.float32)
    row[found.class_ids] = found.scores
    return row


def _filled(values: Array, shape: tuple[int, ...], dtype: type, with_value: int = 0) -> Array:
    row: Array = np.full(shape, "" if dtype is object else with_value, dtype)
    row[tuple(map(slice, values.shape))] = values
    return row


def _tensor(name: str, rows: list[Array], inner: tuple[int, ...], dtype: type) -> OutputTensor:
    typed: list[Array] = [np.asarray(row, dtype) for row in rows]
    return OutputTensor(name, name_of(np.dtype(dtype)), (len(rows), *inner), typed)
