"""Pixels to a model's input, and boxes back."""

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from app.vision.image import Picture, Size, decode, read_header
from app.vision.preprocessing import InputSpec, Placement, prepare, target_size
from tests.vision.pictures import file_of, photograph, picture_of

RESIZES = ("letterbox", "stretch", "center_crop")


def spec_of(**section: Any) -> InputSpec:
    return InputSpec.model_validate({"size": [64, 48], **section})


def prepared(picture: Picture, spec: InputSpec) -> tuple[NDArray[Any], Placement]:
    out = np.full(spec.shape, 99 if spec.dtype == "uint8" else np.nan, spec.numpy_dtype)
    return out, prepare(picture, spec, out)


def solid(width: int, height: int, colour: tuple[int, int, int]) -> Picture:
    return picture_of(np.full((height, width, 3), colour, np.uint8))


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"size": [0, 48]}, "1 to 4096 pixels"),
        ({"size": [64, 5000]}, "1 to 4096 pixels"),
        ({"size": [64]}, "size"),
        ({"pad": 256}, "pad"),
        ({"std": [1, 0, 1]}, "std: must be positive"),
        ({"mean": [1, float("nan"), 1]}, "finite"),
        ({"scale": 0}, "scale"),
        ({"dtype": "uint8", "scale": 0.5}, "uint8 takes pixels unchanged"),
        ({"dtype": "uint8", "mean": [1, 2, 3]}, "uint8 takes pixels unchanged"),
        ({"resize_to": 70}, "resize_to: belongs to resize: center_crop"),
        ({"resize": "center_crop", "resize_to": 50}, "resize_to: 50 is smaller than the crop"),
        ({"sizes": [1, 2]}, "Extra inputs"),
        ({"interpolation": "best"}, "interpolation"),
    ],
)
def test_a_wrong_section_is_refused_with_its_reason(section: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        spec_of(**section)


def test_the_section_says_shape_and_dtype() -> None:
    assert spec_of().shape == (3, 48, 64)
    assert spec_of(layout="nhwc", dtype="float16").shape == (48, 64, 3)
    assert spec_of(dtype="float16").numpy_dtype == np.float16
    assert (spec_of(dtype="uint8").scale, spec_of().scale) == (1, 1 / 255)
    assert spec_of(dtype="uint8", scale=1.0) == spec_of(dtype="uint8")


@pytest.mark.parametrize(
    ("upright", "section", "expected"),
    [
        ((640, 480), {}, (64, 48)),
        ((640, 320), {}, (64, 32)),
        ((100, 1000), {}, (5, 48)),
        ((1, 100_000), {}, (1, 48)),
        ((640, 320), {"resize": "stretch"}, (64, 48)),
        ((640, 320), {"resize": "center_crop"}, (96, 48)),
        ((640, 320), {"resize": "center_crop", "resize_to": 80}, (160, 80)),
        ((10, 10), {"resize": "center_crop"}, (64, 64)),
    ],
)
def test_what_the_whole_picture_is_resized_to(
    upright: tuple[int, int], section: dict[str, Any], expected: tuple[int, int]
) -> None:
    assert target_size(Size(*upright), spec_of(**section)) == expected


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(1, 700), st.integers(1, 700))
def test_a_letterboxed_picture_fits_and_a_cropped_one_covers(width: int, height: int, w: int, h: int) -> None:
    fits = target_size(Size(width, height), spec_of(size=[w, h]))
    covers = target_size(Size(width, height), spec_of(size=[w, h], resize="center_crop"))
    assert 1 <= fits.width <= w <= covers.width
    assert 1 <= fits.height <= h <= covers.height
    assert w in (fits.width, covers.width)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("channels", ["rgb", "bgr"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("resize", RESIZES)
def test_every_layout_order_and_dtype(layout: str, channels: str, dtype: str, resize: str) -> None:
    means = {} if dtype == "uint8" else {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.25, 0.2]}
    spec = spec_of(layout=layout, channels=channels, dtype=dtype, resize=resize, **means)
    out, _ = prepared(solid(64, 40, (10, 100, 200)), spec)
    assert out.shape == spec.shape
    rows = out if layout == "nchw" else out.transpose(2, 0, 1)
    colour = (10, 100, 200) if channels == "rgb" else (200, 100, 10)
    for index, value in enumerate(colour):
        mean, std = spec.mean[index], spec.std[index]
        expected, margin = ((x * spec.scale - mean) / std for x in (value, 114))
        assert rows[index, 24, 32] == pytest.approx(expected, rel=2e-3, abs=2e-3)
        if resize == "letterbox":
            assert rows[index, 0, 0] == pytest.approx(margin, rel=2e-3, abs=2e-3)
            assert rows[index, 47, 63] == pytest.approx(margin, rel=2e-3, abs=2e-3)
    assert not np.isnan(rows.astype(np.float32)).any()


def test_the_margins_lie_where_the_section_says() -> None:
    picture = solid(64, 24, (255, 255, 255))
    centre, placed = prepared(picture, spec_of(dtype="uint8", pad=0))
    assert (centre[0, :, 5] > 0).nonzero()[0][[0, -1]].tolist() == [12, 35]
    assert placed.offset_y == 12
    corner, placed = prepared(picture, spec_of(dtype="uint8", pad=0, align="top_left"))
    assert (corner[0, :, 5] > 0).nonzero()[0][[0, -1]].tolist() == [0, 23]
    assert placed.offset_y == 0


def test_a_centre_crop_is_the_middle() -> None:
    pixels = np.zeros((48, 192, 3), np.uint8)
    pixels[:, 64:128] = 255
    out, placement = prepared(picture_of(pixels), spec_of(resize="center_crop", dtype="uint8"))
    assert (out == 255).all()
    assert placement == Placement(1, 1, -64, 0, Size(192, 48), Size(64, 48))


def test_a_centre_crop_agrees_with_resizing_the_whole_first() -> None:
    pixels = photograph(300, 240)
    spec = spec_of(size=[112, 112], resize="center_crop", resize_to=128, dtype="uint8", layout="nhwc")
    out, _ = prepared(picture_of(pixels), spec)
    whole = cv2.resize(pixels, (160, 128), interpolation=cv2.INTER_LINEAR)
    assert np.abs(out.astype(int) - whole[8:120, 24:136].astype(int)).mean() < 2


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (3, 2), (65, 49)])
def test_odd_pictures_fill_every_element(resize: str, size: tuple[int, int]) -> None:
    out, _ = prepared(solid(*size, (50, 50, 50)), spec_of(resize=resize))
    assert np.isfinite(out).all()
    assert np.isclose(out, 50 / 255).any()


