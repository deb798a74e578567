from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from app.vision.image import Picture, Size
from app.vision.input_spec import InputSpec
from app.vision.preprocessing import prepare


def area(largest: int = 1984, **varying: int) -> InputSpec:
    return InputSpec.model_validate({"size": [largest, largest], "resize": "stretch", "varying": varying})


def line(**changes: Any) -> InputSpec:
    section = {"size": [640, 48], "resize": "fit_height", "varying": {"multiple_of": 32, "least": 64}, **changes}
    return InputSpec.model_validate(section)


@pytest.mark.parametrize(
    ("picture", "wanted"),
    [
        ((1280, 720), (1312, 736)),  # 1280 * 736 / 720 = 1308
        ((736, 736), (736, 736)),
        ((1000, 900), (992, 896)),  # nearest, down as well as up
        ((300, 100), (1984, 672)),  # 736 / 100 would make 2208
        ((4000, 3000), (1984, 1472)),
        ((20_000, 20), (1984, 32)),
        ((1, 1), (736, 736)),
    ],
)
def test_areas_keep_their_size_within_bounds(picture: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert area(multiple_of=32, least=736).for_picture(Size(*picture)).size == wanted


@pytest.mark.parametrize(
    ("picture", "wanted"),
    [
        ((4000, 3000), (1984, 1504)),
        ((1200, 400), (2208, 736)),
        ((4000, 1000), (2944, 736)),
        ((2000, 1600), (1984, 1600)),
    ],
)
def test_the_longer_side_is_reduced_before_the_shorter_is_enlarged(
    picture: tuple[int, int], wanted: tuple[int, int]
) -> None:
    assert area(2944, multiple_of=32, least=736, most=2000).for_picture(Size(*picture)).size == wanted


@pytest.mark.parametrize(
    ("picture", "wanted"), [((100, 48), 128), ((96, 48), 96), ((10, 48), 64), ((1, 48), 64), ((5000, 20), 640)]
)
def test_lines_are_as_wide_as_they_need(picture: tuple[int, int], wanted: int) -> None:
    assert line().for_picture(Size(*picture)).size == (wanted, 48)


def test_an_input_that_does_not_vary_is_the_same_for_all() -> None:
    spec = InputSpec.model_validate({"size": [64, 64]})
    assert spec.for_picture(Size(5, 7)) is spec


def test_a_line_fills_the_height_from_the_left() -> None:
    spec = line(pad=0, scale=1.0).for_picture(Size(50, 24))
    out = np.full(spec.shape, -1, np.float32)
    prepare(Picture(np.full((24, 50, 3), 255, np.uint8), Size(50, 24)), spec, out)
    assert (out[:, :, :100] == 255).all()
    assert (out[:, :, 100:] == 0).all()


def test_a_line_that_is_too_long_is_squeezed() -> None:
    pixels = np.zeros((48, 1280, 3), np.uint8)
    pixels[:, 640:] = 255
    spec = line(scale=1.0).for_picture(Size(1280, 48))
    out = np.empty(spec.shape, np.float32)
    prepare(Picture(pixels, Size(1280, 48)), spec, out)
    assert (out[:, :, :318] == 0).all()
    assert (out[:, :, 322:] == 255).all()


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"size": [100, 64], "resize": "stretch", "varying": {}}, "no multiple"),
        ({"size": [64, 64], "resize": "stretch", "varying": {"least": 96}}, "more than size"),
        ({"size": [64, 64], "resize": "fit_height", "varying": {"most": 64}}, "belongs to resize: stretch"),
        ({"size": [64, 64], "varying": {}}, "resize: stretch or fit_height"),
        ({"size": [64, 64], "resize": "stretch", "varying": {"multiple_of": 0}}, "greater than or equal to 1"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        InputSpec.model_validate(section)
