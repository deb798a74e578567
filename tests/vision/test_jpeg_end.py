"""A JPEG that lacks only its end marker is read; one that lacks more is not."""

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.errors import InvalidImage
from app.vision import codec
from app.vision.image import Picture, Size, decode, decode_grey, read_header
from tests.vision.pictures import file_of, photograph

PHOTO = Image.fromarray(photograph(160, 120))
END = b"\xff\xd9"
FILES = {
    "baseline": file_of(PHOTO, "JPEG", quality=90),
    "4:4:4": file_of(PHOTO, "JPEG", subsampling=0, quality=97),
    "own tables": file_of(PHOTO, "JPEG", optimize=True),
    "grey": file_of(PHOTO.convert("L"), "JPEG"),
    "CMYK": file_of(PHOTO.convert("CMYK"), "JPEG"),
    "progressive": file_of(PHOTO, "JPEG", progressive=True),
    "with a thumbnail": file_of(PHOTO, "JPEG", exif=b"Exif\0\0" + file_of(PHOTO.resize((16, 12)), "JPEG")),
}


def read(data: bytes, at_least: Size | None = None) -> Picture:
    return decode(data, read_header(data), at_least)


@pytest.fixture(params=[0, codec.IN_PLACE_BYTES], ids=["in place", "from a buffer"], autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "IN_PLACE_BYTES", request.param)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("padding", [b"", bytes(1), bytes(5000)])
@pytest.mark.parametrize("at_least", [None, Size(40, 30)])
def test_a_jpeg_that_lacks_only_its_end_is_read(kind: str, padding: bytes, at_least: Size | None) -> None:
    whole = FILES[kind]
    data = whole.removesuffix(END) + padding
    assert data != whole
    assert np.array_equal(read(data, at_least).pixels, read(whole, at_least).pixels)
    grey = decode_grey(data, read_header(data)).pixels
    assert np.array_equal(grey, decode_grey(whole, read_header(whole)).pixels)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("share", [0.5, 0.7, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("padding", [b"", bytes(100_000)])
def test_a_jpeg_that_lacks_more_is_refused(kind: str, share: float, padding: bytes) -> None:
    data = FILES[kind]
    with pytest.raises(InvalidImage):
        read(data[: int(len(data) * share)] + padding)


@given(st.sampled_from(sorted(FILES)), st.integers(1, 300))
def test_cut_anywhere_it_gives_all_pixels_or_none(kind: str, missing: int) -> None:
    whole = FILES[kind]
    with contextlib.suppress(InvalidImage):
        found, expected = read(whole[:-missing]).pixels, read(whole).pixels
        # a progressive picture's last bits may change nothing that is seen
        assert np.abs(found.astype(int) - expected).max() <= (2 if kind == "progressive" else 0)


def test_a_progressive_jpeg_without_its_last_scan_is_refused() -> None:
    data = FILES["progressive"]
    with pytest.raises(InvalidImage):
        read(data[: data.rindex(b"\xff\xda")])
    assert Image.open(io.BytesIO(data)).size == (160, 120)
