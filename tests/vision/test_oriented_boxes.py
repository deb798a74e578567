"""Turned boxes: their corners, how they suppress each other, and what of a manifest or a graph does not fit."""

import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from app.errors import InvalidManifest
from app.vision.detection import DetectionSpec
from app.vision.oriented_boxes import around, corners, intersection_over_union, of_polygons, survivors
from app.vision.tasks import Options
from tests.vision.test_detection import found_by, task_of

TURNED = {"decoder": "yolo", "extras": 1, "rotated": True}
SIDES = st.floats(1, 50)


@settings(max_examples=100, deadline=None)
@given(x=st.floats(-20, 80), y=st.floats(-20, 80), width=SIDES, height=SIDES, angle=st.floats(-7, 7))
def test_corners_are_those_of_opencv_and_the_angle_is_the_longer_sides(
    x: float, y: float, width: float, height: float, angle: float
) -> None:
    found = of_polygons(corners(np.array([[x, y, width, height, angle]])))
    (polygon,), (told,) = found.polygons, found.angles
    theirs = cv2.boxPoints(((x, y), (width, height), math.degrees(angle)))
    assert np.linalg.norm(polygon[:, None] - theirs, axis=-1).min(axis=1).max() < 0.01
    first, second = polygon[1] - polygon[0], polygon[2] - polygon[1]
    assert np.linalg.norm(first) >= np.linalg.norm(second) - 1e-3
    assert first[0] * second[1] - first[1] * second[0] > 0  # clockwise, where y goes down
    assert -90 <= told < 90.001
    assert np.allclose(first / np.linalg.norm(first), [np.cos(np.radians(told)), np.sin(np.radians(told))], atol=0.01)


def test_a_box_that_stands_upright_points_up() -> None:
    for angle in (math.pi / 2, -math.pi / 2, 3 * math.pi / 2):
        exact = np.float32([[[0, 0], [0, 20], [-10, 20], [-10, 0]]])
        assert of_polygons(exact).angles.tolist() == [-90]
        assert abs(of_polygons(corners(np.array([[0, 0, 20, 10, angle]]))).angles[0]) == pytest.approx(90)


def test_those_that_overlap_as_they_lie_are_suppressed_within_their_class() -> None:
    crossed = np.array([[50, 50, 60, 8, 0], [50, 50, 60, 8, math.pi / 2], [50, 52, 60, 8, 0.05]])
    one, two = np.zeros(3, int), np.array([0, 0, 1])
    assert survivors(crossed, one, 0.4).tolist() == [0, 1]  # upright boxes around the first two are far from alike
    assert survivors(crossed, two, 0.4).tolist() == [0, 1, 2]
    assert survivors(crossed, one, 0.9).tolist() == [0, 1, 2]
    assert survivors(crossed[:0], one[:0], 0.4).tolist() == []


def test_those_that_are_suppressed_suppress_as_well() -> None:
    row = np.array([[x, 0, 20, 20, 0.3] for x in (0, 7, 14)])
    assert survivors(row, np.zeros(3, int), 0.5).tolist() == [0]  # as the families' fast suppression, and not greedily


def test_many_are_compared_in_parts_as_they_are_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    many = random.uniform((0, 0, 5, 5, 0), (100, 100, 30, 30, 3), (300, 5))
    classes = random.integers(0, 3, 300)
    monkeypatch.setattr("app.vision.oriented_boxes._COLUMNS", 1000)
    at_once = survivors(many, classes, 0.3).tolist()
    monkeypatch.setattr("app.vision.oriented_boxes._COLUMNS", 7)
    assert survivors(many, classes, 0.3).tolist() == at_once
    assert 10 < len(at_once) < 290


def test_overlaps_of_turned_boxes() -> None:
    first, second, far = corners(np.array([[50, 50, 40, 10, 0], [50, 50, 40, 10, math.pi / 2], [90, 90, 4, 4, 1]]))
    assert intersection_over_union(first, first) == pytest.approx(1)
    assert intersection_over_union(first, second) == pytest.approx(100 / 700, abs=1e-3)
    assert intersection_over_union(first, far) == 0
    assert intersection_over_union(np.zeros((4, 2)), np.zeros((4, 2))) == 0


def rows(*turned: tuple[float, float, float, float, float]) -> np.ndarray:
    """As a head of three classes gives them, all of the first one, the better ones first."""
    table = np.array(turned, np.float32)
    scores = np.zeros((len(table), 3), np.float32)
    scores[:, 0] = 0.9 - np.arange(len(table)) / 10
    return np.concatenate([table[:, :4], scores, table[:, 4:]], axis=1).T


def test_a_thin_box_beside_another_is_kept_and_the_way_back_is_that_of_its_corners() -> None:
    """`PLACEMENT` halves the picture and lies 8 below."""
    thin = ((30.0, 36.0, 40.0, 4.0, math.pi / 4), (36.0, 30.0, 40.0, 4.0, math.pi / 4))
    found = found_by(task_of(**TURNED), rows(*thin), options=Options(iou_threshold=0.45))
    assert found.oriented is not None
    assert len(found.labels) == 2  # of the upright boxes around them the second would be suppressed
    wanted = cv2.boxPoints(((60, 56), (80, 8), 45))
    assert intersection_over_union(found.oriented.polygons[0], wanted) > 0.999
    assert np.allclose(found.boxes, np.clip(around(found.oriented.polygons), 0, [128, 96, 128, 96]), atol=1e-3)
    assert found.oriented.angles == pytest.approx([45, 45], abs=1e-3)
    agnostic = found_by(task_of(**TURNED), rows(thin[0], thin[0]), options=Options(class_agnostic=True))
    assert len(agnostic.labels) == 1


def test_a_box_of_any_size_has_corners_that_are_numbers() -> None:
    found = found_by(task_of(**TURNED), rows((30, 30, 2e38, 2e38, 0.0)))
    assert found.oriented is not None
    assert np.isfinite(found.oriented.polygons).all()
    assert found.boxes.tolist() == [[0, 0, 128, 96]]


def test_a_graph_without_the_angle_is_refused_at_load() -> None:
    with pytest.raises(InvalidManifest, match=r"2 classes \(beside the further numbers that extras, 1, counts\)"):
        found_by(task_of(**TURNED), rows((30, 30, 10, 10, 0.0))[:-1])


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"extras": 0}, "the angle is the last of the extras; set extras to 1"),
        ({"coordinates": "normalized"}, "boxes are cxcywh in pixels"),
        ({"box_format": "xyxy"}, "boxes are cxcywh in pixels"),
        ({"decoder": "boxes_scores", "extras": 0}, "rotated: belongs to yolo and end_to_end"),
    ],
)
def test_sections_that_contradict_themselves(section: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DetectionSpec.model_validate({**TURNED, **section})
