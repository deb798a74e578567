"""Each decoder on answers made by hand, whose boxes are known."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from app.errors import EngineFailure, InvalidManifest, InvalidRequest
from app.vision.detection import Detections, DetectionSpec, DetectionTask
from app.vision.image import Size
from app.vision.preprocessing import Placement
from app.vision.tasks import Options

MODEL = Size(64, 64)
PLACEMENT = Placement(0.5, 0.5, 0, 8, Size(128, 96), MODEL)
LABELS = ("cat", "dog", "owl")
# Two boxes in the model's pixels and on the picture.
BOXES = np.array([[10, 20, 30, 40], [32, 16, 60, 50]], np.float32)
EXPECTED = [[20, 24, 60, 64], [64, 16, 120, 84]]


def task_of(labels: tuple[str, ...] = LABELS, **section: Any) -> DetectionTask:
    return DetectionTask(DetectionSpec.model_validate(section), labels)


def found_by(task: DetectionTask, *arrays: Any, options: Options | None = None) -> Detections:
    outputs = {f"output{index}": np.asarray(array) for index, array in enumerate(arrays)}
    task.check(outputs)
    return task.finish(outputs, PLACEMENT, options or Options())


def scores(*rows: Any) -> NDArray[np.float32]:
    return np.array(rows, np.float32)


def as_format(name: str) -> NDArray[np.float32]:
    x0, y0, x1, y1 = BOXES.T
    columns = {
        "xyxy": (x0, y0, x1, y1),
        "yxyx": (y0, x0, y1, x1),
        "xywh": (x0, y0, x1 - x0, y1 - y0),
        "cxcywh": ((x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0),
    }
    return np.stack(columns[name], axis=1)


def assert_the_two(found: Detections) -> None:
    """An owl of 0.9 in the second box, a cat of 0.6 in the first."""
    assert found.labels == ("owl", "cat")
    assert found.class_ids.tolist() == [2, 0]
    assert np.allclose(found.scores, [0.9, 0.6], atol=2e-3)
    assert np.allclose(found.boxes, EXPECTED[::-1], atol=0.1)
    assert (found.boxes.dtype, found.scores.dtype) == (np.float32, np.float32)
    assert found.class_ids.dtype == np.int64


TWO = scores((0.6, 0.1, 0.2), (0.3, 0.1, 0.9))


@pytest.mark.parametrize("box_format", ["xyxy", "yxyx", "xywh", "cxcywh"])
@pytest.mark.parametrize("coordinates", ["pixels", "normalized"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_boxes_scores(box_format: str, coordinates: str, dtype: type) -> None:
    boxes = as_format(box_format) / (64 if coordinates == "normalized" else 1)
    task = task_of(decoder="boxes_scores", box_format=box_format, coordinates=coordinates)
    assert_the_two(found_by(task, boxes.astype(dtype), TWO.astype(dtype)))


def test_the_background_is_dropped() -> None:
    with_background = np.concatenate([scores((0.9,), (0.95,)), TWO], axis=1)
    assert_the_two(found_by(task_of(decoder="boxes_scores", background=True), BOXES, with_background))


def test_one_class_needs_no_second_dimension() -> None:
    found = found_by(task_of(("face",), decoder="boxes_scores"), BOXES, scores(0.6, 0.9))
    assert (found.labels, found.boxes.tolist()) == (("face", "face"), EXPECTED[::-1])


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.float32])
@pytest.mark.parametrize("offset", [0, 1])
def test_boxes_scores_labels(dtype: type, offset: int) -> None:
    task = task_of(decoder="boxes_scores_labels", label_offset=offset, nms=False)
    numbers = np.array([0, 2], dtype) + dtype(offset)
    assert_the_two(found_by(task, BOXES, scores(0.6, 0.9), numbers))


def test_numbers_outside_the_labels_are_the_background_or_named_by_number() -> None:
    task = task_of(decoder="boxes_scores_labels", label_offset=1)
    found = found_by(task, BOXES, scores(0.6, 0.9), np.array([0, 8]))
    assert (found.labels, found.class_ids.tolist()) == (("class 7",), [7])


def test_outputs_are_read_by_name_in_the_decoders_order() -> None:
    task = task_of(decoder="boxes_scores", outputs=["b", "s"])
    outputs: dict[str, NDArray[Any]] = {"s": TWO, "extra": np.zeros(3), "b": BOXES}
    task.check(outputs)
    assert_the_two(task.finish(outputs, PLACEMENT, Options()))


def test_yolo() -> None:
    assert_the_two(found_by(task_of(decoder="yolo"), np.concatenate([as_format("cxcywh"), TWO], axis=1).T))


def test_yolo_objectness() -> None:
    rows = np.concatenate([as_format("cxcywh"), scores((0.75,), (1.0,)), TWO / scores((0.75,), (1.0,))], axis=1)
    assert_the_two(found_by(task_of(decoder="yolo_objectness"), rows))


def _logit(share: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(np.log(share / (1 - share)), np.float32)


def test_sigmoid_is_applied_where_asked() -> None:
    assert_the_two(found_by(task_of(decoder="boxes_scores", apply_sigmoid=True), BOXES, _logit(TWO)))
    assert_the_two(
        found_by(task_of(decoder="yolo", apply_sigmoid=True), np.hstack([as_format("cxcywh"), _logit(TWO)]).T)
    )
    sure = np.full((2, 1), 100, np.float32)
    rows = np.hstack([as_format("cxcywh"), sure, _logit(TWO)])
    assert_the_two(found_by(task_of(decoder="yolo_objectness", apply_sigmoid=True), rows))


def test_yolox_grids() -> None:
    rows = np.zeros((64 + 16 + 4, 8), np.float32)
    # The first box from the grid of stride 8, cell (2, 3); the second from that of stride 16, cell (1, 2).
    for index, (row, stride, cell) in enumerate([(3 * 8 + 2, 8, (2, 3)), (64 + 2 * 4 + 1, 16, (1, 2))]):
        cx, cy, w, h = as_format("cxcywh")[index]
        rows[row] = [
            cx / stride - cell[0],
            cy / stride - cell[1],
            np.log(w / stride),
            np.log(h / stride),
            1,
            *TWO[index],
        ]
    assert_the_two(found_by(task_of(decoder="yolox"), rows))


def test_yolox_of_another_input_size_is_an_engine_failure() -> None:
    rows = np.ones((21, 8), np.float32)
    with pytest.raises(EngineFailure, match="grid"):
        found_by(task_of(decoder="yolox"), rows)


@pytest.mark.parametrize(
    ("section", "arrays", "said"),
    [
        ({"decoder": "boxes_scores"}, [BOXES, np.zeros((2, 80))], "labels: the model scores 80 classes, .* 3 labels"),
        ({"decoder": "boxes_scores", "background": True}, [BOXES, TWO], "scores 2 classes"),
        ({"decoder": "boxes_scores"}, [BOXES, np.zeros((5, 3))], r"does not fit .*boxes \[2, 4\], scores \[5, 3\]"),
        ({"decoder": "boxes_scores"}, [TWO, BOXES], "decoder: boxes_scores does not fit"),
        ({"decoder": "boxes_scores"}, [BOXES], r"outputs: boxes_scores reads 2 \(boxes, scores\), but .* has 1"),
        ({"decoder": "boxes_scores"}, [BOXES, TWO, TWO], "but the model has 3"),
        ({"decoder": "boxes_scores", "outputs": ["a", "b"]}, [BOXES, TWO], "has no 'a'; it has output0, output1"),
        ({"decoder": "boxes_scores_labels"}, [BOXES, TWO, TWO], "does not fit"),
        ({"decoder": "yolo"}, [np.zeros((84, 100))], "scores 80 classes"),
        ({"decoder": "yolo"}, [np.zeros((4, 100))], "does not fit"),
        ({"decoder": "yolo_objectness"}, [np.zeros((100, 85))], "scores 80 classes"),
        ({"decoder": "yolo_objectness"}, [np.zeros((2, 100, 8))], "does not fit"),
        ({"decoder": "yolox"}, [np.zeros((100, 8))], "does not fit"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(section: dict[str, Any], arrays: list[Any], said: str) -> None:
    outputs = {f"output{index}": array for index, array in enumerate(arrays)}
    with pytest.raises(InvalidManifest, match=said):
        task_of(**section).check(outputs)


def test_a_manifest_without_labels_is_refused() -> None:
    outputs = {"b": BOXES, "s": scores(0.5, 0.5), "l": np.array([0, 1])}
    with pytest.raises(InvalidManifest, match="lists none"):
        task_of((), decoder="boxes_scores_labels").check(outputs)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"decoder": "boxes_scores", "outputs": ["a"]}, "reads 2"),
        ({"decoder": "yolo", "background": True}, "background"),
        ({"decoder": "yolo", "label_offset": 1}, "label_offset"),
        ({"decoder": "yolox", "coordinates": "normalized"}, "yolox makes its own pixels"),
        ({"decoder": "yolox", "strides": []}, "strides"),
        ({"decoder": "ssd"}, "decoder"),
        ({"decoder": "yolo", "score_threshold": 2}, "score_threshold"),
        ({"decoder": "yolo", "colour": 2}, "Extra"),
        ({}, "decoder"),
    ],
)
def test_a_wrong_section_is_refused_with_its_reason(section: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DetectionSpec.model_validate(section)


def test_the_yolos_boxes_have_centres_unless_said_otherwise() -> None:
    assert DetectionSpec.model_validate({"decoder": "yolo"}).box_format == "cxcywh"
    assert DetectionSpec.model_validate({"decoder": "yolo", "box_format": "xyxy"}).box_format == "xyxy"
    assert DetectionSpec.model_validate({"decoder": "boxes_scores"}).box_format == "xyxy"


NEAR = BOXES[[0, 0, 1]] + np.array([[0], [1], [0]], np.float32)


def test_of_boxes_that_overlap_the_best_of_each_class_stays() -> None:
    same = scores((0.6, 0, 0), (0.8, 0, 0), (0.7, 0, 0))
    other = scores((0.6, 0, 0), (0, 0.8, 0), (0.7, 0, 0))
    task = task_of(decoder="boxes_scores")
    assert np.allclose(found_by(task, NEAR, same).scores, [0.8, 0.7])
    assert found_by(task, NEAR, other).labels == ("dog", "cat", "cat")
    assert len(found_by(task_of(decoder="boxes_scores", nms=False), NEAR, same).labels) == 3
    assert len(found_by(task, NEAR, same, options=Options(iou_threshold=1.0)).labels) == 3


def test_boxes_far_outside_do_not_meet_those_of_another_class() -> None:
    boxes = np.array([[-500, -500, -480, -480], [-500, -500, 20, 20], [5, 20, 30, 40]], np.float32)
    task = task_of(decoder="boxes_scores")
    assert found_by(task, boxes, scores((0.9, 0, 0), (0, 0.8, 0), (0, 0, 0.7))).labels == ("dog", "owl")


def _greedy(boxes: NDArray[np.float32], class_ids: NDArray[np.int64], iou: float) -> list[int]:
    """The textbook: every kept box, best first, removes what overlaps it in its class."""
    kept: list[int] = []
    for index, (x0, y0, x1, y1) in enumerate(boxes.astype(np.float64)):
        for other in kept:
            a0, b0, a1, b1 = boxes[other].astype(np.float64)
            shared = max(0, min(x1, a1) - max(x0, a0)) * max(0, min(y1, b1) - max(y0, b0))
            union = (x1 - x0) * (y1 - y0) + (a1 - a0) * (b1 - b0) - shared
            if class_ids[other] == class_ids[index] and shared > iou * union:
                break
        else:
            kept.append(index)
    return kept


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60))
def test_suppression_agrees_with_the_textbook(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.uniform(-20, 60, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(5, 40, (count, 2))], axis=1).astype(np.float32)
    class_ids, values = random.integers(0, 3, count), np.sort(random.uniform(0.3, 1, count))[::-1].astype(np.float32)
    expected = _greedy(boxes, class_ids, 0.45)
    wide = Placement(1, 1, -20, -20, Size(200, 200), Size(200, 200))
    task = task_of(decoder="boxes_scores_labels")
    found = task.finish({"b": boxes, "s": values, "l": class_ids}, wide, Options())
    assert np.allclose(found.boxes, boxes[expected] + 20, atol=1e-3)
    assert found.class_ids.tolist() == class_ids[expected].tolist()


def test_a_request_may_change_thresholds_and_counts() -> None:
    task = task_of(decoder="boxes_scores")
    assert len(found_by(task, BOXES, TWO, options=Options(score_threshold=0.7)).labels) == 1
    assert len(found_by(task, BOXES, TWO, options=Options(max_detections=1)).labels) == 1
    assert found_by(task, BOXES, TWO, options=Options(score_threshold=1.0)).boxes.shape == (0, 4)
    assert len(found_by(task, BOXES, TWO, options=Options(score_threshold=0.0)).labels) == 2


def test_a_noisy_picture_costs_no_more_than_its_candidates() -> None:
    random = np.random.default_rng(0)
    boxes = np.tile(BOXES[:1], (5000, 1)) + random.uniform(0, 20, (5000, 1)).astype(np.float32)
    values = random.uniform(0.5, 1, (5000, 3)).astype(np.float32)
    task = task_of(decoder="boxes_scores", max_candidates=50, nms=False, max_detections=1000)
    found = found_by(task, boxes, values)
    assert np.array_equal(found.scores, np.sort(values.max(axis=1))[::-1][:50])
    rows = np.concatenate([boxes, np.ones((5000, 1), np.float32), values], axis=1)
    task = task_of(decoder="yolo_objectness", box_format="xyxy", max_candidates=50, nms=False, max_detections=1000)
    assert np.array_equal(found_by(task, rows).scores, found.scores)


def test_boxes_without_area_on_the_picture_are_dropped() -> None:
    boxes = np.array([[10, 20, 10, 40], [30, 40, 20, 50], [0, 0, 20, 7], [10, 20, 30, 40]], np.float32)
    values = scores(*[(0.9, 0, 0)] * 4)
    assert found_by(task_of(decoder="boxes_scores"), boxes, values).boxes.tolist() == EXPECTED[:1]


@pytest.mark.parametrize("decoder", ["boxes_scores", "yolo", "yolo_objectness", "yolox"])
def test_a_picture_of_nothing(decoder: str) -> None:
    arrays: dict[str, list[NDArray[Any]]] = {
        "boxes_scores": [np.zeros((0, 4), np.float32), np.zeros((0, 3), np.float32)],
        "yolo": [np.zeros((7, 0), np.float32)],
        "yolo_objectness": [np.zeros((0, 8), np.float32)],
        "yolox": [np.zeros((84, 8), np.float32)],
    }
    found = found_by(task_of(decoder=decoder), *arrays[decoder])
    assert (found.boxes.shape, found.scores.shape, found.labels) == ((0, 4), (0,), ())


def test_scores_slightly_above_one_are_one() -> None:
    assert found_by(task_of(decoder="boxes_scores"), BOXES, scores((1.001, 0, 0), (0, 0, 0))).scores.tolist() == [1.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_kept_box_that_is_not_finite_is_an_engine_failure(bad: float) -> None:
    boxes = BOXES.copy()
    boxes[1, 2] = bad
    with pytest.raises(EngineFailure, match="not finite"):
        found_by(task_of(decoder="boxes_scores"), boxes, TWO)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["boxes_scores", "boxes_scores_labels", "yolo", "yolo_objectness", "yolox"]),
    st.lists(st.tuples(st.integers(0, 10**4), st.sampled_from([np.nan, np.inf, -np.inf, 1e38, -1e38, 0])), max_size=5),
    st.booleans(),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_no_number_crashes_it_or_gets_into_the_answer(
    decoder: str, changes: list[tuple[int, float]], apply_sigmoid: bool, threshold: float
) -> None:
    random = np.random.default_rng(1)
    shapes: dict[str, list[tuple[int, ...]]] = {
        "boxes_scores": [(20, 4), (20, 3)],
        "boxes_scores_labels": [(20, 4), (20,), (20,)],
        "yolo": [(7, 20)],
        "yolo_objectness": [(20, 8)],
        "yolox": [(84, 8)],
    }
    arrays = [random.uniform(0, 1, shape).astype(np.float32) for shape in shapes[decoder]]
    for position, value in changes:
        array = arrays[position % len(arrays)]
        array.flat[position % array.size] = value
    task = task_of(decoder=decoder, apply_sigmoid=apply_sigmoid)
    try:
        found = found_by(task, *arrays, options=Options(score_threshold=threshold))
    except EngineFailure:
        return
    assert np.isfinite(found.boxes).all()
    assert ((found.scores >= 0) & (found.scores <= 1)).all()


def test_other_classes_take_no_place_of_the_wanted() -> None:
    boxes = np.array([[n, n, n + 4, n + 4] for n in range(10, 50, 5)] + [[50, 50, 60, 60]], np.float32)
    table = scores(*[(0.9, 0, 0)] * 8, (0, 0, 0.5))
    task = task_of(decoder="boxes_scores", max_candidates=4)
    assert found_by(task, boxes, table, options=Options(max_detections=2)).labels == ("cat", "cat")
    for classes in (("owl",), ("2",)):
        assert found_by(task, boxes, table, options=Options(max_detections=2, classes=classes)).labels == ("owl",)
    assert len(found_by(task, boxes, table, options=Options(classes=("cat", "owl"))).labels) == 4


def test_a_class_that_nobody_wants_suppresses_nothing() -> None:
    table = scores((0.6, 0, 0), (0, 0.8, 0), (0, 0, 0.7))
    task = task_of(decoder="boxes_scores", class_agnostic=True)
    assert found_by(task, NEAR, table).labels == ("dog", "owl")
    assert found_by(task, NEAR, table, options=Options(classes=("cat",))).labels == ("cat",)


def test_a_request_may_suppress_across_classes_or_not() -> None:
    table = scores((0.6, 0, 0), (0, 0.8, 0), (0, 0, 0.7))
    apart, together = task_of(decoder="boxes_scores"), task_of(decoder="boxes_scores", class_agnostic=True)
    assert found_by(apart, NEAR, table, options=Options(class_agnostic=True)).labels == ("dog", "owl")
    assert found_by(together, NEAR, table, options=Options(class_agnostic=False)).labels == ("dog", "owl", "cat")


@pytest.mark.parametrize("options", [Options(iou_threshold=0.5), Options(class_agnostic=False)])
def test_a_graph_that_suppresses_itself_cannot_be_told_how(options: Options) -> None:
    task_of(decoder="boxes_scores").check_options(options)
    with pytest.raises(InvalidRequest, match=r"cannot be obeyed: the model's graph suppresses .* Leave it out"):
        task_of(decoder="end_to_end").check_options(options)


@pytest.mark.parametrize("options", [Options(top_k=3), Options(classes=("cow",))])
def test_what_a_detector_cannot_obey_is_refused(options: Options) -> None:
    with pytest.raises(InvalidRequest):
        task_of(decoder="boxes_scores").check_options(options)
