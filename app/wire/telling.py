"""The core's answer in the shape of `Prediction`, the same whichever way it goes out."""

from base64 import b64encode
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.core.request import CropAnswer, InferenceResult, Nested, StepResult, Timings
from app.vision.barcodes import Barcode
from app.vision.classification import Classification
from app.vision.detection import Detections
from app.vision.embedding import Embedding
from app.vision.image import Size
from app.vision.maps import Maps
from app.vision.segmentation import Segmentation
from app.vision.text_detection import TextDetection
from app.vision.text_recognition import TextRecognition
from app.wire.masks import to_masks
from app.wire.places import to_keypoints, to_polygons
from app.wire.prediction import AnyPrediction, Boxes
from app.wire.text import to_lines, to_text
from app.wire.values import to_maps, to_vector

_PIXEL_DECIMALS, _SHARE_DECIMALS = 1, 6


def to_wire(result: InferenceResult) -> dict[str, Any]:
    """The core's answer in the shape of `Prediction`; numbers are rounded to what they are worth.

    Plain dicts, because this runs on the event loop for every picture: objects for dozens of detections took a fifth of
    its time.
    """
    size = result.image_size if result.options.coordinates == "normalized" else None
    nested = None if result.chain is None else result.chain.nested
    told = {
        "model": result.model,
        "version": result.version,
        "request_id": result.request_id,
        "image": {"width": result.image_size.width, "height": result.image_size.height},
        "coordinates": "pixels" if size is None else "normalized",
        "region": None if result.region is None else _to_boxes(np.array([result.region], np.float32), size)[0],
        "tiles": result.tiles,
        **_to_task(result.prediction, result.labels, size, nested),
        "batch_size": result.batch_size,
        "timings_ms": _to_timings(result.timings, result.total),
    }
    if result.chain is not None:
        told["chain"] = [_to_step(step, whole=not index) for index, step in enumerate(result.chain.steps)]
    return told


def relative(boxes: Boxes, size: Size) -> NDArray[np.float64]:
    """Boxes [n, 4] in pixels of a picture of that upright size as shares of it, 0 to 1."""
    return boxes.astype(np.float64) / np.array(size * 2, np.float64)


def _to_boxes(boxes: Boxes, size: Size | None) -> list[list[float]]:
    """In pixels or, where the picture's size is given, as shares of it."""
    if size is None:
        told, decimals = boxes.astype(np.float64), _PIXEL_DECIMALS
    else:
        told, decimals = relative(boxes, size), _SHARE_DECIMALS
    found: list[list[float]] = told.round(decimals).tolist()
    return found


def _to_step(step: StepResult, *, whole: bool) -> dict[str, Any]:
    crops = {"found": step.found, "asked": step.asked, "failed": step.failed, "limit": step.limit}
    return {
        "name": step.name,
        "model": step.model,
        "version": step.version,
        "crops": None if whole else crops,
        "timings_ms": _to_timings(step.timings, step.total),
    }


def to_crop(answer: CropAnswer, size: Size | None) -> dict[str, Any]:
    """What a step says of one crop, in the shape of `CropPrediction`; boxes are shares of the whole picture where its
    size is given.
    """
    said: dict[str, Any] = {"crop": _to_boxes(np.array([answer.region], np.float32), size)[0]}
    if answer.error is not None:
        return said | {"error": {"code": answer.error.code, "detail": str(answer.error)}}
    told = _to_task(answer.prediction, answer.labels, size, answer.nested)
    return said | {name: part for name, part in told.items() if part is not None and name != "inventory"}


