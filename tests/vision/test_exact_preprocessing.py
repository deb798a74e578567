"""What `reduce: none` makes of a picture, beside Pillow and OpenCV themselves."""

import io
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from app.vision.decode_memory import decode_bytes
from app.vision.image import Size, decode, read_header
from app.vision.preprocessing import InputSpec, Placement, decoding_target, device_problem, prepare, target_size
from app.vision.resampling import Resampling, Window, resample
from tests.vision.pictures import file_of, photograph, picture_of, png_of

SIZES = [(640, 480), (301, 977), (1920, 960), (33, 20), (1000, 7)]


def spec_of(**section: Any) -> InputSpec:
    return InputSpec.model_validate({"size": [64, 48], "dtype": "uint8", "layout": "nhwc", "reduce": "none", **section})


def prepared(pixels: NDArray[np.uint8], spec: InputSpec) -> tuple[NDArray[np.uint8], Placement]:
    out = np.empty(spec.shape, spec.numpy_dtype)
    return out, prepare(picture_of(pixels), spec, out)


def pillow(pixels: NDArray[np.uint8], size: tuple[int, int], kind: Image.Resampling) -> NDArray[np.int16]:
    return np.asarray(Image.fromarray(pixels).resize(size, kind)).astype(np.int16)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kind", "flag"), [("linear", cv2.INTER_LINEAR), ("cubic", cv2.INTER_CUBIC)])
def test_one_step_is_opencvs_own(size: tuple[int, int], kind: str, flag: int) -> None:
    pixels = photograph(*size)
    found, _ = prepared(pixels, spec_of(resize="stretch", interpolation=kind))
    assert np.array_equal(found, cv2.resize(pixels, (64, 48), interpolation=flag))


@pytest.mark.parametrize("size", [*SIZES, (301, 301)])
@pytest.mark.parametrize(("kind", "name"), [("linear", "BILINEAR"), ("cubic", "BICUBIC")])
def test_antialias_is_pillows_own(size: tuple[int, int], kind: str, name: str) -> None:
    pixels = photograph(*size)
    found, _ = prepared(pixels, spec_of(resize="stretch", interpolation=kind, antialias=True))
    assert np.array_equal(found, pillow(pixels, (64, 48), Image.Resampling[name]))


@pytest.mark.parametrize("size", [*SIZES, (301, 301)])
@pytest.mark.parametrize(("kind", "name"), [("linear", "BILINEAR"), ("cubic", "BICUBIC")])
def test_a_horizontal_first_pass_is_that_of_pillow_before_13(size: tuple[int, int], kind: str, name: str) -> None:
    pixels, flag = photograph(*size), Image.Resampling[name]
    found, _ = prepared(pixels, spec_of(resize="stretch", interpolation=kind, antialias=True, first_pass="horizontal"))
    across = Image.fromarray(pixels).resize((64, size[1]), flag)  # one pass alone is the same in all versions
    assert np.array_equal(found, np.asarray(across.resize((64, 48), flag)))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_part_of_a_resized_picture_is_that_of_the_whole(data: st.DataObject) -> None:
    width, height, to_width, to_height = (data.draw(st.integers(1, 90)) for _ in range(4))
    left, top = data.draw(st.integers(0, to_width - 1)), data.draw(st.integers(0, to_height - 1))
    window = Window(left, top, data.draw(st.integers(left + 1, to_width)), data.draw(st.integers(top + 1, to_height)))
    kind, antialias = data.draw(st.tuples(st.sampled_from(["linear", "cubic"]), st.booleans()))
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    part = resample(pixels, Size(to_width, to_height), window, Resampling(kind, antialias))
    if antialias:
        filter_ = Image.Resampling.BILINEAR if kind == "linear" else Image.Resampling.BICUBIC
        whole = pillow(pixels, (to_width, to_height), filter_)
    else:
        flag = cv2.INTER_LINEAR if kind == "linear" else cv2.INTER_CUBIC
        whole = cv2.resize(pixels, (to_width, to_height), interpolation=flag).astype(np.int16)
    apart = np.abs(part - whole[window.top : window.bottom, window.left : window.right])
    assert apart.max() <= (0 if antialias else 1)


