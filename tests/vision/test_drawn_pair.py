"""Two answers side by side: what only one says is seen by its colour."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.vision import image
from app.vision.classification import Classification
from app.vision.detection import Detections
from app.vision.drawn_pair import CHANGED, GAINED, LEGEND, LOST, SAME, SIDE, draw_legend, draw_pair, side_size
from app.vision.image import Size
from app.vision.instance_masks import Masks
from app.vision.mask_formats import Mask
from tests.fixtures.pictures import solid

WHITE = (255, 255, 255)


def detections(*found: tuple[int, int, float]) -> Detections:
    """Of a class each, in one of four quarters of 760 x 760 pixels, best first."""
    corners = [((place % 2) * 380 + 60, (place // 2) * 380 + 60) for _, place, _ in found]
    return Detections(
        np.array([(x, y, x + 260, y + 260) for x, y in corners], np.float32).reshape(-1, 4),
        np.array([score for _, _, score in found], np.float32),
        np.array([number for number, _, _ in found], np.int64),
        tuple(f"class {number}" for number, _, _ in found),
    )


def pair(first: Any, second: Any, size: tuple[int, int] = (760, 760)) -> "np.ndarray[Any, Any]":
    content = solid(WHITE, size)
    header = image.read_header(content)
    return draw_pair(image.decode(content, header, side_size(header.upright)), first, second, ("left", "right"))


def edges(side: "np.ndarray[Any, Any]") -> list[tuple[int, ...]]:
    """The colours of the left edges of boxes in the four quarters."""
    quarters = [(x, y) for y in (60, 440) for x in (60, 440)]
    return [tuple(side[y + 130, x + 1].tolist()) for x, y in quarters]


def test_each_kind_of_difference_has_its_colour() -> None:
    first = detections((0, 0, 0.9), (1, 1, 0.8), (0, 2, 0.7))
    drawn = pair(first, detections((0, 0, 0.6), (2, 1, 0.8), (0, 3, 0.7)))
    left, right = drawn[-760:, :760], drawn[-760:, -760:]
    assert edges(left) == [SAME, CHANGED, LOST, WHITE]
    assert edges(right) == [SAME, CHANGED, WHITE, GAINED]


def test_a_difference_lies_above_what_is_alike_whatever_their_scores() -> None:
    alike, lost = (0, 0, 0.9), (1, 0, 0.6)
    drawn = pair(detections(alike, lost), detections(alike))
    assert edges(drawn[-760:, :760])[0] == LOST
    assert edges(drawn[-760:, -760:])[0] == SAME


def test_masks_have_their_detections_colours_in_whatever_order() -> None:
    def masked(*found: tuple[int, int, float]) -> Detections:
        things = detections(*found)
        corners = (things.boxes[:, :2] / 10).astype(int).tolist()
        masks = tuple(Mask(x, y, np.ones((26, 26), np.uint8)) for x, y in corners)
        return replace(things, masks=Masks(Size(76, 76), masks, ()))

    alike, lost = (0, 0, 0.9), (1, 3, 0.6)
    left = pair(masked(alike, lost), masked(alike))[-760:, :760]
    for quarter, colour in ((190, SAME), (570, LOST)):
        assert np.abs(left[quarter, quarter] - (np.array(colour) + WHITE) / 2).max() <= 1


@pytest.mark.parametrize(
    ("size", "side"), [((1920, 1080), (760, 428)), ((100, 400), (190, 760)), ((9000, 1), (760, 1))]
)
def test_sides_are_as_large_as_there_is_room(size: tuple[int, int], side: tuple[int, int]) -> None:
    assert tuple(side_size(Size(*size))) == side
    assert pair(detections(), detections(), size).shape[1] == 2 * side[0] + 6


def test_classes_are_listed_on_either_side() -> None:
    found = Classification(np.array([1]), np.array([0.5], np.float32), ("green",))
    nothing = Classification(np.array([], np.int64), np.array([], np.float32), ())
    drawn = pair(found, nothing)
    assert (drawn[-760:, :760] != 255).any()
    assert (drawn[-760:, -760:] == 255).all()


def test_the_legend_has_every_colour() -> None:
    colours = {tuple(pixel) for pixel in draw_legend(2 * SIDE.width).reshape(-1, 3).tolist()}
    assert set(LEGEND) <= colours
