"""Sixteen bits become eight by one rule, and a camera's ten, twelve or fourteen by the manifest's range."""

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from app.vision.image import FULL_RANGE, Levels, decode, decode_grey, read_header
from app.vision.preprocessing import InputSpec
from tests.vision.pictures import chunk, png_of

RAMP = np.arange(65_536, dtype=np.uint16).reshape(256, 256)
SOLID = np.full_like(RAMP, 65_535)

KINDS = {
    "grey": png_of(RAMP),
    "RGB": png_of(np.stack([RAMP] * 3, axis=-1)),
    "grey and alpha": png_of(np.stack([RAMP, SOLID], axis=-1)),
    "RGBA": png_of(np.stack([RAMP] * 3 + [SOLID], axis=-1)),
    "RGB with a clear colour": png_of(np.stack([RAMP] * 3, axis=-1), chunk(b"tRNS", b"\0\0\0\1\0\2")),
    "grey, interlaced": png_of(RAMP, interlaced=True),
}


def expected(levels: Levels) -> NDArray[np.int64]:
    low, high = levels
    return np.clip(np.floor(256 * (RAMP.astype(float) - low) / (high - low + 1)), 0, 255).astype(np.int64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("levels", [FULL_RANGE, (0, 1023), (0, 4095), (0, 16_383), (256, 4095), (1000, 1001)])
def test_every_kind_follows_the_one_rule(kind: str, levels: Levels) -> None:
    data = KINDS[kind]
    pixels = decode(data, read_header(data), levels=levels).pixels
    assert (pixels == expected(levels)[..., None]).all()
    grey = decode_grey(data, read_header(data), levels).pixels
    assert np.abs(grey - expected(levels)).max() <= 1


def test_the_rule_is_the_upper_bits() -> None:
    assert (expected(FULL_RANGE) == RAMP >> 8).all()
    assert (expected((0, 4095))[:16] == RAMP[:16] >> 4).all()


def test_half_clear_pixels_are_laid_on_white_after_they_became_eight_bits() -> None:
    half = png_of(np.stack([RAMP * 0 + 4095] * 3 + [SOLID // 2], axis=-1))
    header = read_header(half)
    assert (decode(half, header, levels=(0, 4095)).pixels == 255).all()
    assert np.abs(decode(half, header).pixels.astype(int) - (255 - 240 * 127 // 255)).max() <= 1


def test_a_clear_grey_value_is_white_in_any_range() -> None:
    data = png_of(RAMP, chunk(b"tRNS", b"\1\0"))
    pixels = decode(data, read_header(data), levels=(0, 4095)).pixels
    assert (pixels[1, 0] == 255).all()
    assert (pixels[1, 1] == 16).all()


def test_eight_bits_have_no_range() -> None:
    data = png_of((RAMP >> 8).astype(np.uint8))
    assert (decode(data, read_header(data), levels=(0, 4095)).pixels == (RAMP >> 8)[..., None]).all()


@pytest.mark.parametrize("levels", [[5, 5], [10, 2], [-1, 100], [0, 65_536]])
def test_a_range_that_makes_no_sense_is_refused(levels: list[int]) -> None:
    with pytest.raises(ValidationError, match=r"range\n.*\[black, white\], rising"):
        InputSpec.model_validate({"size": [8, 8], "range": levels})
