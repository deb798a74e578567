"""How alike two answers are."""

from dataclasses import replace

import numpy as np
import pytest

from app.vision.agreement import Agreement, compare
from app.vision.classification import Classification
from app.vision.detection import Detections
from app.vision.embedding import Embedding
from app.vision.header import Size
from app.vision.instance_masks import Masks
from app.vision.keypoints import Keypoints
from app.vision.maps import Maps
from app.vision.mask_formats import Mask
from app.vision.oriented_boxes import corners, of_polygons
from app.vision.segmentation import Segmentation


def found(*things: tuple[list[float], float, int]) -> Detections:
    return Detections(
        np.array([box for box, _, _ in things], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in things], np.float32),
        np.array([number for _, _, number in things], np.int64),
        tuple(str(number) for _, _, number in things),
    )


def classified(*classes: tuple[int, float]) -> Classification:
    return Classification(
        np.array([number for number, _ in classes], np.int64),
        np.array([score for _, score in classes], np.float32),
        tuple(str(number) for number, _ in classes),
    )


def segmented(rows: list[list[int]]) -> Segmentation:
    nothing = np.zeros(0, np.float32)
    classes = np.array(rows, np.uint8)
    return Segmentation(classes, (0, 0, 1, 1), b"", nothing.astype(np.int64), (), nothing, nothing.reshape(0, 4))


BOX, NEAR, FAR = [0.0, 0, 10, 10], [0.0, 0, 10, 8], [50.0, 50, 60, 60]


def test_detections_are_the_same_where_class_and_place_are() -> None:
    one = found((BOX, 0.9, 1), (FAR, 0.6, 0))
    assert compare(one, one) == Agreement(2, 2, shifts=(0.0, 0.0))
    moved = compare(one, found((NEAR, 0.8, 1), (FAR, 0.6, 2)))
    assert (moved.compared, moved.same, moved.lost, moved.gained) == (3, 1, 1, 1)
    assert moved.largest_shift == pytest.approx(0.1)


def test_masks_must_be_alike_too() -> None:
    def masked(*parts: tuple[int, int]) -> Detections:
        masks = tuple(Mask(left, 0, np.ones((10, width), np.uint8)) for left, width in parts)
        things = found(*((BOX, 0.9 - number / 10, number) for number in range(len(parts))))
        return replace(things, masks=Masks(Size(100, 100), masks, ()))

    one = masked((0, 10), (5, 5))
    assert compare(one, one).same == 2
    other = compare(one, masked((0, 8), (0, 5)))
    assert (other.same, other.lost, other.gained, other.changed) == (1, 1, 1, 0)
    coarse = Masks(Size(50, 50), (Mask(0, 0, np.ones((5, 5), np.uint8)), Mask(2, 0, np.ones((5, 3), np.uint8))), ())
    assert compare(one, replace(one, masks=coarse)).same == 2
    assert compare(one, replace(one, masks=None)).same == 2


def test_a_box_has_at_most_one_like_it_and_the_nearest() -> None:
    told = compare(found((BOX, 0.9, 0)), found((NEAR, 0.5, 0), (BOX, 0.9, 0)))
    assert (told.same, told.lost, told.gained, told.largest_shift) == (1, 0, 1, 0.0)


def test_where_nothing_is_found_nothing_is_shown() -> None:
    assert compare(found(), found()).compared == 0
    assert compare(found(), found()).share == 0
    assert compare(found(), found((BOX, 0.9, 0))) == Agreement(1, 0, 0, 1)
    assert compare(classified(), classified((1, 0.9))) == Agreement(1)


def test_the_best_label_and_its_score() -> None:
    assert compare(classified((1, 0.9), (2, 0.1)), classified((1, 0.9), (2, 0.1))).same == 1
    changed = compare(classified((1, 0.6), (2, 0.4)), classified((2, 0.7), (1, 0.3)))
    assert (changed.compared, changed.same) == (1, 0)
    assert changed.largest_shift == pytest.approx(0.3)


def test_each_place_of_a_map() -> None:
    assert compare(segmented([[0, 1], [1, 1]]), segmented([[0, 1], [1, 2]])) == Agreement(4, 3)


