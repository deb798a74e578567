"""Adding ONNX files that can be read in two ways, and those that are settled by a family's name or by a field."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.commands import addition
from app.errors import StartupError
from tests.commands.test_add import X_FIRST, added, refusal, save_constant, table
from tests.engines.test_constants import save_scaled
from tests.fixtures.models import save_unbatched_box

RANDOM = np.random.default_rng(3)


def rows_of_six(count: int = 300, classes: int = 1) -> NDArray[np.float32]:
    """x0, y0, x1, y1, score, class."""
    corners = RANDOM.uniform(0, 16, (count, 2))
    rows = [corners, corners + RANDOM.uniform(1, 16, (count, 2)), RANDOM.random((count, 1))]
    return np.concatenate([*rows, RANDOM.integers(0, classes, (count, 1))], axis=1).astype(np.float32)


def logits(*shape: int) -> NDArray[np.float32]:
    return RANDOM.normal(0, 2, shape).astype(np.float32)


@pytest.mark.parametrize("labels", ["carton", "a,b,c"])
def test_end_to_end_rows_are_known_by_their_whole_numbers(tmp_path: Path, labels: str) -> None:
    values = rows_of_six(classes=labels.count(",") + 1)
    file = save_constant(tmp_path / "a.onnx", output=values)
    assert added(file, labels=labels)["detection"] == {"decoder": "end_to_end"}
    (tmp_path / "other").mkdir()
    file = save_constant(tmp_path / "other" / "a.onnx", output=values[:, [5, 4, 0, 1, 2, 3]])
    found = added(file, labels=labels)["detection"]
    assert found == {"decoder": "end_to_end", "columns": ["class", "score", "box"]}


def test_rows_of_zeros_say_nothing(tmp_path: Path) -> None:
    message = refusal(save_constant(tmp_path / "a.onnx", output=np.zeros((300, 6), np.float32)), labels="carton")
    assert "box, score, class; class, score, box; or a box, an objectness and one class (yolo_objectness)" in message
    assert "--set detection.columns=[box,score,class]" in message


def test_rows_that_are_no_detections_are_a_box_an_objectness_and_a_class(tmp_path: Path) -> None:
    file = save_constant(tmp_path / "a.onnx", output=table(50, 6))
    assert added(file, labels="carton")["detection"] == {"decoder": "yolo_objectness"}


def test_the_labels_number_tells_a_transposed_head(tmp_path: Path) -> None:
    file = save_constant(tmp_path / "a.onnx", output=table(300, 9))
    assert added(file, labels="a,b,c,d,e")["detection"] == {"decoder": "yolo", "transposed": True}
    assert "or 5 classes without (yolo, transposed). Give the names with --labels" in refusal_beside(file)


def refusal_beside(file: Path, **changes: Any) -> str:
    """The refusal of a file beside which another entry was made already."""
    (file.parent / "beside").mkdir()
    return refusal(file.rename(file.parent / "beside" / file.name), **changes)


def test_shares_of_the_input_are_not_taken_for_pixels(tmp_path: Path) -> None:
    values = table(50, 7).T.copy()
    values[:4] /= 32
    section = added(save_constant(tmp_path / "a.onnx", output=values), labels="a,b,c")["detection"]
    assert section == {"decoder": "yolo", "coordinates": "normalized"}
    values[:4] *= 1.55 / values[:4].max()
    message = refusal_beside(save_constant(tmp_path / "a.onnx", output=values), labels="a,b,c")
    assert "too far for shares of it and too little for pixels" in message


def test_numbers_behind_the_classes_are_named(tmp_path: Path) -> None:
    values = np.concatenate([table(100, 6), logits(100, 32)], axis=1).T.copy()
    file = save_constant(tmp_path / "a.onnx", output=values)
    message = refusal(file, labels="a,b")
    assert "where 32 numbers are mask coefficients or keypoints: --decoder yolo --set detection.extras=32" in message
    section = added(file, labels="a,b", decoder="yolo", fields={"detection": {"extras": 32}})["detection"]
    assert section == {"decoder": "yolo", "extras": 32}
    (tmp_path / "undecoded").mkdir()
    file = file.rename(tmp_path / "undecoded" / "a.onnx")
    assert added(file, labels="a,b", fields={"detection": {"extras": 32}})["detection"] == section
    turned = save_constant(tmp_path / "a.onnx", output=np.ascontiguousarray(values[:7]))
    assert "or an angle (--set detection.rotated=true as well)" in refusal_beside(turned, labels="a,b")


@pytest.mark.parametrize(("place", "background"), [(0, True), (-1, "last")])
def test_the_score_that_wins_nearly_everywhere_is_the_backgrounds(
    tmp_path: Path, place: int, background: bool | str
) -> None:
    scores = logits(40, 4)
    scores[:, place] += 8
    boxes = np.tile(np.array([[0.85, 0.8, 0.3, 0.3]], np.float32), (40, 1))
    section = added(save_constant(tmp_path / "a.onnx", logits=scores, boxes=boxes), labels="a,b,c")["detection"]
    assert section == {
        "decoder": "boxes_scores",
        "outputs": ["boxes", "logits"],
        "coordinates": "normalized",
        "box_format": "cxcywh",
        "apply_softmax": True,
        "background": background,
    }


def test_a_background_that_does_not_show_is_asked_for(tmp_path: Path) -> None:
    file = save_constant(tmp_path / "a.onnx", logits=logits(40, 4), boxes=rows_of_six(40)[:, :4])
    message = refusal(file, labels="a,b,c")
    assert "--set detection.background=true or --set detection.background=last" in message
    fields = {"detection": {"background": "last", **X_FIRST["detection"]}}
    section = added(file, labels="a,b,c", fields=fields)["detection"]
    assert (section["background"], section["apply_softmax"]) == ("last", True)


def test_a_corner_or_a_centre_is_asked_for(tmp_path: Path) -> None:
    boxes = np.tile(np.array([[8, 8, 4, 6]], np.float32), (20, 1))
    message = refusal(save_constant(tmp_path / "a.onnx", scores=RANDOM.random((20, 2), np.float32), boxes=boxes))
    assert "--set detection.box_format=cxcywh (centre and size)" in message
    assert "--set detection.box_format=xywh (top left and size)" in message


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        (np.full((3, 50), np.nan, np.float32), "not finite"),
        (np.full((3, 50), 0.5, np.float32), "all scores of a random picture are 0.5, so they say nothing"),
    ],
)
def test_scores_that_say_nothing_are_refused(tmp_path: Path, scores: NDArray[np.float32], words: str) -> None:
    values = np.concatenate([table(50, 4).T, scores])
    assert words in refusal(save_constant(tmp_path / "a.onnx", output=values), labels="a,b,c")


def unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return (values / np.linalg.norm(values)).astype(np.float32)


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        (unit(logits(128)), "a,b", "that is an embedding"),
        (logits(128), None, "an embedding (--task embedding) or measures. Give the classes' names with --labels"),
        (RANDOM.random(5, np.float32), "a,b,c,d,e", "may each be there by themselves"),
        (np.full(5, 0.5, np.float32), "a,b,c,d,e", "all the same"),
        (np.full(5, np.nan, np.float32), "a,b,c,d,e", "not finite"),
        (np.zeros(1, np.float32), "a", "this is no classifier"),
        (np.zeros((1, 8, 8), np.float32), "a", "this is no classifier"),
    ],
)
def test_what_is_no_row_of_classes_is_refused(
    tmp_path: Path, scores: NDArray[np.float32], labels: str | None, words: str
) -> None:
    assert words in refusal(save_constant(tmp_path / "a.onnx", scores=scores), "classification", labels=labels)


def test_a_family_settles_what_the_graph_does_not_tell(tmp_path: Path) -> None:
    scores, boxes = logits(40, 4), np.full((40, 4), 0.4, np.float32)
    file = save_constant(tmp_path / "a.onnx", logits=scores, pred_boxes=boxes)
    manifest = added(file, labels="a,b,c", like="detr")
    assert (manifest["like"], manifest["detection"]) == ("detr", {})
    assert manifest["input"] == {"size": [32, 32], "layout": "nchw", "dtype": "float32"}


def test_further_inputs_and_outputs_without_a_batch_are_named(tmp_path: Path) -> None:
    save_scaled(tmp_path / "a.onnx")
    constants = {"input": {"constants": {"target_size": "size"}, "size": [16, 16]}}
    fields = {**constants, "classification": {"softmax": False}}
    assert "Give the values of the others in `input.constants`" in refusal(tmp_path / "a.onnx", "classification")
    manifest = added(tmp_path / "a.onnx", "classification", labels="a,b,c", fields=fields)
    assert manifest["input"]["constants"] == {"target_size": "size"}
    (tmp_path / "b").mkdir()
    save_unbatched_box(tmp_path / "b" / "a.onnx")
    section = {"batching": {"batch_dimension": False}, "detection": {"box_format": "xyxy", "label_offset": 0}}
    assert "--set batching.batch_dimension=false" in refusal(tmp_path / "b" / "a.onnx", labels="a,b")
    manifest = added(tmp_path / "b" / "a.onnx", labels="a,b", fields=section)
    assert manifest["detection"]["outputs"] == ["boxes", "scores", "labels"]
    assert manifest["batching"] == {"batch_dimension": False}


def test_fields_are_given_as_yaml() -> None:
    found = addition.read_fields(["detection.columns=[box,score,class]", "detection.extras=3", "input.scale=1"])
    assert found == {"detection": {"columns": ["box", "score", "class"], "extras": 3}, "input": {"scale": 1}}
    for text in ("extras=3", "detection.extras", "detection.=3", "detection.a=[1"):
        with pytest.raises(StartupError, match=r"must be SECTION\.FIELD=VALUE"):
            addition.read_fields([text])


def test_an_unknown_family_is_refused(tmp_path: Path) -> None:
    file = save_constant(tmp_path / "a.onnx", output=table(50, 7).T.copy())
    assert "--like yolo: like: is one of ultralytics" in refusal(file, like="yolo")
