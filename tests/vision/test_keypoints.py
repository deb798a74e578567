"""Keypoints: read from a candidate's further numbers or from outputs of their own, and put on the picture."""

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from app.errors import EngineFailure, InvalidManifest
from app.vision.detection import DetectionSpec
from app.vision.keypoint_sets import NAMES, SKELETONS
from app.vision.keypoints import Keypoints
from tests.vision.test_detection import BOXES, LABELS, TWO, as_format, found_by, task_of

ENDS = {"names": ["head", "tail"], "skeleton": [["head", "tail"]]}
# Of the cat and of the owl: x, y and a score each, in the model's pixels; the last one lies outside of the picture.
POINTS = np.array([[[12, 22, 0.9], [28, 38, 0.2]], [[40, 20, 1], [70, 60, 0.6]]], np.float32)
PLACED = [[[80, 24], [128, 96]], [[24, 28], [56, 60]]]
"""On the picture, of the owl first: `PLACEMENT` halves it and lies 8 below."""


def yolo(points: np.ndarray = POINTS) -> np.ndarray:
    return np.concatenate([as_format("cxcywh"), TWO, points.reshape(2, -1)], axis=1).T


def points_of(outputs: list[np.ndarray], **section: Any) -> Keypoints:
    found = found_by(task_of(**section), *outputs).keypoints
    assert found is not None
    assert (found.names, found.links) == (("head", "tail"), ((0, 1),))
    return found


def test_points_behind_the_classes() -> None:
    found = points_of([yolo()], decoder="yolo", extras=6, keypoints=ENDS)
    assert found.points.tolist() == PLACED
    assert found.scores is not None
    assert np.allclose(found.scores, [[1, 0.6], [0.9, 0.2]])
    assert found.seen.tolist() == [[True, True], [True, False]]


def test_points_without_scores_and_as_shares_of_the_input() -> None:
    values = np.concatenate([as_format("cxcywh") / 64, TWO, POINTS[..., :2].reshape(2, -1) / 64], axis=1)
    section = {"transposed": True, "coordinates": "normalized", "extras": 4}
    found = points_of([values], decoder="yolo", keypoints={**ENDS, "dimensions": 2}, **section)
    assert np.allclose(found.points, PLACED, atol=1e-4)
    assert found.scores is None
    assert found.seen.all()


def test_points_at_the_end_of_rows() -> None:
    rows = np.concatenate([BOXES, [[0.6, 0], [0.9, 2]], POINTS.reshape(2, -1)], axis=1).astype(np.float32)
    assert points_of([rows], decoder="end_to_end", extras=6, keypoints=ENDS).points.tolist() == PLACED


def test_points_of_outputs_of_their_own() -> None:
    """As Keypoint R-CNN gives them: the third number is 1 always, and scores are the heights of peaks."""
    own = {**ENDS, "output": "output3", "scores": "output4", "apply_sigmoid": True}
    heights = np.array([[2, -1], [0, 9]], np.float32)
    outputs = [BOXES, np.float32([0.6, 0.9]), np.int64([0, 2]), POINTS * [1, 1, 0] + [0, 0, 1], heights]
    found = points_of(outputs, decoder="boxes_scores_labels", nms=False, keypoints=own)
    assert found.points.tolist() == PLACED
    assert np.allclose(found.scores, 1 / (1 + np.exp(-heights[::-1])), atol=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_points_that_are_no_numbers_fail_their_picture(value: float) -> None:
    points = POINTS.copy()
    points[1, 0, 1] = value
    with pytest.raises(EngineFailure, match="keypoints that are not finite"):
        found_by(task_of(decoder="yolo", extras=6, keypoints=ENDS), yolo(points))
    points[1, 0, 1] = np.finfo(np.float32).max  # a number after all
    assert found_by(task_of(decoder="yolo", extras=6, keypoints=ENDS), yolo(points)).keypoints is not None


@pytest.mark.parametrize(
    ("outputs", "keypoints", "words"),
    [
        ([], {"output": "points"}, "keypoints.output: the model has no 'points'; it has output0"),
        ([np.zeros((2, 3, 3))], {"output": "output1"}, r"output1 is \[2, 3, 3\], but .* and the 2 points of names"),
        ([np.zeros((2, 2, 4))], {"output": "output1"}, r"\[M, K, 2 or 3\] is wanted for 2 candidates"),
        (
            [POINTS, np.zeros((2, 3))],
            {"output": "output1", "scores": "output2"},
            r"scores: output2 is \[2, 3\]",
        ),
    ],
)
def test_outputs_that_do_not_fit_are_refused_at_load(outputs: list[Any], keypoints: dict[str, Any], words: str) -> None:
    task = task_of(decoder="yolo", outputs=["output0"], keypoints={**ENDS, **keypoints})
    with pytest.raises(InvalidManifest, match=words):
        found_by(task, np.concatenate([as_format("cxcywh"), TWO], axis=1).T, *outputs)


def test_a_graph_of_more_points_is_refused_at_load() -> None:
    """Three points: what is left over would be scored as classes."""
    more = np.concatenate([POINTS, POINTS[:, :1]], axis=1)
    with pytest.raises(InvalidManifest, match=r"6 classes \(beside the further numbers that extras, 6, counts\)"):
        found_by(task_of(decoder="yolo", extras=6, keypoints=ENDS), yolo(more))
    assert len(LABELS) == 3


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"extras": 51}, "2 points of 3 numbers are 6, but extras is 51; set extras to 6"),
        ({"keypoints": {"names": []}}, "at least 1"),
        ({"keypoints": {"names": ["a", "a"]}, "extras": 6}, "'a' is there more than once"),
        ({"keypoints": {**ENDS, "skeleton": [["head", "tip"]]}}, "there is no point 'tip'; the points are head, tail"),
        ({"keypoints": {"names": "dog"}}, "'dog' is none of the sets coco, hand"),
        ({"keypoints": {**ENDS, "scores": "output1"}}, "scores: belongs to output"),
        ({"keypoints": {**ENDS, "dimensions": 4}}, "dimensions"),
        ({"decoder": "my.package:decode"}, "a decoder of your own gives none"),
        ({"decoder": "gfl", "extras": 0}, "keypoints: belongs to boxes_scores and"),
        ({"rotated": True}, "the extras hold mask coefficients or an angle; name the points' output"),
        ({"masks": {"kind": "prototypes", "output": "output1"}}, "name the points' output"),
    ],
)
def test_sections_that_contradict_themselves(section: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DetectionSpec.model_validate({"decoder": "yolo", "extras": 6, "keypoints": ENDS, **section})


@pytest.mark.parametrize(("name", "count", "lines"), [("coco", 17, 19), ("hand", 21, 20)])
def test_the_sets_name_each_point_once_and_reach_all(name: str, count: int, lines: int) -> None:
    assert len(set(NAMES[name])) == len(NAMES[name]) == count
    assert len(set(SKELETONS[name])) == lines
    assert {end for pair in SKELETONS[name] for end in pair} == set(NAMES[name])
