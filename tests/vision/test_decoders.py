"""The decoders of foreign heads, on answers made by hand: always an owl of 0.9 in the second box, a cat of 0.6 in the
first.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from app.errors import EngineFailure, InvalidManifest
from app.vision.detection import DetectionSpec
from app.vision.tasks import Options
from tests.vision.test_detection import BOXES, EXPECTED, PLACEMENT, TWO, as_format, assert_the_two, found_by, task_of

NUMBERS = np.array([[0.6, 0], [0.9, 2]], np.float32)
"""Score and class of each box."""


def table(columns: list[str], offset: int = 0) -> NDArray[np.float32]:
    parts = {
        "box": BOXES,
        "score": NUMBERS[:, :1],
        "class": NUMBERS[:, 1:] + offset,
        "image": np.zeros((2, 1), np.float32),
    }
    return np.concatenate([parts[column] for column in columns], axis=1)


@pytest.mark.parametrize(
    "columns",
    [
        ["box", "score", "class"],
        ["class", "score", "box"],
        ["image", "box", "class", "score"],
        ["image", "class", "score", "box"],
    ],
)
@pytest.mark.parametrize("offset", [0, 1])
def test_end_to_end(columns: list[str], offset: int) -> None:
    task = task_of(decoder="end_to_end", columns=columns, label_offset=offset)
    rows = np.concatenate([table(columns, offset), np.zeros((3, len(table(columns)[0])), np.float32)])
    assert_the_two(found_by(task, rows))
    assert_the_two(found_by(task, rows[None]))  # as in [1, 1, N, 7], whose first dimension is the batch


def test_end_to_end_of_one_class() -> None:
    found = found_by(task_of(("carton",), decoder="end_to_end"), table(["box", "score", "class"]) * 1)
    assert found.labels == ("class 2", "carton")
    assert np.allclose(found.boxes, EXPECTED[::-1])


def test_a_row_of_no_picture_ends_the_detections() -> None:
    columns = ["image", "class", "score", "box"]
    rows = np.concatenate([table(columns), [[-1, 0, 0.99, 0, 0, 9, 9]]]).astype(np.float32)
    assert_the_two(found_by(task_of(decoder="end_to_end", columns=columns), rows))


def test_masks_and_keypoints_behind_the_classes_are_not_read() -> None:
    more = np.full((2, 32), 50, np.float32)
    yolo = np.concatenate([as_format("cxcywh"), TWO, more], axis=1)
    assert_the_two(found_by(task_of(decoder="yolo", extras=32), yolo.T))
    sure = np.ones((2, 1), np.float32)
    objectness = np.concatenate([as_format("cxcywh"), sure, TWO, more], axis=1)
    assert_the_two(found_by(task_of(decoder="yolo_objectness", extras=32), objectness))
    rows = np.concatenate([table(["box", "score", "class"]), more], axis=1)
    assert_the_two(found_by(task_of(decoder="end_to_end", extras=32), rows))


def test_turned_boxes_are_answered_as_those_around_them() -> None:
    x0, y0, x1, y1 = BOXES.T
    lying = np.stack([(x0 + x1) / 2, (y0 + y1) / 2, y1 - y0, x1 - x0], axis=1)
    rows = np.concatenate([lying, TWO, np.full((2, 1), np.pi / 2, np.float32)], axis=1)
    assert_the_two(found_by(task_of(decoder="yolo", extras=1, rotated=True), rows.T))
    table = np.concatenate([lying, NUMBERS, np.full((2, 1), np.pi / 2, np.float32)], axis=1)
    assert_the_two(found_by(task_of(decoder="end_to_end", extras=1, rotated=True), table))


def test_transposed_heads() -> None:
    rows = np.concatenate([as_format("cxcywh") / 64, TWO], axis=1)
    section = {"decoder": "yolo", "transposed": True, "coordinates": "normalized", "nms": False}
    assert_the_two(found_by(task_of(**section), rows))


def test_softmax_with_no_object_last_or_first() -> None:
    shares = TWO / TWO.sum(axis=1, keepdims=True) * [[0.9], [0.95]]
    nothing = 1 - shares.sum(axis=1, keepdims=True)
    for background, parts in (("last", [shares, nothing]), (True, [nothing, shares])):
        logits = np.log(np.concatenate(parts, axis=1)).astype(np.float32) + np.array([[3], [-2]], np.float32)
        section = {"decoder": "boxes_scores", "apply_softmax": True, "background": background}
        found = found_by(task_of(**section), BOXES, logits)
        assert found.labels == ("owl", "cat")[:: 1 if shares[1, 2] > shares[0, 0] else -1]
        assert np.allclose(np.sort(found.scores), np.sort([shares[0, 0], shares[1, 2]]), atol=1e-5)


def test_every_class_of_a_candidate_counts_where_asked() -> None:
    values = np.array([[0.6, 0.5, 0.2], [0.3, 0.1, 0.9]], np.float32)
    rows = np.concatenate([as_format("cxcywh"), values], axis=1)
    for section, arrays in (
        ({"decoder": "boxes_scores"}, [BOXES, values]),
        ({"decoder": "yolo"}, [rows.T]),
    ):
        found = found_by(task_of(multi_label=True, score_threshold=0.3, **section), *arrays)
        assert found.labels == ("owl", "cat", "dog", "cat")
        assert np.allclose(found.scores, [0.9, 0.6, 0.5, 0.3])


@pytest.mark.parametrize("count", [np.array([2], np.int32), np.array(2), np.array([2.0])])
def test_rows_behind_the_count_do_not_count(count: NDArray[Any]) -> None:
    task = task_of(decoder="boxes_scores_labels", outputs=["b", "s", "l", "n"])
    outputs = {
        "n": count,
        "b": np.concatenate([BOXES, BOXES + 3]),
        "s": np.array([0.6, 0.9, 0.99, 0.99], np.float32),
        "l": np.array([0, 2, 1, 1]),
    }
    task.check(outputs)
    assert_the_two(task.finish(outputs, PLACEMENT, Options()))


def test_a_count_that_is_no_number_is_an_engine_failure() -> None:
    outputs = [BOXES, NUMBERS[:, 0], NUMBERS[:, 1], np.array([np.nan])]
    with pytest.raises(EngineFailure, match="count"):
        found_by(task_of(decoder="boxes_scores_labels"), *outputs)


def test_what_the_graphs_suppression_chose() -> None:
    chosen = np.array([[0, 2, 1], [0, 0, 0], [-1, -1, -1]])
    assert_the_two(found_by(task_of(decoder="boxes_scores_indices"), BOXES, TWO.T, chosen))
    with pytest.raises(EngineFailure, match="chooses boxes that there are not"):
        found_by(task_of(decoder="boxes_scores_indices"), BOXES, TWO.T, np.array([[0, 0, 2]]))


def sides_of(box: NDArray[np.float32], point: tuple[float, float], stride: int) -> NDArray[np.float32]:
    """Distributions over 0 to 15 strides whose means are the distances of the sides from the point."""
    distances = np.array([point[0] - box[0], point[1] - box[1], box[2] - point[0], box[3] - point[1]]) / stride
    logits = np.full((4, 16), -50.0)
    for side, distance in enumerate(distances):
        below = int(distance)
        logits[side, below], logits[side, below + 1] = np.log([below + 1 - distance, distance - below + 1e-9])
    return logits.reshape(-1).astype(np.float32)


@pytest.mark.parametrize("offset", [0.0, 0.5])
@pytest.mark.parametrize("whole", [True, False])
def test_distances_from_cells(offset: float, whole: bool) -> None:
    scores = np.zeros((64 + 16 + 4, 3), np.float32)
    sides = np.zeros((len(scores), 64), np.float32)
    for index, (row, stride, cell) in enumerate([(3 * 8 + 2, 8, (2, 3)), (64 + 2 * 4 + 2, 16, (2, 2))]):
        point = ((cell[0] + offset) * stride, (cell[1] + offset) * stride)
        scores[row], sides[row] = TWO[index], sides_of(BOXES[index], point, stride)
    ends = [64, 64 + 16]
    arrays = [np.hstack([scores, sides])] if whole else [*np.split(scores, ends), *np.split(sides, ends)]
    assert_the_two(found_by(task_of(decoder="gfl", cell_offset=offset, bins=16), *arrays))


def test_grids_of_a_side_that_is_no_multiple_are_rounded_up() -> None:
    task = task_of(decoder="gfl", strides=[24])
    assert len(found_by(task, np.zeros((9, 3 + 32), np.float32)).scores) == 0  # 64 / 24 is 2.7
    with pytest.raises(EngineFailure, match="strides"):
        found_by(task, np.zeros((4, 3 + 32), np.float32))


def test_fastestdet() -> None:
    cells = np.zeros((8, 4, 4), np.float32)
    for box, scores, (column, line) in zip(as_format("cxcywh") / 64, TWO, [(1, 2), (3, 2)], strict=True):
        objectness, best = 0.81, scores.max()
        cells[0, line, column] = objectness
        cells[1:3, line, column] = np.arctanh(box[:2] * 4 - [column, line])
        cells[3:5, line, column] = -np.log(1 / box[2:] - 1)
        cells[5:, line, column] = scores / best * (best / objectness**0.6) ** 2.5
    assert_the_two(found_by(task_of(decoder="fastestdet"), cells))


def test_all_classes_together_suppress_each_other_where_asked() -> None:
    near = BOXES[[0, 0]] + np.array([[0], [1]], np.float32)
    values = np.array([[0.6, 0, 0], [0, 0.8, 0]], np.float32)
    assert found_by(task_of(decoder="boxes_scores"), near, values).labels == ("dog", "cat")
    assert found_by(task_of(decoder="boxes_scores", class_agnostic=True), near, values).labels == ("dog",)


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module `their.heads` that is importable."""
    package, module = ModuleType("their"), ModuleType("their.heads")
    monkeypatch.setitem(sys.modules, "their", package)
    monkeypatch.setitem(sys.modules, "their.heads", module)
    return module