@pytest.mark.parametrize("size", [(640, 480), (301, 977), (1001, 667)])
def test_torchvisions_evaluation_of_classifiers(size: tuple[int, int]) -> None:
    pixels = photograph(*size)
    spec = spec_of(size=[48, 48], resize="center_crop", resize_to=56, antialias=True, rounding="floor")
    found, placement = prepared(pixels, spec)
    width, height = (int(56 * side / min(size)) for side in size)
    left, top = round((width - 48) / 2), round((height - 48) / 2)
    whole = pillow(pixels, (width, height), Image.Resampling.BILINEAR)
    assert np.array_equal(found, whole[top : top + 48, left : left + 48])
    corner = placement.to_original(np.array([[0, 0, 48, 48]], np.float32))[0]
    expected = [left * size[0] / width, top * size[1] / height, (left + 48) * size[0] / width]
    assert np.allclose(corner[:3], expected, atol=1e-2)


@pytest.mark.parametrize("rounding", ["floor", "round"])
@pytest.mark.parametrize("resize_to", [56, None])
def test_the_side_that_is_given_its_length_gets_just_that(rounding: str, resize_to: int | None) -> None:
    """`side * (56 / side)` is a little less than 56 for some sides."""
    spec = spec_of(size=[48, 48], resize="center_crop", rounding=rounding, resize_to=resize_to)
    shorter = resize_to or 48
    for side in range(49, 2100):
        longer = shorter * 3001 // side if rounding == "floor" else round(shorter * 3001 / side)
        assert target_size(Size(3001, side), spec) == (longer, shorter)
        assert target_size(Size(side, 3001), spec) == (shorter, longer)


def test_resized_whatever_the_aspect_and_then_cropped() -> None:
    pixels = photograph(301, 977)
    spec = spec_of(size=[48, 48], resize="center_crop", resize_to=[60, 56])
    assert target_size(Size(301, 977), spec) == (60, 56)
    found, _ = prepared(pixels, spec)
    whole = cv2.resize(pixels, (60, 56), interpolation=cv2.INTER_LINEAR).astype(np.int16)
    assert np.abs(found - whole[4:52, 6:54]).max() <= 1


@pytest.mark.parametrize(
    ("rounding", "unscale", "expected"), [("round", "sides", (64, 43)), ("floor", "ratio", (64, 42))]
)
def test_letterbox_as_families_round_it(rounding: str, unscale: str, expected: tuple[int, int]) -> None:
    pixels = photograph(1000, 667)
    spec = spec_of(size=[64, 64], align="top_left", rounding=rounding, unscale=unscale)
    assert target_size(Size(1000, 667), spec) == expected
    found, placement = prepared(pixels, spec)
    assert np.array_equal(found[: expected[1]], cv2.resize(pixels, expected, interpolation=cv2.INTER_LINEAR))
    assert (found[expected[1] :] == 114).all()
    assert placement.scale_y == pytest.approx(0.064 if unscale == "ratio" else expected[1] / 667)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_fractions_are_kept_where_pixels_are_not_rounded(size: tuple[int, int], interpolation: str) -> None:
    pixels = photograph(*size)
    spec = spec_of(resize="stretch", interpolation=interpolation, round_pixels=False, dtype="float32", scale=1.0)
    found, _ = prepared(pixels, spec)
    flag = cv2.INTER_LINEAR if interpolation == "linear" else cv2.INTER_CUBIC
    whole = cv2.resize(pixels.astype(np.float32), (64, 48), interpolation=flag)
    assert np.abs(found - whole).max() < 0.05  # OpenCV's weights are coarser


@pytest.mark.parametrize("section", [{"reduce": "auto"}, {"dtype": "uint8"}, {"interpolation": "area"}])
def test_fractions_are_refused_where_there_are_none(section: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="round_pixels: false belongs to"):
        spec_of(round_pixels=False, **{"dtype": "float32", **section})


def test_the_way_back_by_one_ratio_halves_what_it_leaves_free() -> None:
    """As YOLOv5's scale_boxes: 64 - 667 * 0.064 = 21.312 pixels are free, not the 21 that a height of 43 leaves."""
    _, placement = prepared(photograph(1000, 667), spec_of(size=[64, 64], unscale="ratio"))
    top = placement.to_original(np.array([[0, 32, 64, 64]], np.float32))[0, 1]
    assert top == pytest.approx((32 - 10.656) / 0.064, abs=1e-3)


