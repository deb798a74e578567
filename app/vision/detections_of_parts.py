"""Detections on parts of a picture, put together."""

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from app.vision import instance_masks, mask_places, oriented_boxes
from app.vision.detections import Detections
from app.vision.header import Size
from app.vision.instance_masks import Masks
from app.vision.keypoints import Keypoints
from app.vision.oriented_boxes import OrientedBoxes
from app.vision.region import Region
from app.vision.seams import Joined

MASK_PIXELS = 2**22
"""Cells of the grid of masks of a picture that was looked at in parts: the model sees more of it than of a whole one.
"""


def of_parts(parts: Sequence[tuple[Detections, Region]], size: Size) -> Detections:
    """All that was found on parts of a picture of that size, one after the other, in its coordinates."""
    moved = [found.moved((1, 1), (region.left, region.top)) for found, region in parts]
    boxes = np.concatenate([found.boxes for found in moved])
    return Detections(
        boxes,
        np.concatenate([found.scores for found in moved]),
        np.concatenate([found.class_ids for found in moved]),
        tuple(label for found in moved for label in found.labels),
        masks=_masks(parts, size, mask_places.grid_of(size, boxes, MASK_PIXELS)),
        keypoints=_keypoints([found.keypoints for found in moved if found.keypoints is not None]),
        oriented=_oriented([found.oriented for found in moved if found.oriented is not None]),
    )


def put_together(found: Detections, objects: Sequence[Joined], size: Size) -> Detections:
    """One detection for each object: the one that stands for it, but what was cut is as large as all its pieces."""
    chosen = found.take([each.chosen for each in objects])
    boxes = np.array([each.box for each in objects], np.float32).reshape(-1, 4)
    masks, oriented = found.masks, found.oriented
    return replace(
        chosen,
        boxes=boxes,
        scores=np.array([each.score for each in objects], np.float32),
        masks=masks and instance_masks.joined(masks, [each.members for each in objects], size),
        oriented=oriented and _joined_oriented(oriented, objects),
    )


def _masks(parts: Sequence[tuple[Detections, Region]], size: Size, grid: Size) -> Masks | None:
    own = [(found.masks, region) for found, region in parts if found.masks is not None]
    if not own:
        return None
    moved = [instance_masks.moved(masks, region, size, grid) for masks, region in own]
    return Masks(grid, tuple(m for one in moved for m in one.masks), tuple(t for one in moved for t in one.told))


def _keypoints(found: Sequence[Keypoints]) -> Keypoints | None:
    if not found:
        return None
    scores = [one.scores for one in found if one.scores is not None]
    points = np.concatenate([one.points for one in found])
    return replace(found[0], points=points, scores=np.concatenate(scores) if scores else None)


def _oriented(found: Sequence[OrientedBoxes]) -> OrientedBoxes | None:
    if not found:
        return None
    return OrientedBoxes(np.concatenate([one.polygons for one in found]), np.concatenate([one.angles for one in found]))


def _joined_oriented(oriented: OrientedBoxes, objects: Sequence[Joined]) -> OrientedBoxes:
    """The smallest turned box around an object's pieces; its own, where there is one."""
    corners = [
        oriented.polygons[each.chosen]
        if len(each.members) == 1
        else cv2.boxPoints(cv2.minAreaRect(oriented.polygons[list(each.members)].reshape(-1, 2)))
        for each in objects
    ]
    return oriented_boxes.of_polygons(np.array(corners, np.float32).reshape(-1, 4, 2))
