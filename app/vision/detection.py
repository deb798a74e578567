"""Object detection: what a model's heads say, as boxes on the picture that was sent."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from app.errors import EngineFailure
from app.vision import instance_masks, keypoints, oriented_boxes, seams
from app.vision.barcodes import read_barcodes
from app.vision.class_names import ClassNames
from app.vision.decoders.base import Candidates, OutputDecoder, strongest
from app.vision.decoders.registry import decoder_for
from app.vision.detection_spec import DetectionSpec
from app.vision.detections import Detections
from app.vision.detections_of_parts import of_parts, put_together
from app.vision.header import Size
from app.vision.instance_masks import Chosen, Masks
from app.vision.keypoints import Keypoints
from app.vision.preprocessing import Placement
from app.vision.region import Region
from app.vision.seams import Seen
from app.vision.tasks import OF_MAPS, OF_VECTORS, Grey, Options, Outputs, Part, refuse
from app.vision.tiling import Tiles

__all__ = ["DetectionSpec", "DetectionTask", "Detections"]

Boxes = NDArray[np.float32]

MOST_BEFORE_FILTER = 100_000
"""Candidates of all classes among which those of the wanted ones are looked for."""


class DetectionTask:
    """Turns a detector's outputs into `Detections`."""

    name: ClassVar[str] = "detection"

    def __init__(self, spec: DetectionSpec, labels: tuple[str, ...]) -> None:
        """`labels` are the names of the classes, without the background.

        Raises `InvalidManifest` where the decoder is somebody's own and is not there.
        """
        self.spec = spec
        self.labels = labels
        self._decoder = decoder_for(spec.decoder)
        self._names = ClassNames(labels)
        # Others must not use up the places of the wanted classes.
        self._before_filter = spec.model_copy(update={"max_candidates": MOST_BEFORE_FILTER})

    def check(self, outputs: Outputs) -> None:
        """Check one picture's output rows at warm-up.

        Raises `InvalidManifest` where the decoder does not fit their number, names or shapes, or the labels do not fit
        the number of classes.
        """
        self._decoder.check(self.spec, outputs, len(self.labels))
        if not isinstance(self._decoder, OutputDecoder):
            return
        count = self._decoder.count(self.spec, outputs)
        if self.spec.masks is not None:
            instance_masks.check(self.spec.masks, outputs, self.spec.extras, count)
        if self.spec.keypoints is not None:
            keypoints.check(self.spec.keypoints, outputs, count)

    def check_options(self, options: Options) -> None:
        """See `Task.check_options`."""
        refuse(options, ("top_k",), "the model is a detector; max_detections is what limits its answer")
        refuse(options, (*OF_VECTORS, *OF_MAPS), "the model is a detector, which gives no vectors and no maps")
        if not self.spec.nms:
            why = "the model's graph suppresses overlapping boxes itself, or needs no suppression (nms: false)"
            refuse(options, ("iou_threshold", "class_agnostic"), why)
        if self.spec.masks is None and options.masks != "none":
            refuse(options, ("masks",), "the model gives boxes alone")
        if options.classes is not None:
            self._names.ids(options.classes)

    def finish(self, outputs: Outputs, placement: Placement, options: Options) -> Detections:
        """Decode one picture's output rows: threshold, the wanted classes, suppression, pixels of the upright original.

        Raises `EngineFailure` where the outputs hold anything but finite numbers.
        """
        spec = self.spec
        threshold = spec.score_threshold if options.score_threshold is None else options.score_threshold
        iou = spec.iou_threshold if options.iou_threshold is None else options.iou_threshold
        most = spec.max_detections if options.max_detections is None else options.max_detections
        agnostic = spec.class_agnostic if options.class_agnostic is None else options.class_agnostic
        reading = spec if options.classes is None else self._before_filter
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is looked for just below
            found = self._decoder.decode(reading, outputs, placement.model_size, threshold)
        if options.classes is not None:
            found = self._only(found, self._names.ids(options.classes))
        if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
            raise EngineFailure("The model's answer for this picture holds numbers that are not finite.")
        found = _best_first(found)
        if spec.nms:
            found = found.take(_survivors(found, iou, agnostic))
        with np.errstate(over="ignore"):  # a box larger than any number is as large as the picture
            boxes = placement.to_original(found.boxes)
        there = np.flatnonzero((boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]))[:most]
        found, boxes = found.take(there), boxes[there]
        return self._detections(outputs, found, boxes, placement, options)

    def refine(self, prediction: Detections, grey: Callable[[], Grey], options: Options) -> Detections:
        """Read the barcodes on the detections of `barcode_labels`, where manifest and request want it."""
        wanted = self.spec.read_barcodes if options.read_barcodes is None else options.read_barcodes
        coded = [index for index, label in enumerate(prediction.labels) if label in self.spec.barcode_labels]
        if not (wanted and coded):
            return prediction
        codes = dict(zip(coded, read_barcodes(grey(), prediction.boxes[coded], self.spec.reading), strict=True))
        return replace(prediction, barcodes=tuple(codes.get(index, ()) for index in range(len(prediction.labels))))

    def moved(self, prediction: Detections, region: Region, whole: Size) -> Detections:
        """See `Task.moved`."""
        found = prediction.moved((1, 1), (region.left, region.top))
        return replace(found, masks=found.masks and instance_masks.moved(found.masks, region, whole))

    @property
    def tiles(self) -> Tiles | None:
        """See `JoiningTask.tiles`."""
        return self.spec.tiles

    def join(self, parts: Sequence[Part], size: Size, options: Options) -> Detections:
        """What tiles saw of one object becomes one detection, as `seams` has it, on the whole picture."""
        most = self.spec.max_detections if options.max_detections is None else options.max_detections
        agnostic = self.spec.class_agnostic if options.class_agnostic is None else options.class_agnostic
        found = of_parts([(part.prediction, part.region) for part in parts], size)
        classes = np.zeros_like(found.class_ids) if agnostic and self.spec.nms else found.class_ids
        tiles = np.repeat(np.arange(len(parts)), [len(part.prediction.labels) for part in parts])
        seen = Seen(found.boxes, found.scores, classes, tiles, [part.region for part in parts], size)
        return put_together(found, seams.join(seen, most), size)

    def _only(self, found: Candidates, class_ids: NDArray[np.int64]) -> Candidates:
        """The best `max_candidates` of these classes."""
        found = found.take(np.flatnonzero(np.isin(found.class_ids, class_ids)))
        return found.take(strongest(found.scores, -np.inf, self.spec.max_candidates))

    def _detections(
        self, outputs: Outputs, found: Candidates, boxes: Boxes, placement: Placement, options: Options
    ) -> Detections:
        labels = tuple(self._label(class_id) for class_id in found.class_ids.tolist())
        return Detections(
            boxes,
            np.clip(found.scores, 0, 1),
            found.class_ids,
            labels,
            masks=self._masks(outputs, found, boxes, placement, options),
            keypoints=self._keypoints(outputs, found, placement),
            oriented=None if found.turned is None else oriented_boxes.placed(found.turned, placement),
        )

    def _masks(
        self, outputs: Outputs, found: Candidates, boxes: Boxes, placement: Placement, options: Options
    ) -> Masks | None:
        spec = self.spec.masks
        if spec is None or options.masks == "none":
            return None
        chosen = Chosen(found.rows, self._extras(outputs, found), found.boxes, boxes)
        return instance_masks.read(spec, options.masks or spec.format, outputs, chosen, placement)

    def _keypoints(self, outputs: Outputs, found: Candidates, placement: Placement) -> Keypoints | None:
        spec = self.spec.keypoints
        if spec is None:
            return None
        normalized = self.spec.coordinates == "normalized"
        return keypoints.read(spec, normalized, outputs, self._extras(outputs, found), found.rows, placement)

    def _extras(self, outputs: Outputs, found: Candidates) -> NDArray[np.float32]:
        """The further numbers [n, extras] of these candidates."""
        if not self.spec.extras or not isinstance(self._decoder, OutputDecoder):
            return found.boxes[:, :0]
        return self._decoder.extras(self.spec, outputs, found.rows)

    def _label(self, class_id: int) -> str:
        # A graph that numbers its own classes can exceed the labels, and nothing at warm-up would show it.
        return self.labels[class_id] if class_id < len(self.labels) else f"class {class_id}"


