"""What a detector found on a picture."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.vision.barcodes import Barcode
from app.vision.instance_masks import Masks
from app.vision.keypoints import Keypoints
from app.vision.oriented_boxes import OrientedBoxes, of_polygons


@dataclass(frozen=True, slots=True)
class Detections:
    """What was found, best first.

    `boxes` float32 [n, 4] as x0, y0, x1, y1 in pixels of the upright original, `scores` float32 [n] of 0 to 1,
    `class_ids` int64 [n] into the model's labels, `labels` the label of each; `barcodes` the codes that could be read
    on each, or None where nobody looked; `masks`, `keypoints` and `oriented` each one's mask, points and turned box,
    around which `boxes` are then, or None where the model gives none.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    class_ids: NDArray[np.int64]
    labels: tuple[str, ...]
    barcodes: tuple[tuple[Barcode, ...], ...] | None = None
    masks: Masks | None = None
    keypoints: Keypoints | None = None
    oriented: OrientedBoxes | None = None

    def take(self, order: list[int]) -> "Detections":
        """Those of them, in that order."""
        return Detections(
            self.boxes[order],
            self.scores[order],
            self.class_ids[order],
            tuple(self.labels[index] for index in order),
            None if self.barcodes is None else tuple(self.barcodes[index] for index in order),
            None if self.masks is None else self.masks.take(order),
            None if self.keypoints is None else self.keypoints.take(order),
            None if self.oriented is None else self.oriented.take(order),
        )

    def moved(self, scale: tuple[float, float], offset: tuple[float, float]) -> "Detections":
        """On another grid, such as that of a picture of which this one is a part: x and y times `scale`, plus `offset`.
        Masks stay on their own grid, which lies on the whole picture.
        """
        factors, start = np.array(scale, np.float32), np.array(offset, np.float32)

        def move(points: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.asarray(points * factors + start, np.float32)

        keypoints, oriented = self.keypoints, self.oriented
        return replace(
            self,
            boxes=move(self.boxes.reshape(-1, 2)).reshape(-1, 4),
            keypoints=keypoints and replace(keypoints, points=move(keypoints.points)),
            oriented=oriented and of_polygons(move(oriented.polygons)),
        )
