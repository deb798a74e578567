import cv2
import numpy as np
import pytest

from app.vision.quads import ordered_corners, quad_crop, reading_order

PICTURE = np.random.default_rng(7).integers(0, 256, (60, 80, 3), np.uint8)


def quad(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)


def test_an_upright_quad_is_the_part_itself() -> None:
    assert np.array_equal(quad_crop(PICTURE, quad(10, 20, 50, 35)), PICTURE[20:35, 10:50])


def test_grey_pictures_are_cropped_as_well() -> None:
    assert np.array_equal(quad_crop(PICTURE[..., 0], quad(10, 20, 50, 35)), PICTURE[20:35, 10:50, 0])


def test_a_line_that_runs_down_is_turned_against_the_clock() -> None:
    assert np.array_equal(quad_crop(PICTURE, quad(10, 5, 30, 35)), np.rot90(PICTURE[5:35, 10:30]))


def test_a_little_higher_than_wide_is_not_turned() -> None:
    assert quad_crop(PICTURE, quad(10, 5, 31, 36)).shape == (31, 21, 3)


def test_a_leaning_line_is_straightened() -> None:
    bar = np.zeros((100, 100), np.uint8)
    corners = cv2.boxPoints(((50, 50), (60, 20), 30))
    cv2.fillConvexPoly(bar, corners.astype(np.int32), 255)

    crop = quad_crop(bar, ordered_corners(corners))

    assert crop.shape in {(20, 60), (19, 60), (20, 59), (19, 59)}
    assert crop.mean() > 240


@pytest.mark.parametrize("corners", [quad(3, 3, 3, 3), quad(79, 59, 80, 60), quad(5, 5, 25, 5)], ids=str)
def test_quads_without_area_give_at_least_a_pixel(corners: np.ndarray) -> None:
    crop = quad_crop(PICTURE, corners)
    assert min(crop.shape[:2]) >= 1
    assert crop.dtype == np.uint8


def test_a_quad_over_the_edge_repeats_it() -> None:
    crop = quad_crop(PICTURE, quad(70, 10, 90, 20))
    assert np.array_equal(crop[:, 10:], np.repeat(PICTURE[10:20, 79:], 10, axis=1))


def test_corners_are_put_clockwise_from_the_top_left() -> None:
    wanted = quad(1, 2, 30, 9)
    for order in ([2, 0, 3, 1], [1, 0, 3, 2], [3, 2, 1, 0]):
        assert np.array_equal(ordered_corners(wanted[order]), wanted)


def test_lines_are_read_row_by_row_from_the_left() -> None:
    quads = np.array([quad(200, 4, 240, 20), quad(0, 60, 30, 80), quad(5, 9, 60, 25), quad(100, 69, 160, 80)])
    assert reading_order(quads).tolist() == [2, 0, 1, 3]


def test_no_lines_have_no_order() -> None:
    assert reading_order(np.zeros((0, 4, 2), np.float32)).tolist() == []
