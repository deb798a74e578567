"""Pictures with their answers drawn in."""

from base64 import b64decode

import numpy as np
from numpy.typing import NDArray

from app.commands.output.base import Answered, Output, Wanted, new_file
from app.commands.output.masks import to_masks
from app.commands.output.places import to_keypoints, to_oriented
from app.commands.output.values import to_embedding, to_maps
from app.errors import InvalidRequest
from app.vision import drawing, image, segmentation
from app.vision.barcodes import Barcode
from app.vision.classification import Classification
from app.vision.detection import Detections
from app.vision.image import Size
from app.vision.segmentation import Segmentation
from app.vision.text_detection import TextDetection
from app.vision.text_recognition import TextRecognition
from app.wire.notes import notes
from app.wire.prediction import AnyPrediction, Prediction, Segmented


class Drawn(Output):
    """`NAME.jpg`, of at most `drawing.DRAWN_PIXELS`."""

    def __init__(self, wanted: Wanted) -> None:
        self._out = wanted.out

    def save(self, answered: Answered, content: bytes) -> None:
        """Draw it."""
        header = image.read_header(content)
        picture = image.decode(content, header, drawing.canvas_size(header.upright))
        found = answered.prediction.detections or answered.prediction.lines or []
        lines = [notes(one.model_dump(include={"steps"})["steps"] or {}) for one in found]
        canvas = drawing.draw(picture, to_arrays(answered.prediction), notes=lines)
        try:
            file = drawing.encode(canvas, "image/jpeg")
        except ValueError as error:
            raise InvalidRequest(f"it cannot be drawn: {error}") from None
        new_file(self._out / f"{answered.name}.jpg").write_bytes(file)


def to_arrays(prediction: Prediction) -> AnyPrediction:
    """An answer as the task gave it, its boxes in pixels; raises `InvalidRequest` for a map that is none."""
    sides = (prediction.image.width, prediction.image.height) if prediction.coordinates == "normalized" else (1, 1)
    pixels = np.array(sides * 2, np.float32)
    if prediction.segmentation is not None:
        return _to_segmentation(prediction.segmentation, pixels)
    if prediction.embedding is not None:
        return to_embedding(prediction.embedding)
    if prediction.maps:
        return to_maps(prediction.maps, pixels)
    if prediction.lines is not None:
        quads = np.array([line.polygon for line in prediction.lines], np.float32).reshape(-1, 4, 2) * pixels[:2]
        return TextDetection(quads, np.array([line.score for line in prediction.lines], np.float32))
    if prediction.text is not None:
        return TextRecognition(prediction.text.text, prediction.text.score)
    found = prediction.detections if prediction.detections is not None else prediction.classes or []
    scores = np.array([item.score for item in found], np.float32)
    class_ids = np.array([item.class_id for item in found], np.int64)
    labels = tuple(item.label for item in found)
    if prediction.detections is None:
        return Classification(class_ids, scores, labels)
    boxes = np.array([item.box for item in prediction.detections], np.float32).reshape(-1, 4) * pixels
    barcodes = tuple(tuple(Barcode(code.text, code.format) for code in item.codes) for item in prediction.detections)
    size = Size(prediction.image.width, prediction.image.height)
    masks = to_masks(prediction.detections, size, prediction.coordinates == "normalized")
    places = to_keypoints(prediction, pixels[:2]), to_oriented(prediction.detections, pixels[:2])
    return Detections(boxes, scores, class_ids, labels, barcodes, masks, *places)


def _to_segmentation(found: Segmented, pixels: NDArray[np.float32]) -> Segmentation:
    try:
        png = b64decode(found.map.png, validate=True)
        class_map = segmentation.decode_map(png)
    except ValueError as error:
        raise InvalidRequest(f"the map in the answer cannot be read: {error}") from None
    return Segmentation(
        class_map=class_map,
        map_box=tuple((np.array(found.map.box) * pixels).tolist()),
        png=png,
        class_ids=np.array([segment.class_id for segment in found.segments], np.int64),
        labels=tuple(segment.label for segment in found.segments),
        shares=np.array([segment.share for segment in found.segments], np.float32),
        boxes=np.array([segment.box for segment in found.segments], np.float32).reshape(-1, 4) * pixels,
    )