def test_nothing_is_reduced_while_decoding() -> None:
    file = file_of(photograph(1003, 765), "JPEG", quality=92)
    header = read_header(file)
    for reduce, factor in (("auto", 8), ("none", 1)):
        spec = spec_of(reduce=reduce)
        assert decode(file, header, decoding_target(header.upright, spec)).factor == factor
    whole = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
    out = np.empty(spec.shape, np.uint8)
    prepare(decode(file, header, None), spec_of(resize="stretch"), out)
    assert np.abs(out - cv2.resize(whole, (64, 48)).astype(np.int16)).max() <= 1


def test_grey_is_pillows_within_a_level() -> None:
    pixels = photograph(64, 48)
    found, _ = prepared(pixels, spec_of(channels="grey"))
    assert found.shape == (48, 64, 1)
    grey = np.asarray(Image.fromarray(pixels).convert("L")).astype(np.int16)
    assert np.abs(found[..., 0] - grey).max() <= 1


@pytest.mark.parametrize("channels", ["rgba", "bgra"])
@pytest.mark.parametrize("deep", [False, True])
def test_the_fourth_channel_is_the_pictures_own_or_opaque(channels: str, deep: bool) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (48, 64, 4), np.uint8)
    stored = pixels.astype(np.uint16) * 257 if deep else pixels
    for file, expected in (
        (png_of(stored), pixels),
        (png_of(stored[..., :3]), np.dstack([pixels[..., :3], np.full((48, 64), 255)])),
        (png_of(np.ascontiguousarray(stored[..., [0, 3]])), pixels[..., [0, 0, 0, 3]]),
    ):
        header, spec = read_header(file), spec_of(channels=channels)
        out = np.empty(spec.shape, np.uint8)
        prepare(decode(file, header, None, spec.range, spec.has_alpha), spec, out)
        order = [0, 1, 2, 3] if channels == "rgba" else [2, 1, 0, 3]
        assert np.array_equal(out, expected[..., order])
        assert decode_bytes(header, len(file), None, spec.range, True) >= 4 * 48 * 64


def test_a_clear_value_of_grey_is_no_opacity() -> None:
    grey = np.arange(64 * 48, dtype=np.uint32).reshape(48, 64).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG", transparency=7)
    file, spec = buffer.getvalue(), spec_of(channels="rgba")
    out = np.empty(spec.shape, np.uint8)
    prepare(decode(file, read_header(file), None, spec.range, True), spec, out)
    assert np.array_equal(out[..., 0], grey)
    assert np.array_equal(out[..., 3] == 0, grey == 7)


def test_one_number_stands_for_all_channels_and_margins_may_have_colours() -> None:
    spec = InputSpec.model_validate({"size": [8, 8], "channels": "grey", "mean": 0.5, "std": 0.25})
    assert (spec.mean, spec.std, spec.shape) == ((0.5,), (0.25,), (1, 8, 8))
    spec = InputSpec.model_validate({"size": [8, 8], "scale": 1, "mean": [124, 116, 104], "pad": [124, 116, 104]})
    out = np.empty(spec.shape, np.float32)
    prepare(picture_of(photograph(8, 4)), spec, out)
    assert (out[:, :2] == 0).all()
    assert (out[:, 6:] == 0).all()


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"channels": "grey", "mean": [0, 0, 0]}, "mean: grey has 1 channels, not 3"),
        ({"channels": "rgba", "pad": [1, 2, 3]}, "pad: rgba has 4 channels, not 3"),
        ({"resize": "center_crop", "resize_to": [64, 47]}, "resize_to: .* is smaller than the crop"),
        ({"resize_to": [64, 48]}, "belongs to resize: center_crop"),
        ({"antialias": True, "interpolation": "area"}, "antialias: area looks at all pixels"),
        ({"constants": {"a": [[1, 2], [3]]}}, "constants: a must be numbers"),
        ({"constants": {"a": ["x"]}}, "constants: a must be numbers"),
        ({"pad": 256}, "pad"),
    ],
)
def test_what_cannot_be_meant_is_refused(section: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        InputSpec.model_validate({"size": [64, 48], **section})


def test_what_only_the_cpu_prepares_is_not_given_to_a_device() -> None:
    assert device_problem(InputSpec(size=Size(8, 8))) is None
    assert "own code" in str(device_problem(spec_of()))
    assert "grey" in str(device_problem(spec_of(reduce="auto", channels="grey")))