def test_somebody_elses_decoder(plugin: ModuleType) -> None:
    seen: list[Any] = []

    def decode(outputs: dict[str, Any], model_size: tuple[int, int], threshold: float) -> tuple[Any, Any, Any]:
        seen.append((list(outputs), model_size, threshold))
        return BOXES.tolist(), NUMBERS[:, 0].tolist(), [1, 3]

    vars(plugin)["decode"] = decode
    task = task_of(decoder="their.heads:decode", label_offset=1)
    assert_the_two(found_by(task, np.zeros(3)))
    assert seen == [(["output0"], (64, 64), 0.25)]
    vars(plugin)["nothing"] = lambda *_: ([], [], [])
    assert found_by(task_of(decoder="their.heads:nothing"), np.zeros(3)).boxes.shape == (0, 4)


@pytest.mark.parametrize(
    "returned", [(np.zeros((2, 4)), np.zeros(3), np.zeros(2)), None, (np.zeros((2, 5)), np.zeros(2), np.zeros(2))]
)
def test_what_it_gets_wrong_is_a_failure_of_that_picture(plugin: ModuleType, returned: Any) -> None:
    vars(plugin)["decode"] = lambda *_: returned
    with pytest.raises(EngineFailure, match="The model's decoder failed on this picture"):
        found_by(task_of(decoder="their.heads:decode"), np.zeros(3))