def _best_first(found: Candidates) -> Candidates:
    return found.take(np.argsort(-found.scores, kind="stable"))


def _survivors(found: Candidates, iou_threshold: float, class_agnostic: bool) -> NDArray[np.intp]:
    """Greedy suppression within each class, or of all together; indices in the order of `found`, which is best first.

    OpenCV's, fed with lists, is 4 to 20 times faster than a vectorised numpy one on 5 to 300 candidates.
    """
    if len(found.scores) < 2:
        return np.arange(len(found.scores))
    if found.turned is not None:
        classes = np.zeros_like(found.class_ids) if class_agnostic else found.class_ids
        return oriented_boxes.survivors(found.turned, classes, iou_threshold)
    # OpenCV keeps classes apart by shifting them by multiples of the largest coordinate; so none may be negative.
    corners = found.boxes.astype(np.float64)
    corners -= corners[:, :2].min(axis=0)[[0, 1, 0, 1]]
    corners[:, 2:] -= corners[:, :2]
    # A graph's own class numbers may be large; counted off, they keep those multiples small.
    classes = np.unique(found.class_ids, return_inverse=True)[1] * (not class_agnostic)
    # The scores are ranks here: what counts is the order, and ties must stay as they are.
    ranks = np.arange(len(corners), 0, -1, dtype=np.float64)
    kept = cv2.dnn.NMSBoxesBatched(
        corners.tolist(), ranks.tolist(), classes.tolist(), score_threshold=0.0, nms_threshold=iou_threshold
    )
    return np.sort(np.asarray(kept, np.intp).reshape(-1))
