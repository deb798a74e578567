"""Keypoints and turned boxes of tiles, put together."""

import numpy as np

from app.vision import oriented_boxes
from app.vision.detection import DetectionSpec, DetectionTask
from app.vision.detections import Detections
from app.vision.image import Size
from app.vision.keypoints import Keypoints
from app.vision.region import Region
from app.vision.tasks import Options, Part

SIZE = Size(1000, 600)
LEFT, RIGHT = Region(0, 0, 600, 600), Region(400, 0, 1000, 600)
TASK = DetectionTask(DetectionSpec(decoder="end_to_end"), ("thing",))


def detections(boxes: list[tuple[float, ...]], **more: object) -> Detections:
    count = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.linspace(0.9, 0.5, count, dtype=np.float32),
        np.zeros(count, np.int64),
        ("thing",) * count,
        **more,  # type: ignore[arg-type]
    )


def points(*of_each: tuple[float, float]) -> Keypoints:
    return Keypoints(np.array(of_each, np.float32)[:, None], np.ones((len(of_each), 1), np.float32), ("nose",), ())


def test_keypoints_are_those_of_who_saw_all_of_it() -> None:
    left = detections([(500, 100, 600, 200), (10, 10, 50, 50)], keypoints=points((599, 150), (30, 30)))
    right = detections([(100, 100, 300, 200)], keypoints=points((250, 150)))
    found = TASK.join([Part(left, LEFT), Part(right, RIGHT)], SIZE, Options())
    order = np.argsort(-found.boxes[:, 0])
    np.testing.assert_array_equal(found.boxes[order], [(500, 100, 700, 200), (10, 10, 50, 50)])
    assert found.keypoints is not None
    np.testing.assert_array_equal(found.keypoints.points[order, 0], [(650, 150), (30, 30)])


def test_a_turned_box_that_every_tile_cuts_goes_around_its_pieces() -> None:
    def turned(x0: float, x1: float) -> oriented_boxes.OrientedBoxes:
        corners = np.array([[(x0, 100), (x1, 100), (x1, 140), (x0, 140)]], np.float32)
        return oriented_boxes.of_polygons(corners)

    left = detections([(100, 100, 600, 140)], oriented=turned(100, 600))
    right = detections([(0, 100, 500, 140)], oriented=turned(0, 500))
    found = TASK.join([Part(left, LEFT), Part(right, RIGHT)], SIZE, Options())
    np.testing.assert_array_equal(found.boxes, [(100, 100, 900, 140)])
    assert found.oriented is not None
    corners = [(100, 100), (100, 140), (900, 100), (900, 140)]
    np.testing.assert_allclose(sorted(found.oriented.polygons[0].tolist()), corners, atol=1e-3)
    np.testing.assert_allclose(found.oriented.angles, 0, atol=1e-3)


def test_nothing_on_any_tile_is_nothing() -> None:
    found = TASK.join([Part(detections([]), LEFT), Part(detections([]), RIGHT)], SIZE, Options())
    assert found.boxes.shape == (0, 4)
    assert (found.labels, found.masks, found.keypoints, found.oriented) == ((), None, None, None)