@pytest.mark.parametrize("interpolation", ["linear", "area", "cubic"])
@pytest.mark.parametrize("factor", [3, 5, 12])
def test_shrinking_a_fine_pattern_gives_its_mean_and_no_moire(interpolation: str, factor: int) -> None:
    pixels = np.zeros((48 * factor, 64 * factor, 3), np.uint8)
    pixels[:, ::2] = 200
    out, _ = prepared(picture_of(pixels), spec_of(dtype="uint8", interpolation=interpolation))
    assert np.abs(out.astype(int) - 100).mean() < 40


def test_the_picture_and_other_rows_are_not_touched() -> None:
    pixels, spec = photograph(64, 48), spec_of()
    before, batch = pixels.copy(), np.zeros((3, *spec.shape), np.float32)
    prepare(picture_of(pixels), spec, batch[1])
    assert np.array_equal(pixels, before)
    assert (batch[[0, 2]] == 0).all()
    assert batch[1].any()


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(RESIZES),
    st.integers(20, 600),
    st.integers(20, 600),
    st.sampled_from(["center", "top_left"]),
    st.tuples(*[st.floats(0.02, 0.98)] * 4),
)
def test_boxes_come_back_to_where_they_were(
    resize: str, width: int, height: int, align: str, corners: tuple[float, ...]
) -> None:
    _, placement = prepared(solid(width, height, (1, 2, 3)), spec_of(resize=resize, align=align))
    x0, x1 = sorted((corners[0] * width, corners[1] * width))
    y0, y1 = sorted((corners[2] * height, corners[3] * height))
    box = np.array([[x0, y0, x1, y1]], np.float32)
    scale = np.array([placement.scale_x, placement.scale_y] * 2)
    there = (box * scale + np.array([placement.offset_x, placement.offset_y] * 2)).astype(np.float32)
    assert np.abs(placement.to_original(there) - box).max() < 0.01


def test_boxes_are_clipped_to_the_picture() -> None:
    placement = Placement(0.5, 0.5, 0, 10, Size(100, 60), Size(64, 64))
    boxes = placement.to_original(np.array([[-5, 0, 70, 99]], np.float32))
    assert boxes.dtype == np.float32
    assert boxes.tolist() == [[0, 0, 100, 60]]
    assert placement.to_original(np.empty((0, 4), np.float32)).shape == (0, 4)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(400, 300), (333, 517)])
def test_a_mark_in_the_picture_is_found_where_the_placement_says(resize: str, size: tuple[int, int]) -> None:
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    x0, y0, x1, y1 = (round(share * side) for share, side in zip((0.4, 0.45, 0.6, 0.65), size * 2, strict=True))
    pixels[y0:y1, x0:x1] = 255
    data = file_of(pixels, "JPEG", quality=95)
    spec = spec_of(resize=resize, size=[128, 96], pad=0, dtype="uint8")
    picture = decode(data, read_header(data), target_size(Size(*size), spec))
    assert picture.pixels.shape[0] < size[1]
    out, placement = prepared(picture, spec)
    rows, columns = np.nonzero(out[0] > 127)
    found = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    pixel = 1 / min(placement.scale_x, placement.scale_y)
    assert np.abs(placement.to_original(found) - (x0, y0, x1, y1)).max() <= 1.1 * pixel
