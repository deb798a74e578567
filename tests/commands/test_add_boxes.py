"""Which four numbers a box is, and what its class numbers begin with: told by what the graph gives, or asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands.test_add import added, refusal, save_constant
from tests.fixtures.grid_detectors import CELLS, SIDE, grid_boxes, save_grid

FORMATS = ("xyxy", "yxyx", "cxcywh", "xywh")
NAMES = "red,green,blue"


def other_file(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name / "net.onnx"


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("normalized", [False, True])
def test_the_format_of_boxes_is_told_by_their_values_and_places(
    tmp_path: Path, form: str, together: bool, normalized: bool
) -> None:
    boxes = grid_boxes(form) / (SIDE if normalized else 1)
    section = added(save_grid(tmp_path / "net.onnx", boxes, together), labels=NAMES)["detection"]
    assert section.get("box_format", "cxcywh" if together else "xyxy") == form
    assert section.get("coordinates", "pixels") == ("normalized" if normalized else "pixels")


@pytest.mark.parametrize("form", FORMATS)
def test_a_decoder_that_was_named_is_not_read_against_the_values(tmp_path: Path, form: str) -> None:
    file = save_grid(tmp_path / "net.onnx", grid_boxes(form), together=True)
    section = added(file, labels=NAMES, decoder="yolo")["detection"]
    assert section.get("box_format", "cxcywh") == form or form == "xywh"  # xywh may be meant as centre and size
    file = file.rename(other_file(tmp_path, "said"))
    given = {"detection": {"box_format": "xywh"}}
    assert added(file, labels=NAMES, decoder="yolo", fields=given)["detection"]["box_format"] == "xywh"


@pytest.mark.parametrize("form", ["cxcywh", "xywh"])
def test_small_boxes_do_not_tell_a_corner_from_a_centre(tmp_path: Path, form: str) -> None:
    message = refusal(save_grid(tmp_path / "net.onnx", grid_boxes(form, largest=2), together=True), labels=NAMES)
    assert "--set detection.box_format=cxcywh (centre and size)" in message
    assert "--set detection.box_format=xywh (top left and size)" in message


def test_an_input_that_is_no_square_tells_which_axis_comes_first(tmp_path: Path) -> None:
    size = (128, 32)
    for form in ("xyxy", "yxyx"):
        folder = tmp_path / form
        values = np.maximum(grid_boxes(form, size), 0)
        columns = np.concatenate((values, np.random.default_rng(0).random((len(values), 3), np.float32)), axis=1).T
        folder.mkdir()
        file = save_constant(folder / "a.onnx", (32, 128), output=np.ascontiguousarray(columns))
        assert added(file, labels=NAMES)["detection"]["box_format"] == form


def test_corners_of_which_nothing_tells_the_first_axis_are_asked_for(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).random((CELLS, 3), np.float32)
    file = save_constant(tmp_path / "net.onnx", (SIDE, SIDE), boxes=grid_boxes("xyxy"), scores=scores)
    message = refusal(file, labels=NAMES)
    assert "whether x or y comes first" in message
    assert "--set detection.box_format=xyxy" in message
    assert "--set detection.box_format=yxyx" in message
    assert added(file, labels=NAMES, fields={"detection": {"box_format": "yxyx"}})["detection"]["box_format"] == "yxyx"


def class_numbers(*numbers: int) -> dict[str, np.ndarray]:
    """Outputs of a graph with its own suppression, whose classes are these."""
    count = len(numbers)
    boxes = np.tile(np.array([12, 10, 20, 30], np.float32), (count, 1))
    return {"boxes": boxes, "scores": np.linspace(0.9, 0.5, count, dtype=np.float32), "labels": np.array(numbers)}


FIRST_X: dict[str, Any] = {"box_format": "xyxy"}


@pytest.mark.parametrize(("numbers", "offset"), [((0, 1, 2), 0), ((1, 2, 3), 1), ((0, 1), 0), ((3, 2), 1)])
def test_the_first_class_is_told_by_the_class_numbers(tmp_path: Path, numbers: tuple[int, ...], offset: int) -> None:
    file = save_constant(tmp_path / "net.onnx", **class_numbers(*numbers))
    section = added(file, labels=NAMES, fields={"detection": FIRST_X})["detection"]
    assert section.get("label_offset", 0) == offset


def test_class_numbers_that_do_not_tell_are_asked_for_with_all_else_that_is_open(tmp_path: Path) -> None:
    file = save_constant(tmp_path / "net.onnx", **class_numbers(1, 2))
    message = refusal(file, labels=NAMES)
    assert "its class numbers are 1 to 2" in message
    for option in ("label_offset=0", "label_offset=1", "box_format=xyxy", "box_format=yxyx"):
        assert f"--set detection.{option}" in message
    fields = {"detection": {**FIRST_X, "label_offset": 1}}
    assert added(file, labels=NAMES, fields=fields)["detection"]["label_offset"] == 1


def test_class_numbers_beyond_the_names_are_refused(tmp_path: Path) -> None:
    for name, numbers in (("beyond", (1, 7)), ("one_more", (0, 3))):
        file = save_constant(other_file(tmp_path, name), **class_numbers(*numbers))
        assert "give one for every number with --labels" in refusal(file, labels=NAMES)


def test_a_name_for_the_background_numbers_classes_from_0(tmp_path: Path) -> None:
    file = save_constant(tmp_path / "net.onnx", **class_numbers(1, 2))
    section = added(file, labels="__background__,a,b,c", fields={"detection": FIRST_X})["detection"]
    assert "label_offset" not in section


def test_the_class_column_of_end_to_end_rows_is_read_alike(tmp_path: Path) -> None:
    parts = class_numbers(1, 2, 3)
    rows = np.column_stack((parts["boxes"], parts["scores"], parts["labels"])).astype(np.float32)
    rows = np.concatenate((rows, np.zeros((20, 6), np.float32)))
    file = save_constant(tmp_path / "net.onnx", output=rows)
    assert added(file, labels=NAMES, fields={"detection": FIRST_X})["detection"]["label_offset"] == 1
    file = file.rename(other_file(tmp_path, "other"))
    assert "1 to 3, but there are 2 names" in refusal(file, labels="a,b")


def test_outputs_of_the_same_shape_are_settled_by_naming_them(tmp_path: Path) -> None:
    file = save_grid(tmp_path / "net.onnx", grid_boxes("yxyx"), names=("first", "second"), classes=4)
    message = refusal(file, labels="a,b,c,d")
    assert "Name the boxes first: --set detection.outputs=[first,second] or the other way round" in message
    section = added(file, labels="a,b,c,d", fields={"detection": {"outputs": ["first", "second"]}})["detection"]
    assert section == {"decoder": "boxes_scores", "outputs": ["first", "second"], "box_format": "yxyx"}


def test_what_a_trial_picture_shows_counts_where_noise_shows_nothing(tmp_path: Path) -> None:
    file = save_constant(tmp_path / "net.onnx", **{k: v[:0] for k, v in class_numbers(0).items()})
    assert "Give one in which it finds something with --try PICTURE" in refusal(file, labels=NAMES)


def test_a_count_beside_class_numbers_is_known_by_its_size(tmp_path: Path) -> None:
    outputs = {"count": np.array([2], np.int32), **class_numbers(0, 1)}
    file = save_constant(tmp_path / "net.onnx", **outputs)
    section = added(file, labels=NAMES, fields={"detection": FIRST_X})["detection"]
    assert section["outputs"] == ["boxes", "scores", "labels", "count"]
