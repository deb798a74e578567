"""Parts of decoded pictures: where they lie, what they show, what they take."""

import tracemalloc

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from app.vision import crops, image
from app.vision.decode_memory import crop_grey_bytes
from app.vision.image import Picture, Size
from app.vision.input_spec import InputSpec
from app.vision.preprocessing import prepare
from app.vision.region import Region, region_of
from tests.vision.pictures import STORED, exif, file_of, photograph


def noise(width: int, height: int, channels: int = 3) -> NDArray[np.uint8]:
    small = np.random.default_rng(7).integers(0, 256, (height // 8 + 1, width // 8 + 1, channels), np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


@pytest.mark.parametrize(
    ("box", "region"),
    [
        ((1, 2, 5, 9), (1, 2, 5, 9)),
        ((0.4, 1.9, 4.1, 8.2), (0, 1, 5, 9)),
        ((-5, -1, 3, 400), (0, 0, 3, 30)),
        ((40, 0, 50, 9), None),
        ((3, 3, 3, 9), None),
        ((9, 9, 3, 3), None),
        ((float("nan"), 0, 5, 5), None),
        ((0, 0, float("inf"), 5), None),
    ],
)
def test_a_box_becomes_whole_pixels_within_the_picture(
    box: tuple[float, float, float, float], region: tuple[int, int, int, int] | None
) -> None:
    assert region_of(box, Size(40, 30)) == region


def test_a_crop_is_prepared_as_the_part_itself_would_be() -> None:
    whole = noise(200, 120)
    region, spec = Region(31, 17, 131, 88), InputSpec(size=(64, 64), resize="letterbox")
    part = np.ascontiguousarray(whole[17:88, 31:131])
    wanted, found = np.empty(spec.shape, np.float32), np.empty(spec.shape, np.float32)
    placement = prepare(Picture(part, Size(100, 71)), spec, wanted)
    assert prepare(crops.cut(Picture(whole, Size(200, 120)), region), spec, found) == placement
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_crop_of_a_reduced_picture_shows_the_same_place(orientation: int) -> None:
    """The colours of the upright picture say where each pixel is, so what the model sees says where it looks."""
    upright = Image.fromarray(photograph(404, 300))
    stored = upright.transpose(STORED[orientation]) if orientation in STORED else upright
    data = file_of(stored, "JPEG", quality=95, exif=exif(orientation))
    header = image.read_header(data)
    region, spec = Region(60, 80, 260, 240), InputSpec(size=(50, 40), resize="stretch")
    reduced = image.decode(data, header, crops.covering(header.upright, [region], spec))
    assert reduced.factor == 4
    row = np.empty(spec.shape, np.float32)
    crop = crops.cut(reduced, region)
    placement = prepare(crop, spec, row)
    assert placement.size == (200, 160)
    # `photograph` is red by column and green by row, rounded down.
    columns = (np.arange(50) + 0.5 - placement.offset_x) / placement.scale_x + region.left - 0.5
    rows = (np.arange(40) + 0.5 - placement.offset_y) / placement.scale_y + region.top - 0.5
    assert abs(((row[0] + 0.5 / 255) * 404 - columns).mean()) < 0.3
    assert abs(((row[1] + 0.5 / 255) * 300 - rows[:, None]).mean()) < 0.3


def test_nothing_is_reduced_where_a_region_is_no_larger_than_the_input() -> None:
    spec = InputSpec(size=(64, 64), resize="stretch")
    assert crops.covering(Size(4000, 3000), [Region(0, 0, 4000, 3000), Region(0, 0, 64, 64)], spec) == (4000, 3000)
    exact = InputSpec(size=(64, 64), resize="stretch", reduce="none")
    assert crops.covering(Size(4000, 3000), [Region(0, 0, 4000, 3000)], exact) is None


def test_crops_are_copied_where_they_are_little_and_views_where_they_are_much() -> None:
    picture = Picture(noise(100, 80), Size(100, 80))
    little, much = [Region(0, 0, 10, 10)] * 3, [Region(0, 0, 60, 80), Region(40, 0, 100, 80)]
    assert all(crop.pixels.base is None for crop in crops.cut_all(picture, little))
    assert all(
        crop.pixels.base is picture.pixels.base or crop.pixels.base is picture.pixels
        for crop in crops.cut_all(picture, much)
    )
    header = image.read_header(cv2.imencode(".png", picture.pixels)[1].tobytes())
    assert crops.cut_bytes(header, little) == (900, 900)
    assert crops.cut_bytes(header, much) == (24_000, 0)


def test_grey_of_a_crop_is_what_the_whole_picture_gives_in_that_place() -> None:
    pixels = noise(90, 70)
    data = cv2.imencode(".png", pixels)[1].tobytes()
    header, region = image.read_header(data), Region(11, 7, 71, 63)
    found = crops.grey(crops.cut(image.decode(data, header), region))
    # The decoder rounds otherwise.
    np.testing.assert_allclose(found.pixels, image.decode_grey(data, header).pixels[7:63, 11:71].astype(int), atol=1)
    assert found.size == (60, 56)


@pytest.mark.parametrize("channels", [3, 4])
def test_making_a_crop_grey_takes_no_more_than_is_said(channels: int) -> None:
    crop = Picture(noise(1_500, 1_500, channels), Size(1_500, 1_500))
    tracemalloc.start()
    try:
        crops.grey(crop)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert crop.pixels[..., 0].size <= peak <= crop_grey_bytes((1_500, 1_500, channels))


def test_grey_of_a_transparent_crop_is_laid_on_white() -> None:
    pixels = noise(90, 70, 4)
    data = cv2.imencode(".png", pixels)[1].tobytes()
    header = image.read_header(data)
    whole = image.decode(data, header, alpha=True)
    assert whole.pixels.shape[2] == 4
    found = crops.grey(crops.cut(whole, Region(0, 0, 90, 70)))
    np.testing.assert_array_equal(found.pixels, image.decode_grey(data, header).pixels)