def test_pictures_add_up() -> None:
    total = Agreement(2, 1, 1, 0, (0.1,)) + Agreement(3, 3, shifts=(0.2,))
    assert (total.compared, total.same, total.lost, total.share, total.largest_shift) == (5, 4, 1, 0.8, 0.2)


def test_every_label_of_a_model_with_several() -> None:
    first = replace(classified((1, 0.9), (2, 0.7)), multi_label=True)
    other = replace(classified((2, 0.6), (3, 0.5)), multi_label=True)
    agreement = compare(first, other)
    assert (agreement.compared, agreement.same, agreement.lost, agreement.gained) == (3, 1, 1, 1)
    assert agreement.shifts == pytest.approx((0.1,))
    assert compare(replace(first, class_ids=first.class_ids[:0], scores=first.scores[:0]), first).share == 0


def test_vectors_are_alike_where_their_cosine_is() -> None:
    def vector(*numbers: float) -> Embedding:
        return Embedding(np.array(numbers, np.float32), False, "json", [])

    assert compare(vector(1, 2, 3), vector(2, 4, 6)) == Agreement(1, 1, shifts=(pytest.approx(0, abs=1e-12),))
    assert compare(vector(1, 0), vector(1, 0.1)).same == 1
    assert compare(vector(1, 0), vector(1, 0.2)).same == 0
    assert compare(vector(1, 0), vector(-1, 0)).largest_shift == 2
    assert compare(vector(1, 0), vector(1, 0, 0)).same == 0
    assert (compare(vector(0, 0), vector(0, 0)).same, compare(vector(0, 0), vector(0, 1)).same) == (1, 0)


def test_each_place_of_a_map_of_numbers() -> None:
    def charted(*numbers: float) -> Maps:
        return Maps(np.array([[numbers]], np.float32), "metres", (0, 0, 1, 1), np.zeros(1, np.int64), ("map",), ())

    assert compare(charted(0, 10, 5), charted(0.4, 10.6, 5)) == Agreement(3, 2)
    assert compare(charted(0, 10), charted(0, 10, 5)) == Agreement(2)
    assert compare(charted(1, 1), charted(1, 1.1)) == Agreement(2, 1)


def with_points(points: list[list[float]], scores: list[float], names: tuple[str, ...] = ("a", "b")) -> Detections:
    keypoints = Keypoints(np.array([points], np.float32), np.array([scores], np.float32), names, ())
    return replace(found((BOX, 0.9, 1)), keypoints=keypoints)


def test_keypoints_must_be_near_too() -> None:
    one = with_points([[2, 2], [8, 8]], [1, 1])
    assert compare(one, with_points([[2.5, 2], [8, 8.5]], [1, 1])).same == 1
    assert compare(one, with_points([[2, 2], [5, 5]], [1, 1])).same == 1  # one of the two is right
    moved = compare(one, with_points([[6, 2], [8, 4]], [1, 1]))
    assert (moved.same, moved.lost, moved.gained) == (0, 1, 1)


def test_keypoints_that_neither_has_seen_are_not_compared() -> None:
    one = with_points([[2, 2], [8, 8]], [0.9, 0.1])
    assert compare(one, with_points([[2, 2], [0, 0]], [0.9, 0.2])).same == 1
    unseen = with_points([[2, 2], [8, 8]], [0.1, 0.1])
    assert compare(unseen, with_points([[9, 9], [0, 0]], [0.1, 0.1])).same == 1
    assert compare(one, with_points([[9, 9], [0, 0]], [0.9, 0.9], ("c", "d"))).same == 1  # other points: boxes count


def test_turned_boxes_are_compared_as_they_lie() -> None:
    def turned(angle: float) -> Detections:
        oriented = of_polygons(corners(np.array([[5, 5, 12, 2, angle]])))
        return replace(found((BOX, 0.9, 1)), oriented=oriented)

    assert compare(turned(0.8), turned(0.85)).same == 1
    crossed = compare(turned(0.8), turned(-0.8))  # the upright boxes around them are the same
    assert (crossed.same, crossed.lost, crossed.gained) == (0, 1, 1)
