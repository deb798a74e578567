"""A detector's masks: from prototypes, planes and crops, on the picture that was sent."""

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from app.errors import EngineFailure, InvalidManifest, InvalidRequest
from app.vision import instance_masks
from app.vision.detection import Detections, DetectionSpec, DetectionTask
from app.vision.image import Size
from app.vision.instance_masks import Masks
from app.vision.mask_formats import Mask, MaskFile, Rle, whole
from app.vision.mask_places import ALL_PIXELS, GRID_PIXELS, GRID_SIDE, grid_of
from app.vision.preprocessing import Placement
from app.vision.region import Region
from app.vision.tasks import Options

MODEL, PICTURE = Size(64, 64), Size(128, 96)
PLACEMENT = Placement(0.5, 0.5, 0, 8, PICTURE, MODEL)
LABELS = ("cat", "dog")
PROTOTYPES = {"decoder": "yolo", "outputs": ["table"], "extras": 2, "masks": {"kind": "prototypes", "output": "sums"}}
ROWS = {"decoder": "boxes_scores_labels", "outputs": ["boxes", "scores", "labels"], "nms": False}


def task_of(section: dict[str, Any], **masks: Any) -> DetectionTask:
    section = {**section, "masks": {**section.get("masks", {}), **masks}}
    return DetectionTask(DetectionSpec.model_validate(section), LABELS)


def halves() -> dict[str, np.ndarray]:
    """Two boxes of the input, and two prototypes [16, 16]: the input's left half, and its upper half."""
    left, upper = np.full((2, 16, 16), -1, np.float32)
    left[:, :8], upper[:8] = 1, 1
    table = np.zeros((8, 5), np.float32)
    table[:, 1] = [32, 32, 40, 20, 0.9, 0, 1, 0]  # a cat, of the left half
    table[:, 3] = [32, 32, 30, 40, 0, 0.8, 0, 1]  # a dog, of the upper half
    return {"table": table, "sums": np.stack([left, upper])}


def bits(found: Detections) -> list[np.ndarray]:
    assert found.masks is not None
    assert found.masks.grid == PICTURE
    return [whole(mask, PICTURE) for mask in found.masks.masks]