def test_one_that_wants_to_end_the_process_fails_for_that_picture(plugin: ModuleType) -> None:
    vars(plugin)["decode"] = lambda *_: sys.exit(3)
    with pytest.raises(EngineFailure, match="The model's decoder failed on this picture"):
        found_by(task_of(decoder="their.heads:decode"), np.zeros(3))


def test_one_that_ends_the_process_when_it_is_imported_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaving_heads.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InvalidManifest, match="leaving_heads:decode cannot be imported: SystemExit: 3"):
        task_of(decoder="leaving_heads:decode")


@pytest.mark.parametrize(
    ("name", "words"), [("not.there:decode", "No module named"), ("their.heads:x", "no attribute")]
)
def test_a_decoder_that_is_not_there_is_refused(plugin: ModuleType, name: str, words: str) -> None:
    with pytest.raises(InvalidManifest, match=words):
        task_of(decoder=name)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"decoder": "end_to_end", "columns": ["box", "score"]}, "columns: must be"),
        ({"decoder": "end_to_end", "columns": ["box", "score", "score"]}, "columns: must be"),
        ({"decoder": "yolo", "rotated": True}, "set extras to 1"),
        ({"decoder": "yolox", "extras": 1}, "extras: belongs to yolo and yolo_objectness and end_to_end"),
        ({"decoder": "boxes_scores", "apply_sigmoid": True, "apply_softmax": True}, "remove one"),
        ({"decoder": "gfl", "box_format": "cxcywh"}, "makes its own pixels"),
        ({"decoder": "nonsense"}, "is one of boxes_scores, .* or a function of yours"),
        ({"decoder": "os;system:x"}, "is one of"),
    ],
)
def test_sections_that_cannot_be_meant(section: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DetectionSpec.model_validate(section)


def test_outputs_without_a_batch_dimension(tmp_path: Path) -> None:
    from app.engines import devices
    from app.loading import loader
    from app.loading.serving import Serving
    from app.repository.repository import read_entry
    from tests.fixtures.models import box_manifest, save_unbatched_box, write_manifest

    save_unbatched_box(tmp_path / "it" / "1" / "model.onnx")
    section = {"decoder": "boxes_scores_labels", "outputs": ["boxes", "scores", "labels"]}
    write_manifest(tmp_path / "it", box_manifest(detection=section, batching={"batch_dimension": False}))
    (model,) = loader.load(read_entry(tmp_path / "it"), Serving(devices.choose("cpu", None)))
    pictures = np.linspace(0, 1, 3, dtype=np.float32)[:, None, None, None] * np.ones((3, 3, 16, 16), np.float32)
    rows = model.compute(pictures)
    assert [row["scores"].tolist() for row in rows] == [[0], [0.5], [1]]
    assert rows[1]["boxes"].shape == (1, 4)
    model.close()
