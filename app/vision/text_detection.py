"""Text detection: where a picture's lines of text are, by differentiable binarization (https://arxiv.org/abs/1911.08947)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from app.errors import EngineFailure, InvalidManifest
from app.vision.header import Size
from app.vision.preprocessing import Placement
from app.vision.quads import Quads, grown, ordered_corners, reading_order, smallest_quad
from app.vision.region import Region
from app.vision.tasks import OF_MAPS, OF_VECTORS, Grey, Options, Outputs, TaskSpec, chosen_output, refuse

_GROWN_BY = 2  # pixels of the map that a line's shorter side must have gained at least (PP-OCR)
_SHORTEST_SIDE = 3  # whole pixels of the original: a quad with a side of no more is dropped (PP-OCR)


class TextDetectionSpec(TaskSpec):
    """The manifest's section for `task: text_detection`.

    The output is how likely each place belongs to the inner part of a line, [1, h, w] or [h, w] of 0 to 1; h and w
    need not be the input's. What is above `threshold` and hangs together is a line; `dilation` thickens it by a pixel
    first. It is kept if its shorter side has at least `min_size` pixels of the map and the mean over it is at least
    `score_threshold` (`score_mode`: over its smallest rectangle, `fast`, or within its outline, `slow`), and then grown
    on all sides by its area over its circumference times `unclip_ratio`. Of one picture at most `max_candidates` are
    looked at and at most `max_lines` answered. `output` names the output to read, where the graph has several.
    """

    threshold: float = Field(default=0.3, gt=0, lt=1)
    score_threshold: float = Field(default=0.5, ge=0, le=1)
    unclip_ratio: float = Field(default=1.6, gt=0, le=10)
    min_size: int = Field(default=3, ge=1)
    score_mode: Literal["fast", "slow"] = "fast"
    dilation: bool = False
    max_candidates: int = Field(default=1000, ge=1, le=10_000)
    max_lines: int = Field(default=1000, ge=1, le=10_000)
    output: str | None = None


@dataclass(frozen=True, slots=True)
class TextDetection:
    """A picture's lines of text in the order they are read.

    `quads` float32 [n, 4, 2] are their corners, clockwise from the top left one of the line, in pixels of the upright
    original; `scores` float32 [n] of 0 to 1.
    """

    quads: Quads
    scores: NDArray[np.float32]


class TextDetectionTask:
    """Turns the outputs of a detector of text into a `TextDetection`."""

    name: ClassVar[str] = "text_detection"

    def __init__(self, spec: TextDetectionSpec, labels: tuple[str, ...]) -> None:
        """`labels` may be empty: there are no classes."""
        self.spec = spec
        self.labels = labels

    def check(self, outputs: Outputs) -> None:
        """Check one picture's output rows at warm-up.

        Raises `InvalidManifest` where `output` is missing or ambiguous, or it is no map of probabilities.
        """
        table = chosen_output(outputs, self.spec.output)
        if _plane(table).ndim != 2 or not table.size:
            raise InvalidManifest(
                f"output: the model's has the shape {list(table.shape)}, but a text detector's is a map, [1, height, "
                "width]; choose another output or another task"
            )
        if not _are_shares(table):
            raise InvalidManifest(
                "output: the model's map is not of 0 to 1; if those are logits, let the graph end in a sigmoid"
            )

    def check_options(self, options: Options) -> None:
        """See `Task.check_options`."""
        names = ("iou_threshold", "class_agnostic", "top_k", "masks", "classes", "read_barcodes", *OF_VECTORS, *OF_MAPS)
        refuse(options, names, "the model finds lines of text, which have no classes")

    def finish(self, outputs: Outputs, placement: Placement, options: Options) -> TextDetection:
        """Decode one picture's map. A request's `score_threshold` takes the place of the manifest's, its
        `max_detections` that of `max_lines`; the best are answered.

        Raises `EngineFailure` where the map holds anything but 0 to 1.
        """
        shares = np.ascontiguousarray(_plane(chosen_output(outputs, self.spec.output)), np.float32)
        if not _are_shares(shares):
            raise EngineFailure("The model's map for this picture holds numbers that are not of 0 to 1.")
        threshold = self.spec.score_threshold if options.score_threshold is None else options.score_threshold
        most = self.spec.max_lines if options.max_detections is None else options.max_detections
        found = [(quad, score) for quad, score in self._lines(shares, threshold, placement) if _has_sides(quad)]
        quads = np.array([quad for quad, _ in found], np.float32).reshape(-1, 4, 2)
        scores = np.array([score for _, score in found], np.float32)
        best = np.sort(np.argsort(-scores, kind="stable")[:most])
        order = best[reading_order(quads[best])]
        return TextDetection(quads[order], np.clip(scores[order], 0, 1))

    def refine(self, prediction: TextDetection, grey: Callable[[], Grey], options: Options) -> TextDetection:
        """Nothing to look at again."""
        return prediction

    def moved(self, prediction: TextDetection, region: Region, whole: Size) -> TextDetection:
        """See `Task.moved`."""
        return replace(prediction, quads=prediction.quads + np.array((region.left, region.top), np.float32))

    def _lines(
        self, shares: NDArray[np.float32], threshold: float, placement: Placement
    ) -> list[tuple[NDArray[np.float32], float]]:
        """Each line's corners in pixels of the original, and its score."""
        inner = (shares > self.spec.threshold).view(np.uint8)
        if self.spec.dilation:
            inner = np.asarray(cv2.dilate(inner, np.ones((2, 2), np.uint8)), np.uint8)
        contours, _ = cv2.findContours(inner, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        found = []
        for contour in contours[: self.spec.max_candidates]:
            quad, side = smallest_quad(contour)
            if side < self.spec.min_size:
                continue
            score = _mean_within(shares, quad if self.spec.score_mode == "fast" else contour[:, 0])
            if score < threshold:
                continue
            quad, side = smallest_quad(grown(quad, self.spec.unclip_ratio))
            if side >= self.spec.min_size + _GROWN_BY:
                found.append((_in_original(quad, shares.shape, placement), score))
        return found


def _plane(table: NDArray[Any]) -> NDArray[Any]:
    """[h, w], where that was [1, h, w]."""
    return table[0] if table.ndim == 3 and len(table) == 1 else table


def _are_shares(table: NDArray[Any]) -> bool:
    return bool(np.isfinite(table).all() and table.min() >= 0 and table.max() <= 1)


def _mean_within(shares: NDArray[np.float32], corners: NDArray[Any]) -> float:
    """The mean of a map [h, w] over a polygon [n, 2]."""
    height, width = shares.shape
    low = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, (width - 1, height - 1))
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int), 0, (width - 1, height - 1))
    mask = np.zeros((high[1] - low[1] + 1, high[0] - low[0] + 1), np.uint8)
    cv2.fillPoly(mask, [(corners - low).astype(np.int32)], (1,))
    return float(cv2.mean(shares[low[1] : high[1] + 1, low[0] : high[0] + 1], mask)[0])


def _in_original(quad: NDArray[np.float32], shape: tuple[int, ...], placement: Placement) -> NDArray[np.float32]:
    """Corners in cells of a map [h, w] as whole pixels of the original, clipped to it, clockwise from the top left."""
    cells = np.array([shape[1], shape[0]], np.float64)
    offset = np.array([placement.offset_x, placement.offset_y])
    scale = np.array([placement.scale_x, placement.scale_y])
    points = np.round((quad / cells * placement.model_size - offset) / scale)
    return np.clip(ordered_corners(points.astype(np.float32)), 0, np.array(placement.size, np.float32) - 1)


def _has_sides(quad: NDArray[np.float32]) -> bool:
    across, down = np.linalg.norm(quad[0] - quad[1]), np.linalg.norm(quad[0] - quad[3])
    return int(min(across, down)) > _SHORTEST_SIDE