def rectangle(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    found = np.zeros((PICTURE.height, PICTURE.width), np.uint8)
    found[top:bottom, left:right] = 1
    return found


def asked(task: DetectionTask, outputs: dict[str, np.ndarray], **options: Any) -> Detections:
    task.check(outputs)
    return task.finish(outputs, PLACEMENT, Options(**options))


def test_prototypes_are_weighed_and_cut_off_at_the_box_and_at_the_padding() -> None:
    found = asked(task_of(PROTOTYPES), halves())
    assert found.labels == ("cat", "dog")
    cat, dog = bits(found)
    assert (cat == rectangle(24, 28, 64, 68)).all()  # x 12 to 52 and y 22 to 42 of the input; its left half ends at 32
    assert (dog == rectangle(34, 8, 94, 48)).all()


def test_each_row_has_its_own_mask_whatever_comes_before_it() -> None:
    outputs = halves()
    found = asked(task_of(PROTOTYPES), outputs, classes=("dog",))
    assert (bits(found)[0] == rectangle(34, 8, 94, 48)).all()
    outputs["table"] = np.ascontiguousarray(outputs["table"].T)
    assert (bits(asked(task_of({**PROTOTYPES, "transposed": True}), outputs))[1] == rectangle(34, 8, 94, 48)).all()


@pytest.mark.parametrize("decoder", ["yolo_objectness", "end_to_end"])
def test_coefficients_are_the_last_numbers_of_other_tables_too(decoder: str) -> None:
    outputs = halves()
    rows = np.zeros((4, 9 if decoder == "yolo_objectness" else 8), np.float32)
    if decoder == "yolo_objectness":
        rows[2] = [32, 32, 40, 20, 1, 0.9, 0, 1, 0]
    else:
        rows[2] = [12, 22, 52, 42, 0.9, 0, 1, 0]
    found = asked(task_of({**PROTOTYPES, "decoder": decoder}), {**outputs, "table": rows})
    assert (bits(found)[0] == rectangle(24, 28, 64, 68)).all()


def rows(masks: np.ndarray) -> dict[str, np.ndarray]:
    boxes = np.array([[0, 0, 1, 1], [12, 22, 52, 42]], np.float32)
    return {"boxes": boxes, "scores": np.array([0.1, 0.9], np.float32), "labels": np.array([0, 1]), "masks": masks}


@pytest.mark.parametrize("logits", [False, True])
def test_planes_lie_over_the_input(logits: bool) -> None:
    planes = np.zeros((2, 1, 32, 32), np.float32)
    planes[1, :, :, :16] = 0.9
    planes = planes * 20 - 10 if logits else planes
    found = asked(task_of(ROWS, kind="planes", output="masks", apply_sigmoid=logits), rows(planes))
    assert found.labels == ("dog",)
    assert (bits(found)[0] == rectangle(24, 28, 64, 68)).all()


@pytest.mark.parametrize("logits", [False, True])
def test_crops_lie_over_their_boxes(logits: bool) -> None:
    crops = np.zeros((2, 1, 28, 28), np.float32)
    crops[1, :, :, :14] = 1
    crops = crops * 20 - 10 if logits else crops
    found = asked(task_of(ROWS, kind="crops", output="masks", apply_sigmoid=logits), rows(crops))
    wanted = rectangle(24, 28, 64, 68)
    assert np.count_nonzero(bits(found)[0] != wanted) <= 85  # torchvision's whole pixels: an edge may be one further


def test_a_threshold_is_a_probability() -> None:
    outputs = halves()
    outputs["sums"] *= math.log(0.8 / 0.2)
    assert bits(asked(task_of(PROTOTYPES, threshold=0.79), outputs))[0].any()
    assert not bits(asked(task_of(PROTOTYPES, threshold=0.81), outputs))[0].any()


def test_a_mask_is_told_as_it_is_asked_for() -> None:
    task, outputs = task_of(PROTOTYPES, format="rle"), halves()
    assert isinstance(asked(task, outputs).masks.told[0], Rle)  # type: ignore[union-attr]
    assert asked(task, outputs, masks="none").masks is None
    plain = asked(task, outputs, masks="uncompressed_rle").masks
    assert isinstance(plain.told[0], Rle)  # type: ignore[union-attr]
    assert plain.told[0].counts[0] == 24 * 96 + 28  # type: ignore[union-attr]
    assert isinstance(asked(task, outputs, masks="png").masks.told[1], MaskFile)  # type: ignore[union-attr]
    (ring,) = asked(task, outputs, masks="polygon").masks.told[0]  # type: ignore[union-attr,misc]
    assert sorted(map(tuple, ring.tolist())) == [(24, 28), (24, 68), (64, 28), (64, 68)]


def test_nothing_found_has_no_masks() -> None:
    found = asked(task_of(PROTOTYPES), halves(), score_threshold=0.95)
    assert (len(found.labels), found.masks.masks, found.masks.told) == (0, (), ())  # type: ignore[union-attr]


def test_a_box_over_the_edge_and_one_between_two_pixels() -> None:
    outputs = halves()
    outputs["table"][:4, 1] = [0, 32, 40, 200]
    outputs["table"][:4, 3] = [40.05, 20.05, 0.02, 0.02]
    cat, dog = bits(asked(task_of(PROTOTYPES), outputs))
    assert (cat == rectangle(0, 0, 40, 96)).all()
    assert np.count_nonzero(dog) == 1


def test_masks_that_are_not_finite_are_no_answer() -> None:
    outputs = halves()
    outputs["sums"][0, 7, 7] = np.nan
    with pytest.raises(EngineFailure, match="masks that are not finite"):
        asked(task_of(PROTOTYPES), outputs)


def test_large_and_many_masks_take_bounded_memory() -> None:
    whole_picture = np.tile(np.array([[0, 0, 8000, 6000]], np.float32), (1000, 1))
    assert grid_of(Size(640, 480), whole_picture[:0]) == Size(640, 480)
    grid = grid_of(Size(8000, 6000), whole_picture[:1])
    assert 0.99 * GRID_PIXELS < grid.width * grid.height < 1.01 * GRID_PIXELS
    grid = grid_of(Size(8000, 6000), whole_picture)
    assert 1000 * grid.width * grid.height < 1.05 * ALL_PIXELS
    assert grid_of(Size(60_000, 2), whole_picture[:0]) == Size(GRID_SIDE, 1)


@pytest.mark.parametrize(
    ("outputs", "section", "words"),
    [
        ({"sums": np.zeros((3, 16, 16))}, {}, "sums is 3 prototypes, but each candidate has 2 coefficients; set"),
        ({"sums": np.zeros((16, 16))}, {}, r"prototypes are \[K, h, w\] a picture, but sums is \[16, 16\]"),
        ({}, {"output": "other"}, "masks.output: the model has no 'other'; it has table, sums"),
        ({}, {"kind": "planes"}, "sums is 2 masks, but there are 5 candidates"),
    ],
)
def test_what_does_not_fit_is_refused_at_load(
    outputs: dict[str, np.ndarray], section: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidManifest, match=words):
        task_of(PROTOTYPES, **section).check({**halves(), **outputs})


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"extras": 0}, "prototypes are weighed by each candidate's extras"),
        ({"rotated": True}, "masks: rotated gives none"),
        ({"decoder": "gfl", "extras": 0}, "masks: belongs to boxes_scores and"),
        ({"decoder": "my.package:decode"}, "a decoder of your own gives none"),
        ({"masks": {"kind": "prototypes"}}, "output"),
        ({"masks": {"kind": "prototypes", "output": "sums", "format": "none"}}, "polygon"),
    ],
)
def test_sections_that_contradict_themselves(section: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DetectionSpec.model_validate({**PROTOTYPES, **section})


def test_masks_of_a_model_that_has_none_are_refused() -> None:
    task = DetectionTask(DetectionSpec(decoder="yolo"), LABELS)
    task.check_options(Options(masks="none"))
    with pytest.raises(InvalidRequest, match="masks cannot be obeyed: the model gives boxes alone"):
        task.check_options(Options(masks="rle"))


@pytest.mark.parametrize("share", [1, 3])
def test_masks_of_a_part_lie_on_the_whole_picture(share: int) -> None:
    """Also where their cells are larger than its pixels: within half a cell."""
    region, whole_size = Region(30, 60, 120, 150), Size(300, 240)
    bits = np.zeros((90 // share, 90 // share), np.uint8)
    bits[30 // share : 60 // share, 6 // share : 45 // share] = 1
    own = Masks(Size(90 // share, 90 // share), (Mask(0, 0, bits),), ((np.array([[6.0, 30.0], [45.0, 60.0]]),),))
    found = instance_masks.moved(own, region, whole_size)
    assert found.grid == (300 // share, 240 // share)
    wanted = np.zeros((240 // share, 300 // share), np.uint8)
    wanted[90 // share : 120 // share, 36 // share : 75 // share] = 1
    np.testing.assert_array_equal(whole(found.masks[0], found.grid), wanted)
    np.testing.assert_array_equal(found.told[0][0], [[36, 90], [75, 120]])  # type: ignore[index]


def test_masks_whose_cells_do_not_fit_the_whole_picture_are_nowhere_lost() -> None:
    region, whole_size = Region(101, 67, 1101, 1067), Size(3001, 2003)
    for left in (0, 3, 590):
        mask = Mask(left, 700 - left, np.ones((3, 2), np.uint8))
        found = instance_masks.moved(Masks(Size(711, 711), (mask,), ((),)), region, whole_size)
        (moved,) = found.masks
        cell = whole_size.width / found.grid.width, whole_size.height / found.grid.height
        own = 1000 / 711
        assert abs(moved.left * cell[0] - (101 + left * own)) <= cell[0] / 2 + 1e-6
        assert abs(moved.top * cell[1] - (67 + (700 - left) * own)) <= cell[1] / 2 + 1e-6
        assert moved.bits.shape == (3, 2)