def _to_task(
    prediction: AnyPrediction, labels: tuple[str, ...], size: Size | None, nested: Nested | None = None
) -> dict[str, Any]:
    tasks = ("detections", "classes", "segmentation", "embedding", "maps", "lines", "text", "inventory")
    nothing: dict[str, Any] = dict.fromkeys(tasks)
    if isinstance(prediction, Classification):
        return nothing | {"classes": _to_classes(prediction)}
    if isinstance(prediction, Segmentation):
        return nothing | {"segmentation": _to_segmentation(prediction, size)}
    if isinstance(prediction, Embedding):
        return nothing | {"embedding": to_vector(prediction)}
    if isinstance(prediction, Maps):
        return nothing | {"maps": to_maps(prediction, _to_boxes(np.array([prediction.map_box], np.float32), size)[0])}
    if isinstance(prediction, TextRecognition):
        return nothing | {"text": to_text(prediction)}
    if isinstance(prediction, TextDetection):
        return nothing | {"lines": _with_steps(to_lines(prediction, size), nested, size)}
    told = _to_detections(prediction, labels, size)
    _with_steps(told["detections"], nested, size)
    return nothing | told


def _with_steps(found: list[dict[str, Any]], nested: Nested | None, size: Size | None) -> list[dict[str, Any]]:
    """The same things found, each with what a chain's steps say of it."""
    for thing, steps in zip(found, nested or (), strict=bool(nested)):
        thing["steps"] = {name: to_crop(answer, size) for name, answer in steps.items()}
    return found


def _to_classes(found: Classification) -> list[dict[str, Any]]:
    rows = zip(found.labels, found.class_ids.tolist(), found.scores.astype(float).round(4).tolist(), strict=True)
    return [{"label": label, "class_id": class_id, "score": score} for label, class_id, score in rows]


def _to_detections(found: Detections, labels: tuple[str, ...], size: Size | None) -> dict[str, Any]:
    class_ids, scores = found.class_ids.tolist(), found.scores.astype(float).round(4).tolist()
    boxes = _to_boxes(found.boxes, size)
    codes = found.barcodes or ((),) * len(boxes)
    detections = [
        {
            "label": label,
            "class_id": class_id,
            "score": score,
            "box": box,
            "text": read[0].text if read else None,
            "format": read[0].format if read else None,
            "codes": [_to_code(code) for code in read],
        }
        for label, class_id, score, box, read in zip(found.labels, class_ids, scores, boxes, codes, strict=True)
    ]
    if found.masks is not None:
        for detection, mask in zip(detections, to_masks(found.masks, size), strict=True):
            detection["mask"] = mask
    if found.keypoints is not None:
        for detection, points in zip(detections, to_keypoints(found.keypoints, size), strict=True):
            detection["keypoints"] = points
    if found.oriented is not None:
        for detection, turned in zip(detections, to_polygons(found.oriented, size), strict=True):
            detection |= turned
    count = Counter(found.labels)
    texts = [code.text for read in codes for code in read]
    inventory = {"counts": {label: count[label] for label in labels}, "texts": texts}
    skeleton = {} if found.keypoints is None else {"skeleton": found.keypoints.links}
    return {"detections": detections, **skeleton, "inventory": inventory}


def _to_code(code: Barcode) -> dict[str, Any]:
    return {
        "text": code.text,
        "format": code.format,
        "symbology": code.symbology,
        "gs1": None if code.gs1 is None else [element._asdict() for element in code.gs1],
        "bytes": code.base64,
    }


def _to_segmentation(found: Segmentation, size: Size | None) -> dict[str, Any]:
    class_ids, shares = found.class_ids.tolist(), found.shares.astype(float).round(4).tolist()
    rows = zip(found.labels, class_ids, shares, _to_boxes(found.boxes, size), strict=True)
    height, width = found.class_map.shape
    return {
        "segments": [
            {"label": label, "class_id": class_id, "share": share, "box": box} for label, class_id, share, box in rows
        ],
        "map": {
            "png": b64encode(found.png).decode(),
            "width": width,
            "height": height,
            "box": _to_boxes(np.array([found.map_box], np.float32), size)[0],
        },
    }


def _to_timings(timings: Timings, total: float) -> dict[str, float]:
    seconds = {
        "queue": timings.queue,
        "decode": timings.decode,
        "prepare": timings.prepare,
        "compute": timings.compute,
        "finish": timings.finish,
        "total": total,
    }
    return {stage: round(value * 1e3, 2) for stage, value in seconds.items()}
