"""What a chain's steps look at: parts of parts, turned boxes straightened, all in the whole picture's pixels."""

import math

import numpy as np
import pytest

from app.core.findings import Finding, Part, cut_again, fitting, straightened, straightened_bytes
from app.repository.pipeline import Step
from app.vision import crops
from app.vision.header import Size
from app.vision.image import Picture
from app.vision.quads import quad_crop
from app.vision.region import Region
from app.vision.turning import turned

WHOLE = Region(0, 0, 200, 120)


@pytest.fixture
def picture() -> Picture:
    pixels = np.random.default_rng(3).integers(0, 256, (120, 200, 3), np.uint8)
    return Picture(pixels, Size(200, 120))


def step(**fields: object) -> Step:
    return Step.model_validate({"model": "any", "on": "find", **fields})


def turned_box(centre: tuple[float, float], sides: tuple[float, float], degrees: float) -> np.ndarray:
    """Its corners, clockwise from the top left one."""
    angle = math.radians(degrees)
    across, down = np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])
    half, rise = across * sides[0] / 2, down * sides[1] / 2
    corners = [-half - rise, half - rise, half + rise, -half + rise]
    return np.array([np.array(centre) + corner for corner in corners], np.float32)


@pytest.mark.parametrize("degrees", [0.0, 17.0, 90.0, 150.0, -35.0])
def test_a_turned_box_is_straightened_as_from_the_whole_picture(picture: Picture, degrees: float) -> None:
    quad = turned_box((100, 60), (60, 20), degrees)
    box = (*quad.min(axis=0).tolist(), *quad.max(axis=0).tolist())
    finding = Finding(box, "", 1.0, {}, WHOLE, None, quad)
    ((_, region),) = fitting(step(crop="quad"), [finding])
    found = straightened(finding, Part(region, crops.cut(picture, region)))
    wanted = quad_crop(picture.pixels, quad)
    assert found.region == region
    assert found.picture.pixels.shape == wanted.shape
    difference = np.abs(found.picture.pixels.astype(int) - wanted)
    assert difference.max() <= 12  # the same pixels, at most a 32nd of one apart
    assert wanted.nbytes <= straightened_bytes(finding)


@pytest.mark.parametrize("sides", [(2.0**24, 20), (20, 2.0**24), (900, 700)])
def test_a_turned_box_that_is_much_larger_than_the_picture_is_left_out(sides: tuple[float, float]) -> None:
    """What lies within would take more memory than there is, and fail everybody else's crops of the picture too."""
    found = []
    for size in (sides, (230, 130)):
        quad = turned_box((100, 60), size, 30)
        found.append(Finding((*quad.min(axis=0).tolist(), *quad.max(axis=0).tolist()), "", 1.0, {}, WHOLE, None, quad))
    assert [finding for finding, _ in fitting(step(crop="quad"), found)] == found[1:]
    assert len(fitting(step(), found)) == 2


def test_a_part_of_a_part_ends_at_its_edges(picture: Picture) -> None:
    outer = Region(20, 10, 80, 70)
    finding = Finding((10.0, 30.0, 40.5, 90.0), "a", 1.0, {}, outer, crops.cut(picture, outer))
    ((_, region),) = fitting(step(), [finding])
    assert region == Region(20, 30, 41, 70)
    cut = cut_again(step(), finding, region)
    assert (cut.pixels == picture.pixels[30:70, 20:41]).all()
    outside = Finding((100.0, 100.0, 120.0, 110.0), "a", 1.0, {}, outer, None)
    assert fitting(step(), [outside]) == []


def test_what_is_turned_knows_its_size_and_where_the_original_lies_in_it(picture: Picture) -> None:
    reduced = Picture(picture.pixels, Size(395, 238), 2, (0.0, 0.5))
    for degrees in (0, 90, 180, 270):
        found = turned(reduced, degrees)
        corners = found.located(np.array([[0, 0, *found.size]], np.float32))[0]
        back = turned(found, (360 - degrees) % 360)
        assert (back.size, back.offset) == (reduced.size, reduced.offset)
        assert (back.pixels == reduced.pixels).all()
        assert corners[:2].min() >= 0
        assert (corners[2:] <= found.pixels.shape[1::-1]).all()
    assert (turned(reduced, 90).pixels[0, -1] == picture.pixels[0, 0]).all()


def test_a_crop_is_turned_where_its_class_is_sure_enough(picture: Picture) -> None:
    within = Region(0, 0, 40, 20)
    part = crops.cut(picture, within)
    again = step(turn={"180": 180}, turn_min_score=0.9)
    sure, unsure = (Finding((0.0, 0.0, 40.0, 20.0), "180", score, {}, within, part) for score in (0.95, 0.8))
    assert (cut_again(again, sure, within).pixels == part.pixels[::-1, ::-1]).all()
    assert (cut_again(again, unsure, within).pixels == part.pixels).all()
